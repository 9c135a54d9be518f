"""The two places where the same tests of addresses run: a simulated host, and network namespaces of this kernel (root).

Ours is a container "lan" with eth0; beside it on the LAN are a client, and another machine that takes addresses that
are not its own.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, closing
from ipaddress import ip_address
from typing import Any, Protocol, cast

from reconciler.linux import Linux, network
from reconciler.linux.neighbours import announcements, protocol_of
from reconciler.linux.rivals import packets
from reconciler.sim.clock import simulate
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Domain, World
from resources.machine import Container, Machine

OURS, RIVAL, CLIENT, WRONG = "52:54:00:00:00:01", "52:54:00:00:00:09", "52:54:00:00:00:50", "52:54:00:00:00:77"


class Lan(Protocol):
    """`machine`: of the host that has the container."""

    machine: Machine

    def run(self, story: Coroutine[Any, Any, None]) -> None: ...

    async def take(self, ip: str, *, aloud: bool) -> None:
        """The other machine takes it from now on."""

    async def give_back(self, ip: str) -> None: ...

    async def claim(self, ip: str) -> None:
        """Somebody says that the other machine has it, which does not."""

    def mislead(self, ip: str) -> None:
        """The client takes WRONG for whom has it."""

    def learned(self, ip: str) -> str:
        """The MAC address at which the client would reach it."""

    async def chatter(self, ip: str) -> None:
        """What neighbours say all day: who has it, who has others, where I am."""


class SimulatedLan:
    def run(self, story: Coroutine[Any, Any, None]) -> None:
        async def within() -> None:
            self._world = World(("hosta",))
            host = self._world.hosts["hosta"]
            host.domains["lan"] = Domain("lan")
            host.start_domain("lan")
            self.machine: Machine = SimMachine(host, "lan", lambda _operation: None)
            self._misled: dict[str, int] = {}
            await story

        simulate(within())

    async def take(self, ip: str, *, aloud: bool) -> None:
        self._world.rivals[ip] = RIVAL
        if aloud:
            self._world.claim(ip, RIVAL)

    async def give_back(self, ip: str) -> None:
        del self._world.rivals[ip]

    async def claim(self, ip: str) -> None:
        self._world.claim(ip, RIVAL)

    def mislead(self, ip: str) -> None:
        self._misled[ip] = len(self._world.announced)

    def learned(self, ip: str) -> str:
        since = self._world.announced[self._misled.get(ip, 0) :]
        return OURS if any(one == ip for _, _, one in since) else WRONG

    async def chatter(self, ip: str) -> None:
        """Nothing of it is simulated."""


class InNamespace(Linux):
    """Its one container is a process in a network namespace; libvirt is not asked."""

    def __init__(self, init: int) -> None:
        super().__init__("hosta")
        self._init_of_lan = init
        self._watching.container("lan", Container(True, True, init, "1"))

    async def _init_or_none(self, domain: str | None) -> int | None:
        return self._init_of_lan if domain == "lan" else None


class RealLan:
    """Three namespaces with eth0 each, on a bridge in a fourth. Their names are of this process; `end` removes them."""

    def __init__(self) -> None:
        self._name = f"hactltest-{os.getpid()}"
        for end in ("switch", "ours", "rival", "client"):
            _ip("netns", "add", self._of(end))
        _ip("-n", self._of("switch"), "link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
        for end, mac in (("ours", OURS), ("rival", RIVAL), ("client", CLIENT)):
            peer = ("peer", "name", "eth0", "netns", self._of(end), "address", mac)
            _ip("-n", self._of("switch"), "link", "add", end, "type", "veth", *peer)
            _ip("-n", self._of("switch"), "link", "set", end, "master", "br0", "up")
            if end != "ours":
                _ip("-n", self._of(end), "link", "set", "eth0", "up")
        # Ours is left down, as by libvirt. No address comes and goes there by itself: Told hears those too.
        _ip("-n", self._of("ours"), "link", "set", "eth0", "addrgenmode", "none")
        for address in ("192.0.2.50/24", "2001:db8::50/64"):
            _ip("-n", self._of("client"), "addr", "add", address, "dev", "eth0", *_no_dad(address))
        self._init = subprocess.Popen(["ip", "netns", "exec", self._of("ours"), "sleep", "600"])
        while os.readlink(f"/proc/{self._init.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)

    def _of(self, end: str) -> str:
        return f"{self._name}-{end}"

    def _path(self, end: str) -> str:
        return f"/run/netns/{self._of(end)}"

    def end(self) -> None:
        self._init.kill()
        self._init.wait()
        for end in ("switch", "ours", "rival", "client"):
            _ip("netns", "del", self._of(end))

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        async def within() -> None:
            machine = InNamespace(self._init.pid)
            self.machine: Machine = machine
            try:
                await story
            finally:
                await machine.close()

        asyncio.run(within())

    async def take(self, ip: str, *, aloud: bool) -> None:
        _ip("-n", self._of("rival"), "addr", "add", f"{ip}/{_prefix(ip)}", "dev", "eth0", *_no_dad(ip))
        if aloud:
            await self.claim(ip)

    async def give_back(self, ip: str) -> None:
        _ip("-n", self._of("rival"), "addr", "del", f"{ip}/{_prefix(ip)}", "dev", "eth0")

    async def claim(self, ip: str) -> None:
        self._say("rival", RIVAL, ip)

    def mislead(self, ip: str) -> None:
        _ip("-n", self._of("client"), "neigh", "replace", ip, "lladdr", WRONG, "nud", "stale", "dev", "eth0")

    def learned(self, ip: str) -> str:
        words = _ip("-n", self._of("client"), "neigh", "show", ip, "dev", "eth0").split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""

    async def chatter(self, ip: str) -> None:
        version = ip_address(ip).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        mine, away = ("192.0.2.50", "192.0.2.60") if version == 4 else ("2001:db8::50", "2001:db8::60")
        with closing(network.made_in(self._path("client"), lambda: socket.socket(family, socket.SOCK_DGRAM))) as sock:
            for target in (ip, away, ip, away):
                sock.sendto(b"hello", (target, 9))
                await asyncio.sleep(0.2)
        self._say("client", CLIENT, mine)

    def _say(self, end: str, mac: str, ip: str) -> None:
        """From there: it is at that MAC address."""
        there = ip_address(ip)
        with closing(network.made_in(self._path(end), lambda: packets("eth0", [], protocol_of(there), []))) as raw:
            for frame in announcements(bytes.fromhex(mac.replace(":", "")), there):
                raw.send(frame)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _prefix(ip: str) -> int:
    return 24 if ip_address(ip).version == 4 else 64


def _no_dad(address: str) -> tuple[str, ...]:
    return ("nodad",) if ":" in address else ()


def story(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test as a coroutine that its LAN runs: on virtual time, or on a loop of its own."""

    @functools.wraps(test)
    def run(lan: Lan, **more: Any) -> None:
        lan.run(test(lan, **more))

    return run


class Told:
    """Whether the machine has told to look again at the container's network, since `clear`."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self.clear()

    def clear(self) -> None:
        self._told.clear()
        self._since = asyncio.get_running_loop().time()

    def hear(self, topic: str) -> None:
        if topic == "network/lan":
            self._told.set()

    def __bool__(self) -> bool:
        return self._told.is_set()

    async def after(self) -> float:
        """Seconds from `clear` until it is told. Raises TimeoutError."""
        async with asyncio.timeout(5):
            await self._told.wait()
        return asyncio.get_running_loop().time() - self._since


@asynccontextmanager
async def told(lan: Lan) -> AsyncIterator[Told]:
    """Once what has happened before is told."""
    heard = Told()

    async def listen() -> None:
        async with aclosing(cast(Any, lan.machine.changes())) as changes:
            async for topic in changes:
                heard.hear(topic)

    task = asyncio.create_task(listen())
    try:
        await asyncio.sleep(0.2)
        heard.clear()
        yield heard
    finally:
        task.cancel()
