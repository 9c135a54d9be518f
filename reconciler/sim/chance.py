"""Random stories: a cluster and faults of all kinds at once, by a seed, each put right later; at the end all is well.

A story that breaks is kept as a scenario: `keep` writes its directory.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from reconciler.session import Options
from reconciler.sim.scenario import Line, Scenario
from reconciler.spec import HostManifest, Manifest, ServiceManifest, validate

LASTS = 600.0  # seconds of a story
BETWEEN = 20.0  # seconds from one fault to the next, on average
HEALS = (1.0, 90.0)  # seconds until it is put right
HEALED = 30.0  # seconds until etcd surely answers again

STRANGER = "52:54:00:00:00:09"
WRITES = 0.5  # seconds between two writes of a client

Fault = tuple[str, str]  # what is done, and what puts it right ("" when it is over by itself)


class Chance:
    """What may happen to these services on their hosts."""

    def __init__(self, seed: int, manifests: Sequence[Manifest]) -> None:
        self._chance = random.Random(f"story/{seed}")
        self._services = [one for one in manifests if isinstance(one, ServiceManifest)]
        self._fenced = any(isinstance(one, HostManifest) and one.spec.fencing for one in manifests)
        self._hosts = sorted({host for one in self._services for host in one.spec.hosts})

    def story(self) -> tuple[Line, ...]:
        """Sorted by time; what is begun is ended by LASTS."""
        lines = [line for host in self._hosts for line in _lines(0, f"drift|{host}|{self._chance.uniform(0.99, 1.01)}")]
        lines += [line for host in self._hosts for line in _lines(LASTS, f"power|{host}|on")]
        # Once more later: a fence agent that was asked before may cut a host's power just after.
        lines += [line for host in self._hosts for line in _lines(LASTS + HEALED, f"power|{host}|on")]
        lines += [line for one in self._services for line in _lines(LASTS + HEALED, f"resume|{one.metadata.name}")]
        lines += [line for host in self._hosts for line in _lines(LASTS + HEALED, f"drain|{host}|off")]
        lines += _lines(0, self.one_of("", "cluster-key"))
        lines += _lines(0, self.one_of("", *(f"hardware-watchdog|{host}" for host in self._hosts)))
        at = self._chance.expovariate(1 / BETWEEN)
        while at < LASTS - 1:
            does, heals = self._chance.choice(KINDS)(self)
            lines += _lines(at, does)
            lines += _lines(min(LASTS, at + self._chance.uniform(*HEALS)), heals)
            at += self._chance.expovariate(1 / BETWEEN)
        return tuple(sorted(lines, key=lambda line: line.at))

    # -- what is picked ------------------------------------------------------------------------------------------------

    def host(self) -> str:
        return self._chance.choice(self._hosts)

    def member(self) -> str:
        return self._chance.choice([*self._hosts, "witness"])

    def service(self) -> ServiceManifest:
        return self._chance.choice(self._services)

    def domain(self) -> str:
        return self.service().spec.domain or ""

    def one_of(self, *words: str) -> str:
        return self._chance.choice(words)

    def operation(self) -> str:
        """What could fail or hang on a host."""
        spec = self.service().spec
        disk, unit = (self._chance.choice(spec.get(field)) for field in ("disks", "units"))
        address = self._chance.choice(spec.get("addresses")).address
        programs = [f"drbdadm primary {disk.resource}", f"drbdadm secondary {disk.resource}", f"mount {disk.mount}"]
        programs += [f"systemctl start {unit}", f"systemctl stop {unit}", "start-container", "tcp "]
        programs += [f"unmount {disk.mount}", f"add-address {address}", f"remove-address {address}"]
        return self._chance.choice(programs)

    def address(self) -> str:
        return str(self._chance.choice(self.service().spec.get("addresses")).address)

    def unit(self) -> str:
        return str(self._chance.choice(self.service().spec.get("units")))


def _lines(at: float, text: str) -> list[Line]:
    if not text:
        return []
    commands = [one.split("|") for one in text.split(";")]
    return [Line(round(at, 2), command, tuple(words)) for command, *words in commands]


def _kept_from_starting(c: Chance) -> Fault:
    host = c.host()
    return f"stop-agent|{host}", f"start-agent|{host}"


def _member(c: Chance) -> Fault:
    name = c.member()
    return f"member|{name}|{c.one_of('killed', 'stopped')}", f"member|{name}|up"


def _deaf(c: Chance) -> Fault:
    host = c.host()
    return f"deafen|{host}|on", f"deafen|{host}|off"


def _pause(c: Chance) -> Fault:
    name = c.service().metadata.name
    return f"pause|{name}", f"resume|{name}"


def _drain(c: Chance) -> Fault:
    host = c.host()
    return f"drain|{host}|on", f"drain|{host}|off"


def _link(c: Chance) -> Fault:
    link = f"link|{c.host()}|{c.one_of('lan', 'replication')}"
    return f"{link}|down", f"{link}|up"


def _power(c: Chance) -> Fault:
    host = c.host()
    return f"power|{host}|off", f"power|{host}|on"


def _freeze(c: Chance) -> Fault:
    host = c.host()
    return f"freeze|{host}", f"thaw|{host}"


def _operation(c: Chance) -> Fault:
    fault = f"fault|{c.host()}|{c.operation()}"
    return f"{fault}|{c.one_of('fail', 'hang')}", f"{fault}|none"


def _libvirt(c: Chance) -> Fault:
    host = c.host()
    return f"libvirt|{host}|off", f"libvirt|{host}|on"


def _destroy(c: Chance) -> Fault:
    return f"destroy|{c.host()}|{c.domain()}", ""


def _unit(c: Chance) -> Fault:
    service = c.service()
    unit = c.one_of(*service.spec.get("units"))
    return f"unit|{c.host()}|{service.spec.domain}|{unit}|{c.one_of('failed', 'inactive')}", ""


def _address(c: Chance) -> Fault:
    service = c.service()
    address = c.one_of(*(one.address for one in service.spec.get("addresses")))
    return f"remove-address|{c.host()}|{service.spec.domain}|{address}", ""


def _rival(c: Chance) -> Fault:
    ip = c.address().partition("/")[0]
    return f"rival|{ip}|{STRANGER}|{c.one_of('aloud', 'quietly')}", f"rival|{ip}|none"


def _claim(c: Chance) -> Fault:
    return f"claim|{c.address().partition('/')[0]}|{STRANGER}", ""


def _move(c: Chance) -> Fault:
    return f"set|{c.service().metadata.name}|primary={c.host()}", ""


def _confirmed(c: Chance) -> Fault:
    """A human says that a host is down, which need not be true."""
    return f"confirm-dead|{c.host()}", ""


def _bmc(c: Chance) -> Fault:
    host = c.host()
    return f"bmc|{host}|off", f"bmc|{host}|on"


def _masked(c: Chance) -> Fault:
    """Killed, and kept from starting."""
    host = c.host()
    return f"mask|{host}|on;kill-agent|{host}", f"mask|{host}|off"


def _cut_off(c: Chance) -> Fault:
    host = c.host()
    return f"link|{host}|lan|down;link|{host}|replication|down", f"link|{host}|lan|up;link|{host}|replication|up"


KINDS: tuple[Callable[[Chance], Fault], ...] = (
    lambda c: (f"kill-agent|{c.host()}", ""),
    lambda c: (f"slow|{c.one_of('0.3', '1.5', '4')}", "slow|0"),
    lambda c: (f"loss|{c.one_of('0.1', '0.5')}", "loss|0"),
    lambda c: (f"clock|{c.host()}|{c.one_of('3600', '-3600', '0')}", ""),
    lambda c: ("break-watches", ""),
    lambda c: ("compact", ""),
    *(_kept_from_starting, _member, _deaf, _link, _power, _freeze, _operation, _libvirt),
    *(_confirmed, _bmc, _masked, _cut_off),
    *(_destroy, _unit, _address, _rival, _claim, _pause, _drain, _move, _move, _move, _move),
)


def random_scenario(seed: int, manifests: Sequence[Manifest] = ()) -> Scenario:
    """The same seed, the same story; without manifests, of the same cluster."""
    cluster = tuple(manifests) or random_cluster(seed)
    chance = random.Random(f"agents/{seed}")
    guarded = Options(watchdog="/dev/watchdog", watchdog_seconds=chance.choice([6.0, 10.0, 30.0]))
    hosts = sorted({host for one in cluster if isinstance(one, ServiceManifest) for host in one.spec.hosts})
    options = {host: chance.choice([Options(), guarded, guarded]) for host in hosts}
    return Scenario(f"seed-{seed}", cluster, Chance(seed, cluster).story(), options, WRITES)


def random_cluster(seed: int) -> tuple[Manifest, ...]:
    """One or two services on two hosts, manual and automatic; with fence devices or without."""
    chance = random.Random(f"cluster/{seed}")
    services = chance.choice([[_warm], [_rooted], [_warm, _rooted], [_warm, _rooted]])
    documents = [make(failover=chance.choice(["manual", "automatic"])) for make in services]
    fenced = chance.random() < 0.4
    documents += [_host(number, fenced) for number in (1, 2)]
    return tuple(validate(document) for document in documents)


def _document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "hactl/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def _host(number: int, fenced: bool) -> dict[str, Any]:
    name = f"host{'ab'[number - 1]}"
    fencing = {"agent": "fence_sim", "options": {"plug": name}, "secret": f"{name}-bmc"}
    more = {"fencing": fencing} if fenced else {}
    return _document("Host", name, addresses=[f"198.51.100.{number}"], **more)


def _warm(**more: Any) -> dict[str, Any]:
    """Its container waits on the standby."""
    disks = [{"resource": f"nfs-{name}", "mount": f"/srv/{name}"} for name in ("data", "state")]
    addresses = [{"address": "192.0.2.10/24"}, {"address": "2001:db8::10/64"}]
    units = ["first.service", "nfs.service"]
    return _service("nfs", disks=disks, addresses=addresses, units=units, checks=[{"tcp": 2049}], **more)


def _rooted(**more: Any) -> dict[str, Any]:
    """The root of its container is on its disk."""
    disks = [{"resource": "git", "mount": "/srv/ct/git", "where": "host"}]
    return _service("git", disks=disks, addresses=[{"address": "192.0.2.20/24"}], units=["git.service"], **more)


def _service(name: str, **more: Any) -> dict[str, Any]:
    common = {"hosts": ["hosta", "hostb"], "primary": "hosta", "container": {"domain": name}, "deadline": 60}
    return _document("Service", name, **common, **more)


def keep(scenario: Scenario, where: Path) -> Path:
    """As a scenario's directory; its log is for its finder to write."""
    there = where / scenario.name
    there.mkdir(parents=True, exist_ok=True)
    documents = [one.model_dump(mode="json", exclude_unset=True) for one in scenario.manifests]
    (there / "cluster.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
    plain = asdict(Options())
    agents = {
        host: {name: value for name, value in asdict(options).items() if value != plain[name]}
        for host, options in scenario.options.items()
    }
    (there / "agents.yaml").write_text(yaml.safe_dump(agents))
    lines = [f"{line.at:g} {line}" for line in scenario.story]
    (there / "story").write_text(f"# Random, {scenario.name}\n" + "\n".join(lines) + "\n")
    return there
