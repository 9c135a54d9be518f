"""Being told: what the kernel and the daemons say, as topics to look at again. Only hints: the resync tick stays.

domain/NAME     libvirt's lifecycle events, the end of its init (a pidfd), and of the last process in its cgroup
disk/RESOURCE   one `drbdsetup events2` for all
network/NAME    a netlink socket in each container's network namespace; what neighbours claim of its addresses (rivals)
units/NAME      the systemd in it (reconciler.linux.manager)
mounts/NAME     the kernel's sign on its init's mountinfo (proc(5): POLLPRI)
*               something may have been missed: look at everything
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from loguru import logger

from reconciler.linux import network, orphans, proc
from reconciler.linux.populated import Populated
from reconciler.linux.processes import ENVIRONMENT
from reconciler.linux.rivals import Claims
from resources.machine import Container, Unavailable

AGAIN = 2.0  # seconds until a source that ended is asked again


class Topics:
    """Those not yet looked at, each once, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._there = asyncio.Event()

    def add(self, topic: str) -> None:
        self._waiting[topic] = None
        self._there.set()

    async def get(self) -> str:
        while not self._waiting:
            self._there.clear()
            await self._there.wait()
        topic, _ = self._waiting.popitem(last=False)
        return topic


@dataclass(frozen=True)
class _Watched:
    """What is open for a container. Sockets keep its network namespace alive: closed as soon as its init ends."""

    id: str
    pidfd: int
    controller: int  # a pidfd of its libvirt_lxc
    netlink: socket.socket
    mountinfo: int
    epoll: select.epoll


class Watching:
    """All sources. `container`: called with every look at a container, so that those that run are watched."""

    def __init__(self) -> None:
        self.topics = Topics()
        self._loop = asyncio.get_running_loop()
        self._watched: dict[str, _Watched] = {}
        self._populated = Populated(lambda domain: self.topics.add(f"domain/{domain}"))
        self.claims = Claims(lambda domain: self.topics.add(f"network/{domain}"))

    async def changes(self) -> AsyncIterator[str]:
        """See `Machine.changes`."""
        disks = asyncio.create_task(self._disks())
        try:
            while True:
                yield await self.topics.get()
        finally:
            disks.cancel()

    # -- disks -------------------------------------------------------------------------------------------------------

    async def _disks(self) -> None:
        """For ever: a stream that ended is opened again, and costs one look at everything."""
        while True:
            try:
                await self._read_disks()
            except OSError as e:
                logger.warning("drbdsetup events2 does not run: {}; disks are looked at with each resync", e)
            await asyncio.sleep(AGAIN)
            self.topics.add("*")

    async def _read_disks(self) -> None:
        process = await asyncio.create_subprocess_exec(
            "drbdsetup", "events2", env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                if topic := disk_topic(line.decode(errors="replace")):
                    self.topics.add(topic)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    # -- containers --------------------------------------------------------------------------------------------------

    def container(self, domain: str, seen: Container) -> None:
        """It was looked at: watch this run of it, and no earlier one."""
        if seen.orphans or seen.stuck:
            self._populated.watch(domain, (cgroup for _, cgroup in orphans.scopes(domain)))
        known = self._watched.get(domain)
        if known is not None and known.id != seen.id:
            self._forget(domain)
        if seen.pid is not None and domain not in self._watched:
            with contextlib.suppress(OSError, Unavailable):  # it has stopped since
                self._watch(domain, seen.pid, seen.id)
                self._populated.watch(domain, (cgroup for _, cgroup in orphans.scopes(domain)))

    def _watch(self, domain: str, init: int, id: str) -> None:
        with contextlib.ExitStack() as undo:
            pidfd = os.pidfd_open(init)
            undo.callback(os.close, pidfd)
            controller = os.pidfd_open(proc.parent(init))
            undo.callback(os.close, controller)
            netlink = network.monitor(network.namespace_of(init))
            undo.callback(netlink.close)
            mountinfo = os.open(f"/proc/{init}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, mountinfo)
            epoll = select.epoll()
            epoll.register(mountinfo, select.EPOLLPRI)
            undo.pop_all()
        self._watched[domain] = _Watched(id, pidfd, controller, netlink, mountinfo, epoll)
        self._loop.add_reader(pidfd, self._ended, domain)
        self._loop.add_reader(controller, self._ended, domain)
        self._loop.add_reader(netlink, self._network_changed, domain, netlink)
        self._loop.add_reader(epoll, self._mounts_changed, domain, epoll)

    def _ended(self, domain: str) -> None:
        self._forget(domain)
        self.topics.add(f"domain/{domain}")

    def _network_changed(self, domain: str, netlink: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    netlink.recv(65536)
                except OSError as e:
                    if isinstance(e, BlockingIOError):
                        raise
                    break  # ENOBUFS: some were lost, which is one more reason to look
        self.topics.add(f"network/{domain}")

    def _mounts_changed(self, domain: str, epoll: select.epoll) -> None:
        epoll.poll(0)
        self.topics.add(f"mounts/{domain}")

    def _forget(self, domain: str) -> None:
        watched = self._watched.pop(domain)
        self.claims.forget(domain)
        for source in (watched.pidfd, watched.controller, watched.netlink, watched.epoll):
            self._loop.remove_reader(source)
        watched.netlink.close()
        watched.epoll.close()
        os.close(watched.mountinfo)
        os.close(watched.pidfd)
        os.close(watched.controller)

    def close(self) -> None:
        for domain in list(self._watched):
            self._forget(domain)
        self._populated.close()
        self.claims.close()


def disk_topic(line: str) -> str:
    """A line of `drbdsetup events2` -> `disk/NAME`, "" for one that names none."""
    for word in line.split()[2:]:
        key, _, value = word.partition(":")
        if key == "name":
            return f"disk/{value}"
    return ""
