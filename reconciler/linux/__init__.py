"""The real Machine: subprocesses, libvirt, mounts, netlink, clocks. Only `reconciler.cli` imports it.

processes.py   programs, bounded
shared.py      one program for all who ask the same at once
containers.py  libvirt-LXC
orphans.py     what a container leaves behind
systemd.py     the systemd inside a container, over its own bus
manager.py     its units, over D-Bus
mounting.py    filesystems into a running container
network.py     addresses, probes
neighbours.py  what neighbours say of addresses, as frames
rivals.py      whether another machine has ours too
announcing.py  telling the neighbours, more than once
talking.py     agents ask each other
watching.py    being told
populated.py   of the end of a cgroup's last process
watchdog.py    the device that resets this host
proc.py        /proc, read
syscalls.py    what Python does not have
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

from reconciler.linux import mounting, network, orphans, proc, processes, rivals, systemd, talking
from reconciler.linux.announcing import Announcing
from reconciler.linux.containers import Containers
from reconciler.linux.shared import Shared
from reconciler.linux.watchdog import Watchdog
from reconciler.linux.watching import Watching
from resources.machine import (
    Address,
    Container,
    Finished,
    Machine,
    MachineError,
    Mounted,
    Process,
    Unavailable,
)

__all__ = ["Linux", "missing"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LIBVIRT_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtlxcd-sock")
HOLDERS_PATIENCE = 10.0
DISKS = ("drbdsetup", "events2", "--now", "--statistics")  # of all; with a resource: of that one
DISKS_PATIENCE = 10.0


def missing() -> list[str]:
    """What this host lacks to run an agent, a sentence each with the way out."""
    found = []
    if not any(Path(path).exists() for path in LIBVIRT_SOCKETS):
        found.append(
            "libvirt is missing on this host: there is no /run/libvirt/libvirt-sock "
            "(apt install libvirt-daemon-system libvirt-daemon-driver-lxc; systemctl start libvirtd)"
        )
    if which("drbdsetup") is None:
        found.append("DRBD is missing on this host: there is no drbdsetup (apt install drbd-utils)")
    elif not Path("/sys/module/drbd").exists():
        found.append("DRBD is missing on this host: its kernel module is not loaded (modprobe drbd)")
    return found


class Linux(Machine):
    """This host. Make it inside a running loop; `close` it there."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._boot_id = BOOT_ID.read_text().strip()
        self._watching = Watching()
        self._containers = Containers(lambda domain: self._watching.topics.add(f"domain/{domain}" if domain else "*"))
        self._announcing = Announcing(self._namespace)
        self._watchdog: Watchdog | None = None
        self._disks = Shared(lambda: processes.run(DISKS, timeout=DISKS_PATIENCE))
        self._systemds = systemd.Systemds(lambda domain: self._watching.topics.add(f"units/{domain}"))
        self._inits: dict[str, tuple[int, str, int]] = {}  # the last init seen of each, when it began, its controller

    async def open(self) -> None:
        """Nothing to wait for: libvirtd is asked when it is needed."""

    async def close(self) -> None:
        """Containers and all else stay as they are."""
        self._announcing.close()
        self._watching.close()
        self._systemds.close()
        self._disks.close()
        self._containers.close()

    @property
    def host(self) -> str:
        return self._host

    @property
    def boot_id(self) -> str:
        return self._boot_id

    # -- time and chance ----------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def utc(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return random.random()

    # -- programs and files -------------------------------------------------------------------------------------------

    async def run(self, *argv: str, timeout: float, domain: str | None = None, stdin: str = "") -> Finished:
        if argv[: len(DISKS)] == DISKS:
            return await self._disks.look()
        if domain is None:
            return await processes.run(argv, timeout=timeout, stdin=stdin)
        init = await self._init(domain)
        if argv[0] == "systemctl":
            return await self._systemds.systemctl(domain, init, argv[1:], timeout)
        return await self._systemds.run(domain, init, argv, timeout, stdin)

    def read(self, path: str) -> str | None:
        try:
            return Path(path).read_text()
        except FileNotFoundError:
            return None

    def is_secret(self, path: str) -> bool:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return False
        return found.st_uid == 0 and not found.st_mode & 0o077

    def write(self, path: str, text: str) -> None:
        target = Path(path)
        beside = target.with_name(f".{target.name}.new")
        try:
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with beside.open("w") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            beside.replace(target)
        except OSError as e:
            raise MachineError(f"{path} cannot be written: {e.strerror}") from e

    def remove(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    # -- containers ---------------------------------------------------------------------------------------------------

    async def container(self, domain: str) -> Container:
        seen = await self._containers.look(domain)
        self._watching.container(domain, seen)
        if seen.pid is not None:
            self._inits[domain] = (seen.pid, proc.started(seen.pid), proc.parent(seen.pid))
        else:
            self._inits.pop(domain, None)
            self._systemds.forget(domain)
        return seen

    async def start_container(self, domain: str, timeout: float) -> None:
        await self._containers.start(domain, timeout, systemd.answers)

    async def stop_container(self, domain: str, grace: float) -> None:
        await self._containers.stop(domain, grace)

    async def kill_orphans(self, domain: str) -> None:
        await orphans.kill(domain)

    async def _init_or_none(self, domain: str | None) -> int | None:
        """Of a container that runs. The same process as before below the same controller is the same container; else
        libvirt is asked. An init that has outlived its controller is an orphan: what is in there is not the service."""
        if domain is None:
            return None
        init, began, controller = self._inits.get(domain, (0, "", 0))
        if init and proc.started(init) == began and proc.parent(init) == controller:
            return init
        return (await self.container(domain)).pid

    async def _init(self, domain: str) -> int:
        init = await self._init_or_none(domain)
        if init is None:
            raise Unavailable(f"container {domain} does not run")
        return init

    # -- mounts -------------------------------------------------------------------------------------------------------

    async def mounts(self, domain: str | None) -> tuple[Mounted, ...]:
        init = await self._init_or_none(domain)
        return () if domain is not None and init is None else proc.mounts(init or "self")

    async def mount(
        self, device: str, target: str, *, fstype: str, options: tuple[str, ...], domain: str | None, timeout: float
    ) -> None:
        init = await self._init(domain) if domain is not None else None
        await mounting.mount(device, target, fstype=fstype, options=options, init=init, timeout=timeout)

    async def unmount(self, target: str, *, domain: str | None, timeout: float) -> None:
        init = await self._init_or_none(domain)
        if domain is None or init is not None:
            await mounting.unmount(target, init=init, timeout=timeout)

    async def make_writable(self, target: str, *, domain: str | None, timeout: float) -> None:
        init = await self._init(domain) if domain is not None else None
        await mounting.make_writable(target, init=init, timeout=timeout)

    async def holders(self, target: str, *, domain: str | None) -> tuple[Process, ...]:
        there = [one for one in await self.mounts(domain) if one.target == target]
        return await self._held(there[-1].device, target) if there else ()

    async def users(self, number: str) -> tuple[Process, ...]:
        found = await self._held(number, f"device {number}")
        return tuple(replace(one, container=orphans.domain_of(one.pid)) for one in found)

    async def _held(self, number: str, what: str) -> tuple[Process, ...]:
        try:
            async with asyncio.timeout(HOLDERS_PATIENCE):
                return await asyncio.to_thread(proc.holders, number)
        except TimeoutError as e:
            raise MachineError(f"who holds {what} could not be found within {HOLDERS_PATIENCE:.0f} s") from e

    async def device_number(self, device: str) -> str | None:
        try:
            found = os.stat(device)
        except OSError:
            return None
        return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" if stat.S_ISBLK(found.st_mode) else None

    def kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)

    # -- addresses and the network ------------------------------------------------------------------------------------

    async def _namespace(self, domain: str | None) -> str:
        return network.namespace_of(await self._init(domain) if domain is not None else None)

    async def addresses(self, domain: str | None) -> tuple[Address, ...]:
        if domain is not None and await self._init_or_none(domain) is None:
            return ()
        namespace = await self._namespace(domain)
        return self._watching.claims.on(domain or "", namespace, await network.look(namespace))

    async def add_address(self, domain: str | None, interface: str, address: str) -> None:
        await network.add_address(await self._namespace(domain), interface, address)

    async def remove_address(self, domain: str | None, interface: str, address: str) -> None:
        self._announcing.end(domain, interface, address)
        if domain is None or await self._init_or_none(domain) is not None:
            await network.remove_address(await self._namespace(domain), interface, address)

    async def announce(self, domain: str | None, interface: str, address: str) -> None:
        await self._announcing.announce(domain, interface, address)
        self._watching.claims.settled(domain or "", interface, address)

    async def rival(self, domain: str | None, interface: str, address: str) -> str:
        return await rivals.ask(await self._namespace(domain), interface, address)

    async def ping(self, address: str, timeout: float) -> bool:
        argv = ("ping", "-n", "-q", "-c", "1", "-W", f"{timeout:.2f}", "-w", f"{max(1, round(timeout))}", address)
        return (await self.run(*argv, timeout=timeout + 2)).status == 0

    async def tcp(self, address: str, port: int, timeout: float, domain: str | None = None) -> bool:
        return await network.tcp(await self._namespace(domain), address, port, timeout)

    async def http(self, url: str, timeout: float, domain: str | None = None) -> int:
        return (await network.http(await self._namespace(domain), url, timeout))[0]

    async def fetch(
        self, url: str, timeout: float, domain: str | None = None, *, post: str | None = None
    ) -> tuple[int, str]:
        return await network.http(await self._namespace(domain), url, timeout, most=65536, post=post)

    # -- talking to other agents -------------------------------------------------------------------------------------

    async def ask(self, address: str, port: int, message: bytes, timeout: float) -> bytes | None:
        return await talking.ask(address, port, message, timeout)

    async def serve(self, port: int, answer: Callable[[bytes], bytes | None]) -> None:
        await talking.serve(port, answer)

    # -- the watchdog --------------------------------------------------------------------------------------------------

    async def arm_watchdog(self, device: str, seconds: float) -> float:
        self._watchdog = Watchdog(device, seconds)
        return self._watchdog.seconds

    def pet_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.pet()

    async def disarm_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.disarm()
            self._watchdog = None

    # -- being told ---------------------------------------------------------------------------------------------------

    def changes(self) -> AsyncIterator[str]:
        return self._watching.changes()

    def notify(self, state: str) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        if path:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                with contextlib.suppress(OSError):  # the service manager is not there: nobody to tell
                    sock.sendto(state.encode(), f"\0{path[1:]}" if path.startswith("@") else path)
