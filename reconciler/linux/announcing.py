"""Announcements: at once, and again a few times while the address is there. Only from the host that has it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from ipaddress import ip_interface

from loguru import logger

from reconciler.linux import network
from reconciler.linux.neighbours import ETHERNET, IP, announcements, protocol_of
from resources.machine import ANNOUNCED_AGAIN, MachineError

LATE = 1.0  # seconds: this host stood still for longer, and another may have the address by now

What = tuple[str | None, str, IP]  # domain, interface, address


class Announcing:
    """`namespace`: where a container's network is now; raises Unavailable when it does not run."""

    def __init__(self, namespace: Callable[[str | None], Awaitable[str]]) -> None:
        self._namespace = namespace
        self._again: dict[What, asyncio.Task[None]] = {}

    async def announce(self, domain: str | None, interface: str, address: str) -> None:
        """See `Machine.announce`."""
        self.end(domain, interface, address)
        namespace = await self._namespace(domain)
        ip = ip_interface(address).ip
        if ip.version == 6:
            await network.until_usable(namespace, interface, address)
        _send(namespace, interface, ip)
        what = (domain, interface, ip)
        self._again[what] = asyncio.create_task(self._repeat(what))

    def end(self, domain: str | None, interface: str, address: str) -> None:
        """The address goes: no more of it from now on."""
        if task := self._again.pop((domain, interface, ip_interface(address).ip), None):
            task.cancel()

    def close(self) -> None:
        for task in self._again.values():
            task.cancel()

    async def _repeat(self, what: What) -> None:
        domain, interface, ip = what
        began = _now()
        for after in ANNOUNCED_AGAIN:
            await asyncio.sleep(max(0.0, began + after - _now()))
            try:
                namespace = await self._namespace(domain)
                seen = (await network.look(namespace)).addresses
                there = any((one.interface, ip_interface(one.address).ip) == (interface, ip) for one in seen)
                if not there or _now() > began + after + LATE:
                    return
                _send(namespace, interface, ip)
            except MachineError as e:
                logger.debug("{} is not announced again: {}", ip, e)
                return


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _send(namespace: str, interface: str, ip: IP) -> None:
    """Raises MachineError."""
    try:
        with closing(network.made_in(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))) as raw:
            raw.bind((interface, protocol_of(ip)))
            _, _, _, hardware, mac = raw.getsockname()
            for frame in announcements(mac, ip) if hardware == ETHERNET else ():  # others have no neighbours to tell
                raw.send(frame)
    except OSError as e:
        raise MachineError(f"{ip} cannot be announced on {interface}: {e.strerror}") from e
