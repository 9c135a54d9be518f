"""pulse.py RUN HOST=ADDRESS…: does each guest's kernel go on? A line for each time that it stood still.

A guest is a process of this machine, and now and then one stands still for seconds to minutes, all of it at once. What
waited in its network card is answered once it goes on, so answers come late, and that is seen from outside. Packets
that were lost, a guest that is off, boots or was reset give no late answer. A guest that was frozen
(RUN/guests/HOST.frozen) stands still on purpose. Standard library only; root, for ICMP and for a look at the guest.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

EVERY = 1.0  # seconds between two questions to a guest
LATE = 3.0  # seconds; on a busy machine an answer takes tens of milliseconds
BOOTS = 60.0  # seconds
FORGETS = 60.0  # seconds
REQUEST, REPLY = 8, 0  # ICMP
WORDS = struct.Struct("!BBHHHd")  # type, code, checksum, identity, number, when it was sent (monotonic)


@dataclass
class Guest:
    """All times are monotonic. `asked`: when each question that waits for its answer was sent; `still_until`: when it
    last went on; `looked`: this silence was looked into."""

    name: str
    address: str
    run: Path
    frozen_at: float = -60.0
    asked: list[float] = field(default_factory=list)
    still_until: float = 0.0
    looked: bool = False

    def frozen(self, now: float, late: float) -> bool:
        """In the time that an answer took?"""
        if (self.run / "guests" / f"{self.name}.frozen").exists():
            self.frozen_at = now
        return now - self.frozen_at <= late + EVERY

    def ought_to_answer(self) -> bool:
        """It has booted, and its cable is plugged."""
        pids = self.processes()
        return bool(pids) and age(pids[0]) > BOOTS and not (self.run / "links" / f"{self.name}.lan.down").exists()

    def processes(self) -> list[int]:
        """Its kernel first, which began all the others."""
        title = str(self.run / "guests" / f"{self.name}.reset")
        return sorted((pid for pid in _pids() if _first_word(pid) == title), key=lambda pid: (-age(pid), pid))


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _first_word(pid: int) -> str:
    return _read(f"/proc/{pid}/cmdline").partition("\0")[0]


def _stat(pid: int) -> list[str]:
    """What follows its name, from its state on: proc(5). [] of one that is gone."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def question(identity: int, at: float) -> bytes:
    """An echo request (RFC 792), known again by when it was sent."""
    blank = WORDS.pack(REQUEST, 0, 0, identity, 0, at)
    return WORDS.pack(REQUEST, 0, checksum(blank), identity, 0, at)


def checksum(packet: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def ticks(pid: int) -> tuple[int, int]:
    """What it has used of the CPU so far, in user and system mode: proc(5), clock ticks."""
    words = _stat(pid)
    return (int(words[11]), int(words[12])) if words else (0, 0)


def age(pid: int) -> float:
    """Seconds since it began: proc(5), in clock ticks since the machine did."""
    words, up = _stat(pid), float(_read("/proc/uptime").split()[0])
    return up - int(words[19]) / os.sysconf("SC_CLK_TCK") if words else 0.0


def looks(guest: Guest) -> Iterator[str]:
    """What it does on this machine while it stands still: who used the CPU for a second, and where its kernel waits."""
    pids = guest.processes()
    before = {pid: ticks(pid) for pid in pids}
    time.sleep(1)
    for pid in pids:
        user, system = (now - then for now, then in zip(ticks(pid), before[pid], strict=True))
        if pid == pids[0] or user + system > 1:
            where = " ".join(f"{_read(f'/proc/{pid}/wchan')} {_read(f'/proc/{pid}/syscall')}".split())
            facts = dict(line.split(":", 1) for line in _read(f"/proc/{pid}/status").splitlines() if ":" in line)
            said = " ".join(f"{name} {facts.get(name, '').strip()}" for name in ("State", "SigPnd", "ShdPnd", "SigBlk"))
            yield f"process {pid}: {user} + {system} ticks in a second; {said}; {where}"


def told(text: str) -> None:
    print(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}", flush=True)


def watch(guests: list[Guest]) -> None:
    """For ever."""
    identity = os.getpid() & 0xFFFF
    by_address = {guest.address: guest for guest in guests}
    due = time.monotonic()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp,
        selectors.DefaultSelector() as ready,
    ):
        ready.register(icmp, selectors.EVENT_READ)
        while True:
            while ready.select(max(0.0, due - time.monotonic())):
                packet, (address, _) = icmp.recvfrom(2048)
                if (guest := by_address.get(address)) is not None:
                    answered(guest, packet[4 * (packet[0] & 15) :], identity)
            due += EVERY
            for guest in guests:
                ask(icmp, guest, identity)


def ask(icmp: socket.socket, guest: Guest, identity: int) -> None:
    now = time.monotonic()
    guest.asked = [at for at in guest.asked if now - at < FORGETS]
    silent = not guest.frozen(now, LATE) and now - min(guest.asked, default=now) > LATE
    if silent and not guest.looked and guest.ought_to_answer():
        told(f"{guest.name} is silent: {' | '.join(looks(guest))}")
    guest.looked = silent
    sent = time.monotonic()
    try:
        icmp.sendto(question(identity, sent), (guest.address, 0))
        guest.asked.append(sent)
    except OSError:
        return  # nobody has that address: it is off


def answered(guest: Guest, icmp: bytes, identity: int) -> None:
    if len(icmp) < WORDS.size:
        return
    kind, _, _, whose, _, sent = WORDS.unpack_from(icmp)
    if (kind, whose) != (REPLY, identity):
        return
    now = time.monotonic()
    late = now - sent
    if late > LATE and sent > guest.still_until and not guest.frozen(now, late):
        told(f"{guest.name} stood still for {late:.1f} s")
        guest.still_until = now
    guest.asked = [at for at in guest.asked if at > sent]


if __name__ == "__main__":
    run, *named = sys.argv[1:]
    watch([Guest(name, address, Path(run)) for name, _, address in (word.partition("=") for word in named)])
