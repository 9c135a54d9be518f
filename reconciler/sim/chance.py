"""Random stories: faults of all kinds at once, by a seed, each put right later; at the end all is well again.

A story that breaks is kept as a scenario: `lines` are what its directory would have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from reconciler.sim.scenario import Line, Scenario
from reconciler.spec import ServiceManifest

LASTS = 600.0  # seconds of a story
BETWEEN = 20.0  # seconds from one fault to the next, on average
HEALS = (1.0, 90.0)  # seconds until it is put right

Fault = tuple[str, str]  # what is done, and what puts it right ("" when it is over by itself)


class Chance:
    """What may happen to these services on their hosts."""

    def __init__(self, seed: int, manifests: Sequence[ServiceManifest]) -> None:
        self._chance = random.Random(f"story/{seed}")
        self._services = list(manifests)
        self._hosts = sorted({host for one in manifests for host in one.spec.hosts})

    def story(self) -> tuple[Line, ...]:
        """Sorted by time; what is begun is ended by LASTS."""
        lines: list[Line] = []
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

    def unit(self) -> str:
        return str(self._chance.choice(self.service().spec.get("units")))


def _lines(at: float, text: str) -> list[Line]:
    if not text:
        return []
    command, *words = text.split("|")
    return [Line(round(at, 2), command, tuple(words))]


def _kept_from_starting(c: Chance) -> Fault:
    host = c.host()
    return f"stop-agent|{host}", f"start-agent|{host}"


def _member(c: Chance) -> Fault:
    name = c.member()
    return f"member|{name}|{c.one_of('killed', 'stopped')}", f"member|{name}|up"


def _deaf(c: Chance) -> Fault:
    host = c.host()
    return f"deafen|{host}|on", f"deafen|{host}|off"


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


def _move(c: Chance) -> Fault:
    return f"set|{c.service().metadata.name}|primary={c.host()}", ""


KINDS: tuple[Callable[[Chance], Fault], ...] = (
    lambda c: (f"kill-agent|{c.host()}", ""),
    lambda c: (f"slow|{c.one_of('0.3', '1.5', '4')}", "slow|0"),
    lambda c: (f"loss|{c.one_of('0.1', '0.5')}", "loss|0"),
    lambda c: (f"clock|{c.host()}|{c.one_of('3600', '-3600', '0')}", ""),
    lambda c: ("break-watches", ""),
    lambda c: ("compact", ""),
    *(_kept_from_starting, _member, _deaf, _link, _power, _freeze, _operation, _libvirt),
    *(_destroy, _unit, _address, _move, _move, _move, _move),
)


def random_scenario(seed: int, manifests: Sequence[ServiceManifest]) -> Scenario:
    """The same seed, the same story."""
    return Scenario(f"seed-{seed}", tuple(manifests), Chance(seed, manifests).story())
