"""Addresses in a container's network namespace, and looking whether something answers.

A socket belongs for good to the network namespace in which it was made, so only its making happens there.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from reconciler.linux import syscalls
from resources.machine import Address, InUse, MachineError, Unavailable

HOME = "/proc/self/ns/net"
FLAGS = {
    0x01: "secondary",
    0x02: "nodad",
    0x04: "optimistic",
    0x08: "dadfailed",
    0x20: "deprecated",
    0x40: "tentative",
    0x80: "permanent",
}  # IFA_F_* of linux/if_addr.h
IFF_UP = 0x1
GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
DAD_TAKES = 5.0  # seconds, at most, until an address is no longer tentative
LOOKS = 0.05

T = TypeVar("T")


def namespace_of(init: int | None) -> str:
    """The path of a process's network namespace; None: this host's."""
    return f"/proc/{init}/ns/net" if init else HOME


def made_in(namespace: str, make: Callable[[], T]) -> T:
    """`make()`, sockets above all, in that namespace. Raises Unavailable when it is gone."""
    if namespace == HOME:
        return make()
    try:
        with syscalls.network_namespace(namespace):
            return make()
    except (FileNotFoundError, ProcessLookupError) as e:
        raise Unavailable("the container stopped meanwhile") from e


@asynccontextmanager
async def netlink(namespace: str) -> AsyncIterator[Any]:
    """pyroute2's rtnetlink there. Its errors become MachineErrors."""
    route = AsyncIPRoute()
    try:
        made_in(namespace, lambda: route.socket)
        await route.setup_endpoint()
        await route.bind()
        yield route
    except NetlinkError as e:
        raise MachineError(f"the kernel refuses: {e}") from e
    finally:
        route.close()


# -- addresses ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What a network namespace has: all addresses, and the MAC address of each interface that has one."""

    addresses: tuple[Address, ...]
    macs: Mapping[str, bytes]


async def look(namespace: str) -> Look:
    """See `Machine.addresses`."""
    async with netlink(namespace) as route:
        links = [link async for link in await route.link("dump")]
        names = {link["index"]: link.get("ifname") for link in links}
        found = [address_of(message, names) async for message in await route.addr("dump")]
    return Look(tuple(sorted(found, key=lambda one: (one.interface, one.address))), _macs(links))


def _macs(links: Iterable[Any]) -> dict[str, bytes]:
    texts = {link.get("ifname"): (link.get("address") or "").replace(":", "") for link in links}
    return {name: bytes.fromhex(text) for name, text in texts.items() if len(text) == 12 and int(text, 16)}


async def set_up(namespace: str, interface: str) -> Mapping[str, bytes]:
    """The link is up; the MAC addresses of all interfaces there. Raises MachineError."""
    async with netlink(namespace) as route:
        links = [link async for link in await route.link("dump")]
        there = [link for link in links if link.get("ifname") == interface]
        if there and not there[0]["flags"] & IFF_UP:
            await route.link("set", index=there[0]["index"], state="up")
    if not there:
        raise MachineError(no_interface(interface))
    return _macs(links)


def no_interface(interface: str) -> str:
    return f"there is no interface {interface} in the container: does its domain define it?"


def address_of(message: Any, names: dict[int, str]) -> Address:
    """RTM_NEWADDR in our words. IFA_LOCAL is the address itself where there is a peer."""
    flags = message.get("flags") or 0
    ip = message.get("local") or message.get("address")
    return Address(
        names.get(message["index"], f"if{message['index']}"),
        f"{ip}/{message['prefixlen']}",
        frozenset(name for bit, name in FLAGS.items() if flags & bit),
    )


async def _index(route: Any, interface: str) -> int:
    found: list[int] = list(await route.link_lookup(ifname=interface))
    if not found:
        raise MachineError(no_interface(interface))
    return found[0]


async def add_address(namespace: str, interface: str, address: str) -> None:
    """See `Machine.add_address`. The link is set up: libvirt leaves it down in a container that does not care."""
    wanted = ip_interface(address)
    async with netlink(namespace) as route:
        index = await _index(route, interface)
        try:
            await route.link("set", index=index, state="up")
            await route.addr("add", index=index, address=str(wanted.ip), prefixlen=wanted.network.prefixlen)
        except NetlinkError as e:
            if e.code != errno.EEXIST:
                raise MachineError(f"{address} cannot be added to {interface}: {e}") from e


