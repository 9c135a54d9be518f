"""The simulated Machine: what an agent may touch of one host of the World, with realistic durations and faults.

An agent that is killed leaves its SimMachine `dead`: nothing more is done through it. What others had taken on by then
(systemd a job, libvirtd a start) goes on; what was a child of the agent (drbdadm) ends with it.

Faults (`Host.faults`): what an operation's name begins with -> "fail" or "hang". Names are what would be typed:
`drbdadm primary nfs-home`, `systemctl start nfs-server.service`, `mount /export/home`, `add-address 192.0.2.10/24`; of
what only looks, `drbdsetup events2 nfs-home`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import urlsplit

from reconciler.sim import neighbours, programs
from reconciler.sim.world import DAD, Domain, Host, Place
from resources.machine import (
    Address,
    Busy,
    Container,
    Finished,
    MachineError,
    Mounted,
    Process,
    TimedOut,
    Unavailable,
)

T = TypeVar("T")

EPOCH = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
CONTAINER_STARTS, CONTAINER_STOPS = 2.5, 1.5  # seconds


class Killed(BaseException):
    """The agent's process is no more: what it still tries does not happen."""


class SimMachine:
    """One agent's hands on its host. `tap` hears of each effect, by name, once it is done and before its doer knows."""

    def __init__(self, host: Host, seed: str, tap: Callable[[str], None]) -> None:
        self.sim, self.dead, self.told = host, False, [""]
        self._chance = random.Random(f"{seed}/{host.name}/{host.boots}")
        self._tap = tap
        self._boot_id = host.boot_id
        self._opened = False

    def die(self) -> None:
        """The agent's process ends here and now. Linux pets a watchdog that is closed without being disarmed
        (drivers/watchdog/watchdog_dev.c, watchdog_release)."""
        if self._opened and not self.dead and self.sim.runs and self.sim.boot_id == self._boot_id:
            self.sim.watchdog.pet()
        self.dead = True

    @property
    def host(self) -> str:
        return self.sim.name

    @property
    def boot_id(self) -> str:
        return self._boot_id

    # -- time and chance -----------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        return self.sim.monotonic() + 5.0

    def utc(self) -> datetime:
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time() + self.sim.clock_error)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.sim.clock_rate)
        await self.alive()

    def random(self) -> float:
        return self._chance.random()

    # -- doing -----------------------------------------------------------------------------------------------------

    async def alive(self) -> None:
        """A frozen host's processes do nothing until it is thawed, a dead one's nothing any more."""
        while not self.sim.thawed.is_set() and not self.dead:
            await self.sim.thawed.wait()
        self._living()

    def _living(self) -> None:
        if self.dead or not self.sim.power or self.sim.boot_id != self._boot_id:
            raise Killed

    async def takes(self, seconds: float) -> None:
        """Between half and one and a half times as long, by the seed."""
        await asyncio.sleep(seconds * (0.5 + self._chance.random()))
        await self.alive()

    async def meets(self, operation: str) -> None:
        """The fault that is set for it, if any. Raises MachineError."""
        for prefix, fault in sorted(self.sim.faults.items()):
            if operation.startswith(prefix):
                if fault == "hang":
                    await asyncio.get_running_loop().create_future()
                raise MachineError(f"{operation}: it was made to fail")

    async def does(self, operation: str, seconds: float, effect: Callable[[], T]) -> T:
        """An effect, half-way through the time it takes. Raises MachineError."""
        await self.alive()
        await self.meets(operation)
        await self.takes(seconds / 2)
        done = effect()
        self.tap(operation)
        await self.takes(seconds / 2)
        return done

    def tap(self, operation: str) -> None:
        """An effect is there. Raises Killed where the agent does not live to know."""
        self._tap(operation)
        self._living()

    # -- programs and files --------------------------------------------------------------------------------------

    async def run(self, *argv: str, timeout: float, domain: str | None = None, stdin: str = "") -> Finished:
        await self.alive()
        place = self.inside(domain)
        place.running.append(argv)
        try:
            async with asyncio.timeout(timeout):
                return await programs.run(self, place, argv, stdin)
        except TimeoutError:
            raise TimedOut(f"{argv[0]} took longer than {timeout:.0f} s and was ended") from None
        finally:
            place.running.remove(argv)

    def inside(self, domain: str | None) -> Place:
        """Raises Unavailable."""
        if domain is None:
            return self.sim.base
        place = self._domain(domain).place
        if place is None:
            raise Unavailable(f"container {domain} does not run")
        return place

    def _domain(self, domain: str) -> Domain:
        if not self.sim.libvirtd:
            raise Unavailable("libvirtd does not answer (systemctl status libvirtd)")
        found = self.sim.domains.get(domain)
        if found is None:
            raise Unavailable(f"there is no domain {domain}")
        return found

    def read(self, path: str) -> str | None:
        self._living()
        return self.sim.files.get(path)

    def is_secret(self, path: str) -> bool:
        self._living()
        return path in self.sim.files and path not in self.sim.open_files

    def write(self, path: str, text: str) -> None:
        self._living()
        self.sim.files[path] = text
        self.tap(f"write {path}")

    def remove(self, path: str) -> None:
        self._living()
        if self.sim.files.pop(path, None) is not None:
            self.tap(f"remove {path}")

    # -- containers ------------------------------------------------------------------------------------------------

    async def container(self, domain: str) -> Container:
        await self.takes(0.005)
        if domain not in self.sim.domains and self.sim.libvirtd:
            return Container(defined=False, running=False)
        found = self._domain(domain)
        places = self.sim.orphans.get(domain, [])
        idle = [place for place in places if place.stuck and place.killed and not place.mounts]
        left = tuple(self._orphan(place) for place in places if place not in idle)
        stuck = tuple(map(self._orphan, idle))
        ips = frozenset(one.address.partition("/")[0] for place in idle for one in place.addresses)
        if found.place is None:
            return Container(True, False, None, "", left, stuck, ips)
        return Container(True, True, 1000 + found.starts, f"{self.boot_id}-{found.starts}", left, stuck, ips)

    def _orphan(self, place: Place) -> Process:
        return Process(4242, "systemd", "D" if place.stuck else "S", "drbd_al_begin_io" if place.stuck else "")

    async def kill_orphans(self, domain: str) -> None:
        def effect() -> None:
            if not self.sim.kill_orphans(domain):
                raise MachineError(f"processes of an earlier run of container {domain} do not die: systemd (4242, D)")

        await self.does(f"kill-orphans {domain}", 0.1, effect)

    async def start_container(self, domain: str, timeout: float) -> None:
        found = self._domain(domain)
        if found.place is None:
            await self.does(f"start-container {domain}", 0.4, lambda: self.sim.start_domain(domain))
            await self.takes(CONTAINER_STARTS)

    async def stop_container(self, domain: str, grace: float) -> None:
        place = self._domain(domain).place
        if place is not None:
            await self.does(f"stop-container {domain}", CONTAINER_STOPS, lambda: self.sim.stop_domain(domain))

    # -- mounts ----------------------------------------------------------------------------------------------------

    async def mounts(self, domain: str | None) -> tuple[Mounted, ...]:
        await self.takes(0.002)
        place = self._place_or_none(domain)
        return tuple(place.mounts) if place else ()

    def _place_or_none(self, domain: str | None) -> Place | None:
        return self._domain(domain).place if domain is not None else self.sim.base

    async def mount(
        self, device: str, target: str, *, fstype: str, options: tuple[str, ...], domain: str | None, timeout: float
    ) -> None:
        place = self.inside(domain)
        number = await self.device_number(device)

        def effect() -> None:
            copy = programs.copy_of(self.sim, device)
            if copy is None or copy.role != "Primary":
                raise MachineError(f"mount {device}: wrong medium type (is it Primary?)")
            if place.gone:
                raise Unavailable(f"container {domain} does not run any more")
            self.sim.mount(place, Mounted(target, str(number), fstype, device, "ro" in options))

        await self.does(f"mount {target}", 0.08, effect)

    async def unmount(self, target: str, *, domain: str | None, timeout: float) -> None:
        place = self._place_or_none(domain)
        if place is None:
            return

        def effect() -> None:
            if place.holders.get(target):
                raise Busy(f"{target} is in use")
            self.sim.unmount(place, target)

        await self.does(f"unmount {target}", 0.05, effect)

    async def make_writable(self, target: str, *, domain: str | None, timeout: float) -> None:
        place = self.inside(domain)

        def effect() -> None:
            self.sim.remount(place, target, readonly=False)

        await self.does(f"make-writable {target}", 0.02, effect)

    async def holders(self, target: str, *, domain: str | None) -> tuple[Process, ...]:
        await self.takes(0.05)
        place = self._place_or_none(domain)
        return tuple(place.holders.get(target, ())) if place else ()

    async def users(self, number: str) -> tuple[Process, ...]:
        await self.takes(0.05)
        return tuple(
            replace(process, container=place.domain or "")
            for place in self.sim.places()
            for mounted in place.mounts
            if mounted.device == number
            for process in (*place.holders.get(mounted.target, ()), *([self._orphan(place)] if place.stuck else ()))
        )

    async def device_number(self, device: str) -> str | None:
        await self.alive()
        return programs.number_of(self.sim, device)

    def kill(self, pid: int) -> None:
        self._living()
        for place in self.sim.places():
            for target, processes in sorted(place.holders.items()):
                kept = [one for one in processes if one.pid != pid]
                if target in place.respawning:
                    kept += [Process(one.pid + 1, one.command, one.state) for one in processes if one.pid == pid]
                place.holders[target] = kept

    # -- addresses -------------------------------------------------------------------------------------------------

    async def addresses(self, domain: str | None) -> tuple[Address, ...]:
        await self.takes(0.005)
        place = self._place_or_none(domain)
        return neighbours.heard(self.sim, place) if place else ()

    async def add_address(self, domain: str | None, interface: str, address: str) -> None:
        place = self.inside(domain)
        new = Address(interface, address, frozenset({"permanent", "tentative"} if ":" in address else {"permanent"}))

        def effect() -> None:
            if place.gone:
                raise Unavailable(f"container {domain} does not run any more")
            if not any((one.interface, one.address) == (interface, address) for one in place.addresses):
                self.sim.add_address(place, new)
                if "tentative" in new.flags:
                    after = DAD + self._chance.random()
                    asyncio.get_running_loop().call_later(after, self.sim.checked, place, new)

        await self.does(f"add-address {address}", 0.01, effect)

    async def remove_address(self, domain: str | None, interface: str, address: str) -> None:
        place = self._place_or_none(domain)
        if place is not None:
            there = place
            await self.does(
                f"remove-address {address}", 0.01, lambda: self.sim.remove_address(there, interface, address)
            )

    async def announce(self, domain: str | None, interface: str, address: str) -> None:
        await neighbours.announce(self, self.inside(domain), interface, address)

    async def rival(self, domain: str | None, interface: str, address: str) -> str:
        return await neighbours.ask(self, self.inside(domain), address)

    # -- looking at the network ------------------------------------------------------------------------------------

    async def ping(self, address: str, timeout: float) -> bool:
        await self.takes(0.002)
        answers = address in self.sim.world.neighbours or bool(self.sim.world.reach(address))
        lost = self.sim.world.loss > 0 and self._chance.random() < self.sim.world.loss
        if answers and self.sim.links["lan"] and not lost and self.sim.world.delay < timeout:
            await self.sleep(self.sim.world.delay)
            return True
        await self.sleep(timeout)
        return False

    async def tcp(self, address: str, port: int, timeout: float, domain: str | None = None) -> bool:
        """In a container: it accepts while a unit is active there and none has failed or is on its way."""
        await self.takes(0.002)
        if domain is None:
            return address in self.sim.world.neighbours and self.sim.links["lan"]
        try:
            await self.meets(f"tcp {port}")
        except MachineError:
            return False
        states = {unit.active for unit in self.inside(domain).units.values()}
        return "active" in states and states <= {"active", "inactive"}

    async def http(self, url: str, timeout: float, domain: str | None = None) -> int:
        return 200 if await self.tcp("", 80, timeout, domain) else 0

    async def fetch(
        self, url: str, timeout: float, domain: str | None = None, *, post: str | None = None
    ) -> tuple[int, str]:
        """Only Patroni's API is there."""
        await self.takes(0.005)
        engine = self.sim.world.engines.get(domain or "")
        try:
            await self.meets("fetch")
        except MachineError:
            return 0, ""
        if engine is not None and engine.slow:
            await self.sleep(min(timeout, engine.slow * self._chance.random()))
        if engine is None or not engine.runs(self.sim.name):
            return 0, ""
        if post is None:
            return engine.get(self.sim.name, urlsplit(url).path)
        self.tap(f"POST {urlsplit(url).path}")
        answer = await engine.switch(post)
        await self.alive()
        return answer

    # -- talking to other agents -------------------------------------------------------------------------------------

    async def ask(self, address: str, port: int, message: bytes, timeout: float) -> bytes | None:
        """Over the LAN; lost on the way there or back where a link is down or a host stands still."""
        await self.alive()
        ends = asyncio.get_running_loop().time() + timeout
        await self.takes(0.002)
        there = self.sim.world.host_at(address)
        served = there.serving.get(port) if there is not None and self._linked(there) else None
        answer = served(message) if served is not None else None
        await self.takes(0.002)
        if answer is not None and there is not None and self._linked(there):
            return answer
        await self.sleep(max(0.0, ends - asyncio.get_running_loop().time()))
        return None

    def _linked(self, there: Host) -> bool:
        return all(host.runs and host.links["lan"] for host in (self.sim, there))

    async def serve(self, port: int, answer: Callable[[bytes], bytes | None]) -> None:
        await self.alive()

        def served(message: bytes) -> bytes | None:
            try:
                self._living()
                return answer(message)
            except Killed:
                return None

        self.sim.serving[port] = served
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self.sim.serving.get(port) is served:
                del self.sim.serving[port]

    # -- the watchdog --------------------------------------------------------------------------------------------------

    async def arm_watchdog(self, device: str, seconds: float) -> float:
        await self.alive()
        await self.meets(f"watchdog {device}")
        self.sim.watchdog.arm(seconds)
        self._opened = True
        self.tap(f"arm {device}")
        return seconds

    def pet_watchdog(self) -> None:
        self._living()
        if self._opened:
            self.sim.watchdog.pet()

    async def disarm_watchdog(self) -> None:
        await self.alive()
        self.sim.watchdog.disarm()
        self._opened = False
        self.tap("disarm the watchdog")

    # -- being told ------------------------------------------------------------------------------------------------

    async def changes(self) -> AsyncIterator[str]:
        topics: asyncio.Queue[str] = asyncio.Queue()
        self.sim.listeners.append(topics.put_nowait)
        try:
            while True:
                topic = await topics.get()
                await self.takes(0.005)
                yield topic
        finally:
            if topics.put_nowait in self.sim.listeners:
                self.sim.listeners.remove(topics.put_nowait)

    def notify(self, state: str) -> None:
        self.told.append(state)
