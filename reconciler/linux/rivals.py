"""Whether another machine has our addresses too: asked for, and heard without asking.

What is heard costs nothing until it comes: a raw socket an interface and protocol, whose filter lets through only what
another MAC address claims of the addresses that are there. It is hearsay, forged perhaps or late (the announcement of
the host that had it before): `ask` tells. A machine that has taken an address and says nothing is found by the question
that each look puts to the neighbours, without waiting for an answer.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from loguru import logger

from reconciler.linux import network
from reconciler.linux.neighbours import ETHERNET, IP, claim, claims_filter, protocol_of, question, text_of
from resources.machine import Address, MachineError, Unavailable

WAITS = 0.15  # seconds for an answer; neighbours on a LAN take less than one thousandth
LATE = 1.0  # seconds more than that: this host stood still
QUESTIONS = 2  # within that
ASKS = 10.0  # seconds from one question that a look puts to the next
DEAF = 1.0  # seconds after a claim was heard, so that a storm of them wakes us once in that time
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
FRAMES = 64  # read at once


# -- asked for ---------------------------------------------------------------------------------------------------------


async def ask(namespace: str, interface: str, address: str) -> str:
    """See `Machine.rival`. Only an answer to this question counts: nothing that was said to all, which may be late."""
    ip, began = ip_interface(address).ip, _now()
    ours = (await network.set_up(namespace, interface)).values()
    try:
        with closing(network.made_in(namespace, lambda: packets(interface, [ip], protocol_of(ip), ours))) as sock:
            _, _, _, hardware, mac = sock.getsockname()
            for _ in range(QUESTIONS if hardware == ETHERNET else 0):
                sock.send(question(mac, ip))
                with suppress(TimeoutError):
                    async with asyncio.timeout(WAITS / QUESTIONS):
                        return await _answer(sock, mac)
    except OSError as e:
        raise MachineError(f"the neighbours cannot be asked who has {ip} on {interface}: {e.strerror}") from e
    if _now() - began > WAITS + LATE:  # another host may have been given it meanwhile
        raise MachineError(f"this host stood still while it asked who has {ip} on {interface}; it is asked again")
    return ""


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _answer(sock: socket.socket, mac: bytes) -> str:
    while True:
        said = claim(await asyncio.get_running_loop().sock_recv(sock, 2048))
        if said is not None and said.to == mac:
            return text_of(said.mac)


def packets(interface: str, ips: Iterable[IP], protocol: int, ours: Collection[bytes]) -> socket.socket:
    """A raw socket that hears claims of others to these addresses there, and nothing else. Raises OSError."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        attach(sock, claims_filter(protocol, ips, ours))  # before it is bound: it hears nothing yet
        sock.bind((interface, protocol))
    except BaseException:
        sock.close()
        raise
    return sock


def attach(sock: socket.socket, program: bytes) -> None:
    """Its filter from now on (socket(7): SO_ATTACH_FILTER, struct sock_fprog)."""
    code = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))


# -- heard -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ear:
    sock: socket.socket
    program: bytes


Where = tuple[str, str, int]  # domain, interface, protocol
What = tuple[str, str, IP]  # domain, interface, address


class Claims:
    """`told` is called with the domain when a claim is heard. Make it inside a running loop."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._ears: dict[Where, _Ear] = {}
        self._heard: dict[What, str] = {}
        self._asked: dict[What, float] = {}

    def on(self, domain: str, namespace: str, seen: network.Look) -> tuple[Address, ...]:
        """Listen for claims to exactly these addresses from now on; they, each with who claims it."""
        ips = {(one.interface, ip_interface(one.address).ip) for one in seen.addresses if one.interface in seen.macs}
        wanted: dict[Where, set[IP]] = {}
        for interface, ip in ips:
            if not ip.is_link_local:
                wanted.setdefault((domain, interface, protocol_of(ip)), set()).add(ip)
        for gone in [where for where in self._ears if where[0] == domain and where not in wanted]:
            self._close(gone)
        for known in (self._heard, self._asked):
            for what in [what for what in known if what[0] == domain and what[1:] not in ips]:
                del known[what]
        for where in sorted(wanted):
            self._listen(where, namespace, wanted[where], seen)
        return tuple(self._with_rival(domain, one) for one in seen.addresses)

    def settled(self, domain: str, interface: str, address: str) -> None:
        """It was announced since: what was claimed before counts no more."""
        self._heard.pop((domain, interface, ip_interface(address).ip), None)

    def forget(self, domain: str) -> None:
        for where in [where for where in self._ears if where[0] == domain]:
            self._close(where)
        for known in (self._heard, self._asked):
            for what in [what for what in known if what[0] == domain]:
                del known[what]

    def close(self) -> None:
        for where in list(self._ears):
            self._close(where)

    def _with_rival(self, domain: str, one: Address) -> Address:
        rival = self._heard.get((domain, one.interface, ip_interface(one.address).ip))
        return replace(one, rival=rival) if rival else one

    def _listen(self, where: Where, namespace: str, ips: set[IP], seen: network.Look) -> None:
        domain, interface, protocol = where
        program = claims_filter(protocol, ips, set(seen.macs.values()))
        try:
            ear = self._ears.get(where)
            if ear is not None and ear.sock.getsockname()[0] != interface:  # that one has gone since
                self._close(where)
                ear = None
            if ear is None:
                sock = network.made_in(namespace, lambda: packets(interface, ips, protocol, set(seen.macs.values())))
                self._ears[where] = ear = _Ear(sock, program)
                self._loop.add_reader(sock, self._hears, where, sock)
            elif ear.program != program:
                attach(ear.sock, program)
                self._ears[where] = ear = replace(ear, program=program)
            for ip in sorted(ips, key=int):
                self._ask((domain, interface, ip), ear.sock, seen.macs[interface])
        except (OSError, Unavailable) as e:  # it has gone since, or is down
            logger.debug("claims to addresses on {} of {} are not heard: {}", interface, domain or "this host", e)

    def _ask(self, what: What, sock: socket.socket, mac: bytes) -> None:
        now = self._loop.time()
        if now - self._asked.get(what, -ASKS) >= ASKS:
            self._asked[what] = now
            sock.send(question(mac, what[2]))

    def _hears(self, where: Where, sock: socket.socket) -> None:
        said = [claim(frame) for frame in _frames(sock)]
        heard = {(*where[:2], one.ip): text_of(one.mac) for one in said if one is not None}
        self._heard.update(heard)
        if heard:
            self._told(where[0])
            self._loop.remove_reader(sock)
            self._loop.call_later(DEAF, self._hears_again, where, sock)

    def _hears_again(self, where: Where, sock: socket.socket) -> None:
        ear = self._ears.get(where)
        if ear is not None and ear.sock is sock:
            self._loop.add_reader(sock, self._hears, where, sock)

    def _close(self, where: Where) -> None:
        sock = self._ears.pop(where).sock
        self._loop.remove_reader(sock)
        sock.close()


def _frames(sock: socket.socket) -> list[bytes]:
    """What has come; an interface that went down is an error once, and none that matters."""
    found: list[bytes] = []
    with suppress(OSError):
        while len(found) < FRAMES:
            found.append(sock.recv(2048))
    return found
