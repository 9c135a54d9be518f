"""What neighbours say of who has which address, as Ethernet frames: ARP (RFC 826, RFC 5227) for IPv4, neighbour
discovery (RFC 4861) for IPv6; and filters for sockets that are to hear nothing else. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

IP = IPv4Address | IPv6Address

ETHERNET = 1  # ARPHRD_ETHER
ARP, IPV6 = 0x0806, 0x86DD  # EtherTypes
REQUEST, REPLY = 1, 2
ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 135, 136
OVERRIDE = 0x20000000  # a neighbour advertisement's flag: forget what you knew
EVERYBODY = b"\xff" * 6
ALL_NODES = IPv6Address("ff02::1")
SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))


def protocol_of(ip: IP) -> int:
    """The EtherType of the frames that are about it."""
    return ARP if ip.version == 4 else IPV6


# -- saying ------------------------------------------------------------------------------------------------------------


def question(mac: bytes, ip: IP) -> bytes:
    """Who has it? From an interface with that MAC address; nobody learns anything wrong from it.

    IPv4: an ARP probe, whose sender address is 0 (RFC 5227 2.1.1). IPv6: a solicitation from the interface's link-local
    address, answered to this MAC address alone. As in duplicate address detection, from `::`, it would be answered to
    all nodes, and those would then take the other machine for the right one.
    """
    if isinstance(ip, IPv4Address):
        return _arp(REQUEST, mac, bytes(4), bytes(6), ip.packed)
    group = IPv6Address(SOLICITED_NODE | (int(ip) & 0xFFFFFF))
    message = struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + ip.packed + b"\1\1" + mac
    return _icmpv6(mac, link_local(mac), group, message)


def announcements(mac: bytes, ip: IP) -> list[bytes]:
    """It is at that MAC address. IPv4: a request whose sender and target are the address (RFC 5227 2.3), and the same
    as a reply, since some switches and hosts learn from one of them only. IPv6: RFC 4861 7.2.6."""
    if isinstance(ip, IPv4Address):
        both = ((REQUEST, bytes(6)), (REPLY, EVERYBODY))
        return [_arp(operation, mac, ip.packed, target, ip.packed) for operation, target in both]
    message = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + ip.packed + b"\2\1" + mac
    return [_icmpv6(mac, ip, ALL_NODES, message)]


def _arp(operation: int, mac: bytes, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    head = EVERYBODY + mac + struct.pack("!H", ARP)
    return head + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + sender + target_mac + target


def _icmpv6(mac: bytes, source: IPv6Address, group: IPv6Address, message: bytes) -> bytes:
    """To a multicast group (RFC 2464 7), with the hop limit that neighbour discovery asks for."""
    pseudo = source.packed + group.packed + struct.pack("!II", len(message), ICMPV6)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    head = b"\x33\x33" + group.packed[12:] + mac + struct.pack("!H", IPV6)
    return head + struct.pack("!IHBB", 0x60000000, len(message), ICMPV6, 255) + source.packed + group.packed + message


def _checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def link_local(mac: bytes) -> IPv6Address:
    """The one made of the MAC address (RFC 4291, appendix A)."""
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])


# -- hearing -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """`mac` says that it has `ip`. `to`: whom it answers, by MAC address; None: it said so to all, unasked."""

    mac: bytes
    ip: IP
    to: bytes | None


def claim(frame: bytes) -> Claim | None:
    """What a frame says of who has an address; None: nothing, or too little of it is there."""
    kind = frame[12:14]
    if kind == struct.pack("!H", ARP) and len(frame) >= 42:
        answers = frame[20:22] == struct.pack("!H", REPLY) and frame[32:38] not in (EVERYBODY, bytes(6))
        sender = ip_address(frame[28:32])
        return Claim(frame[22:28], sender, frame[32:38] if answers else None) if int(sender) else None
    if kind == struct.pack("!H", IPV6) and len(frame) >= 78 and (frame[20], frame[54]) == (ICMPV6, ADVERTISEMENT):
        alone = not frame[0] & 1  # the group bit
        return Claim(frame[6:12], ip_address(frame[62:78]), frame[0:6] if alone else None)
    return None


def text_of(mac: bytes) -> str:
    """52:54:00:00:00:09"""
    return mac.hex(":")


# -- filters -----------------------------------------------------------------------------------------------------------

_LD, _LDH, _LDB, _JEQ, _RET = 0x20, 0x28, 0x30, 0x15, 0x06  # BPF_LD|W|ABS and so on, of linux/bpf_common.h
_PACKET_TYPE, _OUTGOING = 0xFFFFF000 + 4, 4  # SKF_AD_OFF + SKF_AD_PKTTYPE; PACKET_OUTGOING
_WHOLE = 0x40000


def claims_filter(protocol: int, ips: Iterable[IP], ours: Collection[bytes]) -> bytes:
    """A classic BPF program (struct sock_filter[]) for a raw packet socket: of claims to these addresses by another MAC
    address than ours the whole, of all else nothing, so that ordinary traffic wakes nobody."""
    refused = _unless([(_LDB, _PACKET_TYPE, _OUTGOING)], 0)
    sender = 22 if protocol == ARP else 6
    for mac in sorted(ours):
        high, low = struct.unpack("!IH", mac)
        refused += _unless([(_LD, sender, high), (_LDH, sender + 4, low)], 0)
    wanted = [_claims(ip) for ip in sorted(ips, key=int) if protocol_of(ip) == protocol]
    accepted = b"".join(_unless(tests, _WHOLE) for tests in wanted)
    return refused + accepted + _instruction(_RET, 0, 0, 0)


def _claims(ip: IP) -> list[tuple[int, int, int]]:
    if isinstance(ip, IPv4Address):
        return [(_LD, 28, int(ip))]
    words = struct.unpack("!4I", ip.packed)
    target = [(_LD, 62 + 4 * number, word) for number, word in enumerate(words)]
    return [(_LDB, 20, ICMPV6), (_LDB, 54, ADVERTISEMENT), *target]


def _unless(tests: list[tuple[int, int, int]], result: int) -> bytes:
    """Go on behind this, unless all of (how to load, from where, what must be there) hold: then end with `result`."""
    code = b""
    for number, (load, offset, value) in enumerate(tests):
        behind = 2 * (len(tests) - number - 1) + 1
        code += _instruction(load, 0, 0, offset) + _instruction(_JEQ, 0, behind, value)
    return code + _instruction(_RET, 0, 0, result)


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