async def remove_address(namespace: str, interface: str, address: str) -> None:
    """See `Machine.remove_address`."""
    wanted = ip_interface(address)
    async with netlink(namespace) as route:
        found: list[int] = list(await route.link_lookup(ifname=interface))
        try:
            if found:
                await route.addr("del", index=found[0], address=str(wanted.ip), prefixlen=wanted.network.prefixlen)
        except NetlinkError as e:
            if e.code not in (errno.EADDRNOTAVAIL, errno.ENODEV):
                raise MachineError(f"{address} cannot be removed from {interface}: {e}") from e


async def until_usable(namespace: str, interface: str, address: str) -> None:
    """Once it is no longer tentative (RFC 4862 5.4). Raises InUse, and MachineError when that takes too long."""
    ip = ip_interface(address).ip
    end = asyncio.get_running_loop().time() + DAD_TAKES
    while asyncio.get_running_loop().time() < end:
        there = [one for one in (await look(namespace)).addresses if ip_interface(one.address).ip == ip]
        if any("dadfailed" in one.flags for one in there):
            raise InUse(f"{address} is in use by another machine (duplicate address detection)")
        if any("tentative" not in one.flags for one in there):
            return
        if not there:
            raise MachineError(f"{address} was removed again from {interface} while it was checked for duplicates")
        await asyncio.sleep(LOOKS)
    raise MachineError(f"{address} is still being checked for duplicates on {interface}: is the link up?")


# -- looking -----------------------------------------------------------------------------------------------------------


async def connect(namespace: str, host: str, port: int) -> socket.socket:
    """A connected TCP socket. Raises OSError."""
    loop = asyncio.get_running_loop()
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        target: Any = (host, port)
    except ValueError:
        family, _, _, _, target = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
    sock = made_in(namespace, lambda: socket.socket(family, socket.SOCK_STREAM))
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


async def tcp(namespace: str, host: str, port: int, timeout: float) -> bool:
    """See `Machine.tcp`."""
    try:
        async with asyncio.timeout(timeout):
            (await connect(namespace, host, port)).close()
    except (OSError, TimeoutError):
        return False
    return True


async def http(namespace: str, url: str, timeout: float, *, most: int = 0, post: str | None = None) -> tuple[int, str]:
    """See `Machine.http` and `Machine.fetch`; `most`: bytes of the body that are read. The certificate is not checked:
    the question is whether the service answers."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    try:
        async with asyncio.timeout(timeout):
            sock = await connect(namespace, parts.hostname or "", parts.port or (443 if secure else 80))
            context = _unchecked() if secure else None
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=parts.hostname if secure else None
            )
            try:
                writer.write(_request(parts, post))
                line = (await reader.readline()).split()
                body = await _body(reader, most) if most else ""
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
        return 0, ""
    return (int(line[1]), body) if len(line) > 1 and line[1].isdigit() else (0, "")


def _request(parts: SplitResult, post: str | None) -> bytes:
    """HTTP/1.0: a body comes in one piece, and ends with the connection."""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = (post or "").encode()
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if post is not None else ""
    verb, host = "GET" if post is None else "POST", f"Host: {parts.netloc}\r\nUser-Agent: hactl\r\n"
    return f"{verb} {path} HTTP/1.0\r\n{host}{more}Connection: close\r\n\r\n".encode() + body


async def _body(reader: asyncio.StreamReader, most: int) -> str:
    """What follows the headers, as far as it comes and that many bytes at most."""
    while (await reader.readline()).strip():
        pass
    found = b""
    while len(found) < most and (chunk := await reader.read(most - len(found))):
        found += chunk
    return found.decode(errors="replace")


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# -- being told --------------------------------------------------------------------------------------------------------


def monitor(namespace: str) -> socket.socket:
    """A netlink socket that becomes readable when an address or a link changes there. Raises Unavailable."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        sock.bind((0, GROUPS))
        return sock

    return made_in(namespace, make)
