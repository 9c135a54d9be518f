"""hactl simulate: what would happen, by the agents' own code on simulated hosts. No etcd, no host, nothing is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from reconciler.cli import manifests
from reconciler.cli.errors import Code, Refused, refuse
from reconciler.modes import EVERYWHERE
from reconciler.session import Options
from reconciler.sim.cluster import Broken, Cluster, play
from reconciler.sim.rules import missing
from reconciler.sim.scenario import Line, do, fault, log_of
from reconciler.spec import HostManifest, Manifest, ServiceManifest, parse_service, validate
from reconciler.store import service_key

AWAY = 2.0  # seconds without a write: clients are without it now
DIES = 10.0  # seconds until it does, when nothing else is asked for


@dataclass(frozen=True)
class Site:
    """What is simulated, and how its agents are run."""

    manifests: tuple[Manifest, ...]
    options: Options
    failsafe: bool = False

    @property
    def services(self) -> list[ServiceManifest]:
        return [one for one in self.manifests if isinstance(one, ServiceManifest)]


def show(
    files: Sequence[Path], faults: Sequence[str], seconds: float, options: Options, *, failsafe: bool, seed: int
) -> None:
    """Print it. Raises Refused."""
    logger.disable("reconciler")
    site = Site(_load(files), options, failsafe)
    print("\n".join(simulate(site, _story(list(faults), site), seconds, seed)))


def _load(files: Sequence[Path]) -> tuple[Manifest, ...]:
    """Raises Refused."""
    loaded, problems = manifests.load(files)
    if problems:
        raise Refused(Code.WRONG, "\n".join(map(str, problems)))
    found = tuple(_simulable(one.manifest) for one in loaded)
    services = [one for one in found if isinstance(one, ServiceManifest)]
    if not services:
        raise Refused(Code.WRONG, "there is no service in these files: name the file of one as well")
    for one in services:
        if len(one.spec.hosts) != 2:
            raise Refused(Code.WRONG, f"{one.metadata.name}: only services of two hosts can be simulated")
    return found


def _simulable(manifest: Manifest) -> Manifest:
    """With what stands for a site's own: every fence agent is one that works, every program in a container succeeds."""
    document = manifest.model_dump(mode="json", exclude_unset=True)
    spec, name = document.setdefault("spec", {}), manifest.metadata.name
    if isinstance(manifest, HostManifest) and spec.get("fencing"):
        spec["fencing"] = {"agent": "fence_sim", "options": {"plug": name}, "secret": name}
    if "checks" in spec:
        spec["checks"] = [_passing(number, check) for number, check in enumerate(spec["checks"])]
    for number, one in enumerate(spec.get("prepare", ())):
        one["exec"] = ["git", f"of step {number}"]  # no two alike
    return validate(document)


def _passing(number: int, check: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same check with a command that succeeds, if it has one; the number, since no two may be the same."""
    kept = {name: value for name, value in check.items() if name not in ("exec", "ask", "arguments")}
    return check if len(kept) == len(check) else {**kept, "exec": ["true", str(number)]}


def _story(faults: Sequence[str], site: Site) -> list[Line]:
    """Raises Refused."""
    if not faults:
        return [Line(DIES, "power", (site.services[0].spec.wanted, "off"))]
    lines = []
    for text in faults:
        try:
            lines.append(fault(text))
        except ValueError as e:
            raise refuse(
                Code.WRONG, f"--fault {text!r} is none: {e}", 'For example: --fault "10s power hosta off"'
            ) from e
    return sorted(lines, key=lambda line: line.at)


def simulate(site: Site, story: Sequence[Line], seconds: float, seed: int) -> list[str]:
    """The timeline, and what it came to. Raises Refused."""

    async def tell(cluster: Cluster) -> list[str]:
        await _begin(cluster, site)
        began = cluster.now
        for client in cluster.clients.values():
            client.longest = 0.0
        try:
            for line in story:
                await cluster.run(max(0.0, began + line.at - cluster.now))
                await do(cluster, line)
            await cluster.run(seconds)
        except Broken as e:
            return [*log_of(cluster, began), "", f"This must never be: {str(e).splitlines()[0]}"]
        except (KeyError, TypeError, ValueError) as e:
            raise Refused(Code.WRONG, f"--fault {str(line)!r} cannot be done: {e}") from e
        return [*_timeline(log_of(cluster, began)), "", *_outcome(cluster)]

    return [*_heading(site), *play(tell, site.manifests, seed, options=site.options)]


async def _begin(cluster: Cluster, site: Site) -> None:
    """All is well. Raises Refused where it never is."""
    cluster.world.neighbours |= {address for one in site.services for address in _outside(one)}
    if site.failsafe:
        for host in cluster.world.hosts.values():
            host.files[site.options.key_file] = "a key that all of the hosts share"
    try:
        await cluster.until_ready()
        await cluster.run(site.options.lease)
    except Broken as e:
        raise Refused(Code.WRONG, f"even with all well, {str(e).splitlines()[0]}") from e


def _way_out(cluster: Cluster, service: ServiceManifest) -> str:
    """Who would have to do what, where nobody does it by himself."""
    name, spec = service.metadata.name, service.spec
    if cluster.world.hosts[spec.wanted].power or spec.failover == "automatic" or spec.mode == EVERYWHERE:
        return ""
    return (
        f"\n  failover is manual: a human decides (hactl confirm-dead {spec.wanted}; "
        f"hactl set {name} primary={_other(spec)})."
    )


def _outside(service: ServiceManifest) -> Iterator[str]:
    """What its gates ask, all of which answers."""
    for gate in service.spec.get("gates"):
        yield from map(str, gate.ping or ())
        yield str(gate.tcp.address) if gate.tcp else ""


def _heading(site: Site) -> list[str]:
    options = site.options
    guard = f"a watchdog of {options.watchdog_seconds:g} s" if options.watchdog else "no watchdog (--watchdog 30)"
    lines = [f"Each host has a lease of {options.lease:g} s and {guard}."]
    for one in site.services:
        spec = one.spec
        if spec.mode == EVERYWHERE:
            lines.append(f"{one.metadata.name}: on {' and '.join(spec.hosts)} at once")
            continue
        lines.append(f"{one.metadata.name}: on {spec.wanted}, or on {_other(spec)}; failover: {spec.failover}")
    return [*lines, ""]


def _other(spec: Any) -> str:
    return ", ".join(host for host in spec.hosts if host != spec.wanted)


def _timeline(log: Sequence[str]) -> Iterator[str]:
    """`12.3s  hosta  what happened`; what was asked for stands out."""
    for line in log:
        at, host, text = line.split(None, 2)
        yield f"{float(at):7.1f}s  >> {text}" if host == "*" else f"{float(at):7.1f}s  {host:8} {text}"


def _outcome(cluster: Cluster) -> Iterator[str]:
    for name, client in sorted(cluster.clients.items()):
        service = cluster.placed(parse_service(cluster.etcd.value(service_key(name)) or ""))
        gone = cluster.now - client.last
        without = f"Clients were without it for {client.longest:.1f} s at most; no write was lost."
        wanted = service.spec.hosts if service.spec.mode == EVERYWHERE else (service.spec.wanted,)
        absent = [text for host in wanted for text in missing(cluster.world, service, host)]
        if absent:
            yield f"{name} is not Ready: {absent[0]}.{_way_out(cluster, service)}"
            without = f"Clients have been without it for {gone:.0f} s; no write was lost." if gone > AWAY else without
        else:
            yield f"{name} is up on {' and '.join(wanted)}."
        yield f"  {without}"
