"""The simulated world: hosts with power and links, their containers, mounts, addresses, units; DRBD between them.

Nothing here knows of agents or of etcd. Every change ends in `World.happened`, which keeps the log, tells who listens
on that host, and calls `watchers`: the rules look at the whole world after each event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_interface

from reconciler.sim.drbd import Handler, Resource
from reconciler.sim.patroni import Patroni
from resources.machine import Address, Mounted, Process

LINKS = ("lan", "replication")
DEVICE, DISKS = "/dev/drbd", "/dev/drbd/by-res"  # udev's links
DAD = 1.0  # seconds at least (RFC 4862 5.4)
NOT_USABLE = {"tentative", "dadfailed"}


@cache
def ip_of(address: str) -> str:
    """192.0.2.10/24 -> 192.0.2.10; asked after every event."""
    return str(ip_interface(address).ip)


@dataclass
class Unit:
    """A systemd unit, as `systemctl show` has it."""

    active: str = "inactive"
    sub: str = "dead"
    load: str = "loaded"
    result: str = "success"


@dataclass
class Place:
    """Namespaces with an init: a running container, or a host itself (`domain` None). Gone with its init."""

    domain: str | None
    mounts: list[Mounted] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    units: dict[str, Unit] = field(default_factory=dict)
    enabled: set[str] = field(default_factory=set)  # units that start with it
    holders: dict[str, list[Process]] = field(default_factory=dict)  # target -> who uses it
    respawning: set[str] = field(default_factory=set)  # targets whose users come back as often as they are killed
    claims: dict[str, str] = field(default_factory=dict)  # IP -> the MAC address that was said to have it too
    asked: dict[str, float] = field(default_factory=dict)  # IP -> when a look last asked the neighbours
    running: list[tuple[str, ...]] = field(default_factory=list)  # programs that an agent has started there
    gone: bool = False
    stuck: bool = False  # its processes do not die
    killed: bool = False  # though they were killed

    def unit(self, name: str) -> Unit:
        found = self.units.get(name)
        if found is None:
            found = self.units[name] = Unit()
        return found

    def has(self, ip: str) -> bool:
        for one in self.addresses:  # noqa: SIM110, asked for every place at every write: any() costs twice as much
            if ip_of(one.address) == ip:
                return True
        return False

    def has_mount(self, target: str) -> bool:
        for one in self.mounts:  # noqa: SIM110, as above
            if one.target == target:
                return True
        return False

    def usable(self, ip: str) -> bool:
        """Does it answer for this address?"""
        return any(ip_of(one.address) == ip and not one.flags & NOT_USABLE for one in self.addresses)


@dataclass
class Domain:
    """A libvirt-LXC domain defined on a host; `place` while it runs."""

    name: str
    place: Place | None = None
    starts: int = 0


class Watchdog:
    """Resets its host when it was armed and not petted for that long. `hardware`: also one whose kernel stands still;
    softdog's timer goes off when it is thawed, before any process does anything."""

    def __init__(self, host: Host) -> None:
        self._host, self.seconds, self.hardware = host, 0.0, False
        self._timer: asyncio.TimerHandle | None = None
        self.overdue = False

    def arm(self, seconds: float) -> None:
        self.seconds = seconds
        self.pet()

    def pet(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.overdue, self._timer = False, None
        if self.seconds:
            self._timer = asyncio.get_running_loop().call_later(self.seconds / self._host.clock_rate, self._goes_off)

    def disarm(self) -> None:
        self.seconds = 0.0
        self.pet()

    def thawed(self) -> None:
        """Its kernel goes on."""
        if self.overdue:
            self._goes_off()

    def _goes_off(self) -> None:
        self.overdue = True
        if self._host.thawed.is_set() or self.hardware:
            self.disarm()
            self._host.world.note(self._host.name, "reset by its watchdog")
            self._host.world.reset(self._host.name)


class Host:
    """A machine. `faults`: what an operation's name begins with -> "fail" or "hang", see `sim.machine`."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self.world = name, world
        self.power, self.boots, self.booted = True, 1, 0.0
        self.thawed = asyncio.Event()
        self.thawed.set()
        self.links = dict.fromkeys(LINKS, True)
        self.libvirtd = True
        self.stopping = False  # systemd is shutting it down
        self.clock_error = 0.0  # seconds that the wall clock is wrong by
        self.clock_rate = 1.0  # seconds of its monotonic clock in a true one
        self.bmc = True  # does its power switch answer?
        self.files: dict[str, str] = {}
        self.open_files: set[str] = set()  # those that others than root may read
        self.domains: dict[str, Domain] = {}
        self.orphans: dict[str, list[Place]] = {}  # by domain: those whose controller died
        self.base = Place(None)
        self.faults: dict[str, str] = {}
        self.missing_units: set[str] = set()
        self.listeners: list[Callable[[str], None]] = []
        self.mac = f"52:54:00:00:00:{len(world.hosts) + 1:02x}"
        self.own_address = f"198.51.100.{len(world.hosts) + 1}"
        self.serving: dict[int, Callable[[bytes], bytes | None]] = {}  # by port
        self.watchdog = Watchdog(self)

    @property
    def boot_id(self) -> str:
        return f"boot-{self.name}-{self.boots}"

    @property
    def runs(self) -> bool:
        """Powered and not frozen."""
        return self.power and self.thawed.is_set()

    @property
    def doomed(self) -> bool:
        """It stands still, and is reset before it does anything again."""
        return not self.thawed.is_set() and self.watchdog.overdue

    def monotonic(self) -> float:
        """Seconds since it booted, by its own clock."""
        return (asyncio.get_running_loop().time() - self.booted) * self.clock_rate

    def run_at(self, rate: float) -> None:
        """Its monotonic clock goes so fast from now on."""
        now = asyncio.get_running_loop().time()
        self.booted, self.clock_rate = now - self.monotonic() / rate, rate

    def called(self, address: str = "", *_: str) -> None:
        """Its own address, by the first that its spec has."""
        self.own_address = address or self.own_address

    def place(self, domain: str | None) -> Place | None:
        if domain is None:
            return self.base
        found = self.domains.get(domain)
        return found.place if found else None

    def places(self) -> list[Place]:
        """The host's own, those of its running containers, and of what dead ones left."""
        if not self.power:
            return []
        inside = [domain.place for domain in self.domains.values() if domain.place is not None]
        left = [place for places in self.orphans.values() for place in places]
        return [self.base, *inside, *left]

    def lives(self, place: Place) -> bool:
        """Is it one of its places?"""
        left = self.orphans.get(place.domain or "", ())
        return self.power and (self.place(place.domain) is place or any(one is place for one in left))

    def happened(self, text: str, topic: str = "") -> None:
        self.world.happened(self.name, text)
        if topic:
            self.tell(topic)

    def tell(self, topic: str) -> None:
        """Whoever listens on this host."""
        for listener in list(self.listeners):
            listener(topic)

    # -- what its kernel, systemd and libvirtd do ----------------------------------------------------------------

    def start_domain(self, name: str) -> None:
        domain = self.domains[name]
        if domain.place is None:
            domain.starts += 1
            domain.place = Place(name)
            self.happened(f"container {name} started", f"domain/{name}")

    def stop_domain(self, name: str) -> None:
        domain = self.domains[name]
        if domain.place is not None:
            domain.place.gone = True
            domain.place = None
            self.happened(f"container {name} stopped", f"domain/{name}")

    def orphan(self, name: str, *, stuck: bool) -> None:
        """Its controller dies, its init and all else live on."""
        domain = self.domains[name]
        if domain.place is not None:
            domain.place.stuck = stuck
            self.orphans.setdefault(name, []).append(domain.place)
            domain.place = None
            self.happened(f"container {name} orphaned", f"domain/{name}")

    def kill_orphans(self, name: str) -> bool:
        """Did all of them die?"""
        left = [place for place in self.orphans.pop(name, []) if place.stuck]
        for place in left:
            place.killed = True
        if left:
            self.orphans[name] = left
        self.happened(f"orphans of container {name} {'do not die' if left else 'ended'}", f"domain/{name}")
        return not any(place.mounts for place in left)

    def unstick(self, name: str) -> None:
        """What its orphans waited for has come: those that were killed die."""
        for place in self.orphans.get(name, []):
            place.stuck = False
        if left := [place for place in self.orphans.pop(name, []) if not place.killed or place.mounts]:
            self.orphans[name] = left

    def mount(self, place: Place, mounted: Mounted) -> None:
        place.mounts.append(mounted)
        self.happened(f"{mounted.target} mounted", f"mounts/{place.domain or ''}")

    def unmount(self, place: Place, target: str) -> None:
        there = [one for one in place.mounts if one.target == target]
        if there:
            place.mounts.remove(there[-1])
            self.happened(f"{target} unmounted", f"mounts/{place.domain or ''}")

    def remount(self, place: Place, target: str, *, readonly: bool) -> None:
        there = [one for one in place.mounts if one.target == target]
        if there:
            place.mounts[place.mounts.index(there[-1])] = replace(there[-1], readonly=readonly)
            self.happened(f"{target} made {'read-only' if readonly else 'writable'}", f"mounts/{place.domain or ''}")

    def add_address(self, place: Place, address: Address) -> None:
        place.addresses.append(address)
        self.world.given(self, place, ip_of(address.address))
        self.happened(f"{address.address} added", f"network/{place.domain or ''}")

    def remove_address(self, place: Place, interface: str, address: str) -> None:
        kept = [one for one in place.addresses if (one.interface, one.address) != (interface, address)]
        if len(kept) < len(place.addresses):
            place.addresses[:] = kept
            place.claims.pop(ip_of(address), None)
            place.asked.pop(ip_of(address), None)
            self.happened(f"{address} removed", f"network/{place.domain or ''}")

    def checked(self, place: Place, address: Address) -> None:
        """Duplicate address detection is over, unless the kernel stands still or the address has gone meanwhile."""
        if not self.thawed.is_set():
            asyncio.get_running_loop().call_later(DAD, self.checked, place, address)
        elif not place.gone and address in place.addresses:
            rival = self.world.answers(ip_of(address.address), self, place)
            flags = address.flags | {"dadfailed"} if rival else address.flags - {"tentative"}
            place.addresses[place.addresses.index(address)] = replace(address, flags=flags)
            if rival:
                self.world.happened(self.name, f"{address.address} dadfailed")
            self.tell(f"network/{place.domain or ''}")

    def set_unit(self, place: Place, name: str, active: str, sub: str, result: str = "success") -> None:
        if place.gone or not self.power:
            return  # its systemd is no more
        unit = place.unit(name)
        if (unit.active, unit.sub) != (active, sub):
            unit.active, unit.sub, unit.result = active, sub, result
            self.happened(f"{name} {active}", f"units/{place.domain or ''}")

    def uses(self, device: str) -> bool:
        """Is a block device mounted anywhere on this host?"""
        return any(one.device == device for place in self.places() for one in place.mounts)


class World:
    """All of it. `watchers` are called after each event; `log`: (seconds, host, text)."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self.hosts: dict[str, Host] = {}
        for name in hosts:
            self.hosts[name] = Host(name, self)
        self.disks: dict[str, Resource] = {}
        self.engines: dict[str, Patroni] = {}  # by the domain in which they run
        self.loss = 0.0  # chance that the answer to a ping is lost
        self.delay = 0.0  # seconds until it comes
        self.neighbours: set[str] = set()  # addresses of other machines that answer on the LAN
        self.rivals: dict[str, str] = {}  # an HA address -> the MAC address of another machine that has it too
        self.announced: list[tuple[float, str, str]] = []  # (seconds, host, IP)
        self.devices: dict[str, Resource] = {}  # by node, and by udev's link to it
        self.addressed: dict[str, list[tuple[Host, Place]]] = {}  # by IP: who was given it, and may have it still
        self.watchers: list[Callable[[], None]] = []
        self.log: list[tuple[float, str, str]] = []
        self.reset: Callable[[str], None] = self.power_off  # what a watchdog does to a host
        self.cut_power: Callable[[str], None] = self.power_off  # what a fence device does to it

    def happened(self, host: str, text: str) -> None:
        self.note(host, text)
        self._check()

    def _check(self) -> None:
        for watcher in self.watchers:
            watcher()

    def note(self, host: str, text: str) -> None:
        """For the log alone."""
        self.log.append((asyncio.get_running_loop().time(), host, text))

    def add_disk(self, name: str, hosts: tuple[str, str]) -> None:
        one, other = (self.hosts[host] for host in hosts)

        def can_talk() -> bool:
            return one.runs and other.runs and one.links["replication"] and other.links["replication"]

        def said(host: str, resource: str, text: str) -> None:
            self.hosts[host].happened(f"disk {resource} {text}", f"disk/{resource}")

        disk = self.disks[name] = Resource(name, len(self.disks) + 1, hosts, can_talk, said)
        self.devices[f"{DEVICE}{disk.minor}"] = self.devices[f"{DISKS}/{name}/0"] = disk

    def disks_of(self, host: str) -> list[Resource]:
        return [disk for _, disk in sorted(self.disks.items()) if host in disk.copies]

    def handle_fencing(self, handler: Handler) -> None:
        """What DRBD calls while it holds I/O."""
        for disk in self.disks.values():
            disk.handler = handler

    # -- faults ----------------------------------------------------------------------------------------------------

    def power_off(self, name: str) -> None:
        """At once and without a word."""
        host = self.hosts[name]
        host.power = False
        host.thawed.set()
        host.watchdog.disarm()
        host.listeners.clear()
        host.orphans.clear()
        for place in [host.base, *(domain.place for domain in host.domains.values() if domain.place)]:
            place.gone = True
        for domain in host.domains.values():
            domain.place = None
        host.base = Place(None)
        host.files = {path: text for path, text in host.files.items() if not path.startswith("/run/")}
        for disk in self.disks_of(name):
            disk.power_off(name)
        self.happened(name, "power off")

    def power_on(self, name: str) -> None:
        """Another incarnation; DRBD is up, nothing else."""
        host = self.hosts[name]
        host.power, host.boots, host.booted = True, host.boots + 1, asyncio.get_running_loop().time()
        host.stopping = False
        host.thawed.set()
        for disk in self.disks_of(name):
            disk.power_on(name)
        self.happened(name, f"power on, {host.boot_id}")

    def freeze(self, name: str, frozen: bool) -> None:
        """All of its processes and its kernel stand still; clocks go on."""
        host = self.hosts[name]
        self.note(name, "frozen" if frozen else "thawed")
        if frozen:
            host.thawed.clear()
        else:
            host.thawed.set()
            host.watchdog.thawed()
        self._look(name)
        self._check()

    def link(self, name: str, which: str, up: bool) -> None:
        self.hosts[name].links[which] = up
        self._look(name)
        self.happened(name, f"{which} link {'up' if up else 'down'}")

    def _look(self, name: str) -> None:
        for disk in self.disks_of(name):
            disk.look()

    def host_at(self, address: str) -> Host | None:
        """Whose own address it is; it does not move."""
        return next((host for host in self.hosts.values() if host.own_address == address), None)

    # -- the network -------------------------------------------------------------------------------------------------

    def holders_of(self, ip: str) -> list[tuple[Host, Place]]:
        """Who has this address, wherever it may be seen from."""
        there = self.addressed.get(ip, ())
        return [(host, place) for host, place in there if place.has(ip) and host.lives(place)]

    def given(self, host: Host, place: Place, ip: str) -> None:
        """A place has an address from now on."""
        others = [(one, there) for one, there in self.holders_of(ip) if there is not place]
        self.addressed[ip] = [*others, (host, place)]

    def reach(self, ip: str) -> list[tuple[Host, Place]]:
        """Who answers for this address on the LAN."""
        return [(host, place) for host, place in self.holders_of(ip) if host.runs and host.links["lan"]]

    def answers(self, ip: str, asker: Host, place: Place) -> str:
        """The MAC address of another machine that answers for it on the LAN when it is asked from that place, or ""."""
        if not asker.runs or not asker.links["lan"]:
            return ""
        others = [host.mac for host, there in self.reach(ip) if there is not place and there.usable(ip)]
        return self.rivals.get(ip) or next(iter(others), "")

    def announce(self, host: Host, ip: str) -> None:
        """Once, by a place of that host."""
        self.announced.append((asyncio.get_running_loop().time(), host.name, ip))
        if host.runs and host.links["lan"]:
            self.claim(ip, host.mac)

    def claim(self, ip: str, mac: str) -> None:
        """Somebody says that this MAC address has it: heard by who has it, and is another."""
        for host, place in self.reach(ip):
            if host.mac != mac:
                place.claims[ip] = mac
                host.tell(f"network/{place.domain or ''}")
