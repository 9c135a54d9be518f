"""What neighbours say of who has which address: frames out, claims in, and a filter that the kernel runs."""

from __future__ import annotations

import socket
from contextlib import closing
from ipaddress import ip_address

import pytest

from reconciler.linux.neighbours import ARP, IP, IPV6, Claim, announcements, claim, claims_filter, question
from reconciler.linux.rivals import attach
from tests.unit.support import captured

FRAMES = {
    name: bytes.fromhex(text) for name, text in (line.split() for line in captured("neighbours.txt").splitlines())
}
OURS, RIVAL = bytes.fromhex("525400000001"), bytes.fromhex("525400000009")
V4, V6 = ip_address("192.0.2.10"), ip_address("2001:db8::10")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("arp-request", Claim(RIVAL, V4, None)),
        ("arp-answer", Claim(RIVAL, V4, OURS)),
        ("nd-answer", Claim(RIVAL, V6, OURS)),
        ("nd-dad-answer", Claim(RIVAL, V6, None)),
        ("nd-dad", None),
        ("mld-report", None),
    ],
)
def test_what_a_real_neighbour_says(name: str, said: Claim | None) -> None:
    assert claim(FRAMES[name]) == said


@pytest.mark.parametrize("name", FRAMES)
def test_half_a_frame_says_nothing(name: str) -> None:
    assert [claim(FRAMES[name][:length]) for length in range(41)] == [None] * 41


@pytest.mark.parametrize("ip", [V4, V6], ids=["v4", "v6"])
def test_a_question_claims_nothing_and_an_announcement_does_to_all(ip: IP) -> None:
    assert claim(question(OURS, ip)) is None
    assert {claim(frame) for frame in announcements(OURS, ip)} == {Claim(OURS, ip, None)}


def test_an_announcement_is_what_the_kernel_says_when_somebody_else_wants_its_address() -> None:
    """To the last bit, its checksum too."""
    assert announcements(RIVAL, V6) == [FRAMES["nd-dad-answer"]]


def let_through(program: bytes, frames: list[bytes]) -> list[bytes]:
    """By the kernel."""
    there, here = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(there), closing(here):
        attach(here, program)
        here.setblocking(False)
        found = []
        for frame in frames:
            there.send(frame)
            try:
                found.append(here.recv(2048))
            except BlockingIOError:
                continue
        return found


def test_nothing_but_claims_of_others_to_what_is_ours_wakes_us() -> None:
    every = [*FRAMES.values(), *announcements(OURS, V4), *announcements(OURS, V6), question(RIVAL, V4)]
    others = [ip_address("192.0.2.11"), ip_address("2001:db8::11"), ip_address("2001:db9::10")]
    every += [frame for ip in others for frame in announcements(RIVAL, ip)]
    v4, v6 = (claims_filter(protocol, [V4, V6, ip_address("192.0.2.99")], {OURS}) for protocol in (ARP, IPV6))
    assert let_through(v4, [one for one in every if one[12:14] == b"\x08\x06"]) == [
        FRAMES["arp-answer"],
        FRAMES["arp-request"],
    ]
    assert let_through(v6, [one for one in every if one[12:14] == b"\x86\xdd"]) == [
        FRAMES["nd-answer"],
        FRAMES["nd-dad-answer"],
    ]
    assert let_through(claims_filter(ARP, [V4], {OURS, RIVAL}), [FRAMES["arp-answer"]]) == []
