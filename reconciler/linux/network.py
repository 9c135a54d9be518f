"""Addresses in a container's network namespace, announcements to the neighbours, and looking whether something answers.

A socket belongs for good to the network namespace in which it was made, so only its making happens there.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address, ip_interface
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from reconciler.linux import syscalls
from resources.machine import Address, MachineError, Unavailable

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


async def addresses(namespace: str) -> tuple[Address, ...]:
    """See `Machine.addresses`."""
    async with netlink(namespace) as route:
        names = {link["index"]: link.get("ifname") async for link in await route.link("dump")}
        found = [address_of(message, names) async for message in await route.addr("dump")]
    return tuple(sorted(found, key=lambda one: (one.interface, one.address)))


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
        raise MachineError(f"there is no interface {interface} in the container: does its domain define it?")
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


# -- announcements -----------------------------------------------------------------------------------------------------


async def announce(namespace: str, interface: str, address: str) -> None:
    """See `Machine.announce`. An IPv6 address first once it is no longer tentative (RFC 4862 5.4)."""
    ip = ip_interface(address).ip
    try:
        if isinstance(ip, IPv6Address):
            await _until_usable(namespace, interface, address)
            made_in(namespace, lambda: _neighbour_advertisement(interface, ip))
        else:
            made_in(namespace, lambda: _gratuitous_arp(interface, ip.packed))
    except OSError as e:
        raise MachineError(f"{address} cannot be announced on {interface}: {e.strerror}") from e


async def _until_usable(namespace: str, interface: str, address: str) -> None:
    ip = ip_interface(address).ip
    end = asyncio.get_running_loop().time() + DAD_TAKES
    while asyncio.get_running_loop().time() < end:
        there = [one for one in await addresses(namespace) if ip_interface(one.address).ip == ip]
        if any("dadfailed" in one.flags for one in there):
            raise MachineError(f"{address} is in use by another machine (duplicate address detection)")
        if any("tentative" not in one.flags for one in there):
            return
        await asyncio.sleep(LOOKS)
    raise MachineError(f"{address} is still being checked for duplicates on {interface}: is the link up?")


def _gratuitous_arp(interface: str, ip: bytes) -> None:
    """An ARP announcement (RFC 5227 2.3): a request whose sender and target are the address; and the same as a reply,
    since some switches and hosts learn from one of them only."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((interface, 0x0806))
        mac = raw.getsockname()[4]
        for operation, target in ((1, bytes(6)), (2, b"\xff" * 6)):
            body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + ip + target + ip
            raw.send(b"\xff" * 6 + mac + struct.pack("!H", 0x0806) + body)


def _neighbour_advertisement(interface: str, ip: IPv6Address) -> None:
    """Unsolicited, to all nodes, overriding what they know (RFC 4861 7.2.6). The kernel fills in the checksum."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
        link.bind((interface, 0x86DD))
        mac = link.getsockname()[4]
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.bind((str(ip), 0, 0, 0))
        message = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ip.packed + struct.pack("!BB", 2, 1) + mac
        raw.sendto(message, ("ff02::1", 0, 0, index))


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


async def http(namespace: str, url: str, timeout: float) -> int:
    """See `Machine.http`. The certificate is not checked: the question is whether the service answers."""
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
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                head = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUser-Agent: hactl\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                line = (await reader.readline()).split()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return 0
    return int(line[1]) if len(line) > 1 and line[1].isdigit() else 0


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
