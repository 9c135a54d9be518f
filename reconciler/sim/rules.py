"""The rules of "Only one at a time" (DESIGN.md), looked at after every event of the world and every commit to etcd.

1. At most one host holds any of a service's exclusive resources. (Of one that is everywhere: an address.)
2. A disk is promoted only if its copy is current, and not marked outdated.
3. No write that a client saw acknowledged is lost.
4. With everything healthy, every service is Ready on its primary (`missing`, asked at the end).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.modes import EVERYWHERE
from reconciler.sim.drbd import Copy, Resource
from reconciler.sim.world import Host, World, ip_of
from reconciler.spec import ServiceManifest
from resources.words import disks

HOLDS = ("active", "activating", "deactivating", "reloading")


@dataclass(frozen=True)
class Violation:
    """A rule that did not hold, and when, in seconds."""

    at: float
    rule: int
    text: str

    def __str__(self) -> str:
        return f"at {self.at:.3f} s, rule {self.rule}: {self.text}"


class Rules:
    """`check` after each event; `violated` is called with each new violation. `marked`: (disk, host) -> does etcd say
    that this copy lacks writes?"""

    def __init__(
        self,
        world: World,
        services: Sequence[ServiceManifest],
        marked: Callable[[str, str], bool],
        violated: Callable[[Violation], None],
    ) -> None:
        self.world, self.services = world, list(services)
        self._marked, self._violated = marked, violated
        self.excused: set[str] = set()  # hosts declared dead by a human, until they hold nothing
        self._primaries: set[tuple[str, str]] = set()
        self._seen: set[str] = set()

    def check(self) -> None:
        """Rules 1 to 3, now."""
        for rule, found in ((1, self._two_at_once()), (2, self._stale_promotions()), (3, self._lost_writes())):
            for text in found:
                if text not in self._seen:
                    self._seen.add(text)
                    self._violated(Violation(asyncio.get_running_loop().time(), rule, text))

    def _two_at_once(self) -> Iterator[str]:
        holders: dict[str, str] = {}
        for host in self.world.hosts.values():
            held = sorted(set(self._held(host)))
            if host.name in self.excused:
                self.excused -= set() if held else {host.name}
                continue
            for thing in held:
                if thing in holders:
                    yield f"{thing} on both {holders[thing]} and {host.name}"
                holders[thing] = host.name

    def _held(self, host: Host) -> Iterator[str]:
        """Everything exclusive that a host holds."""
        if not host.power or host.doomed:
            return
        for disk in self.world.disks_of(host.name):
            if disk.copies[host.name].role == "Primary":
                yield f"Primary of disk {disk.name}"
        for place in host.places():
            yield from (f"{one.source} mounted" for one in place.mounts)
            yield from (f"address {ip_of(one.address)}" for one in place.addresses)
        for service in self.services:
            if service.spec.mode == EVERYWHERE:
                continue
            yield from _held_of(service, host)

    def _stale_promotions(self) -> Iterator[str]:
        now = set()
        for disk in self.world.disks.values():
            for copy in disk.copies.values():
                if copy.role == "Primary":
                    now.add((disk.name, copy.host))
        for name, host in sorted(now - self._primaries):
            yield from self._wrong_promotion(self.world.disks[name], self.world.disks[name].copies[host])
        self._primaries = now

    def _wrong_promotion(self, disk: Resource, copy: Copy) -> Iterator[str]:
        if copy.disk != "UpToDate":
            yield f"disk {disk.name} is promoted on {copy.host} while {copy.disk}"
        if not copy.data.includes(disk.acknowledged):
            yield f"disk {disk.name} is promoted on {copy.host} without writes that were acknowledged"
        if self._marked(disk.name, copy.host):
            yield f"disk {disk.name} is promoted on {copy.host} though etcd says that its copy lacks writes"

    def _lost_writes(self) -> Iterator[str]:
        for disk in self.world.disks.values():
            yield from disk.lost
            if not any(copy.data.includes(disk.acknowledged) for copy in disk.copies.values()):
                yield f"disk {disk.name}: no copy has every write that was acknowledged"
            for copy in disk.copies.values():
                serves = copy.role == "Primary" and copy.suspended == "no" and copy.disk != "Diskless"
                serves = serves and not self.world.hosts[copy.host].doomed
                if serves and not disk.served(copy.host).includes(disk.acknowledged):
                    yield f"disk {disk.name} is served by {copy.host} without writes that were acknowledged"


def _held_of(service: ServiceManifest, host: Host) -> Iterator[str]:
    """What only a spec tells to be exclusive: units, and a container that a disk is mounted under."""
    place = host.place(service.spec.domain)
    if place is None:
        return
    units = [name for name in service.spec.get("units") if name in place.units]
    yield from (f"unit {name} of {service.metadata.name}" for name in units if place.units[name].active in HOLDS)
    if service.spec.domain is not None and any(disk.where == "host" for disk in disks(service.spec)):
        yield f"container {service.spec.domain}"


class Wanted:
    """What a Ready service has on its host. For rule 4: the world, not what agents say of it."""

    def __init__(self, service: ServiceManifest) -> None:
        spec = service.spec
        self._name, self._domain, self._units = service.metadata.name, spec.domain, spec.get("units")
        self._addresses = [(one.address, ip_of(one.address), one.host) for one in spec.get("addresses")]
        self._disks = disks(spec)

    def missing(self, world: World, host: str) -> list[str]:
        """What of it is not there."""
        there = world.hosts[host]
        place = there.place(self._domain)
        if not there.runs or place is None:
            return [f"{self._domain or 'the host'} does not run on {host}"]
        found = [f"unit {unit}" for unit in self._units if place.unit(unit).active != "active"]
        for address, ip, only in self._addresses:
            if only in (None, host) and not place.has(ip):
                found.append(f"address {address}")
        for disk in self._disks:
            if world.disks[disk.resource].copies[host].role != "Primary":
                found.append(f"Primary of {disk.resource}")
            inside = there.base if disk.where == "host" else place
            if disk.mount is not None and not inside.has_mount(disk.mount):
                found.append(f"mount {disk.mount}")
        return [f"{self._name}: {text} on {host}" for text in found]


def missing(world: World, service: ServiceManifest, host: str) -> list[str]:
    """What a Ready service would have on that host and has not."""
    return Wanted(service).missing(world, host)
