"""DRBD resources of the simulation: protocol C, `fencing resource-and-stonith`, and data whose every write is known.

A write is a node that points at the write before it, so a copy's data is its newest write, and "this copy lacks a write
that a client saw acknowledged" is a walk back. A generation is DRBD's data generation identifier: a new one begins with
each copy that goes on without its peer; of two copies the one whose generation comes from the other's has the data.
Roles and disk states change as LAB.md saw them change with DRBD 8.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

NOTICED = 3.0  # seconds until a peer's silence is noticed (ping-int, ping-timeout)
CONNECTS = 2.0  # seconds between attempts to connect (connect-int)
RESYNCS = 4.0  # seconds of a resync
GOES_ON = 4  # the fence-peer handler's exit status: the peer is outdated, I/O may go on

NEEDS_DATA = (17, "State change failed: (-2) Need access to UpToDate data")
TWO_PRIMARIES = (11, "State change failed: (-1) Multiple primaries not allowed by config")
NOT_OUTDATED = (11, "State change failed: (-7) Refusing to be Primary while peer is not outdated")
HELD_OPEN = (11, "State change failed: (-12) Device is held open by someone")
NOT_CURRENT = (10, "Failure: (138) Can only attach to the data we lost last (see kernel log).")
NOT_UP = (10, "unknown resource")

WITHOUT_DATA = ("Diskless", "Inconsistent")  # a Primary with such a copy is served by its peer

Handler = Callable[[str, str, str], Awaitable[int]]  # (host, resource, peer) -> exit status


@dataclass(eq=False, slots=True)
class Write:
    """A write and all before it."""

    depth: int = 0
    before: Write | None = None

    def includes(self, other: Write) -> bool:
        """Is `other` this write or one before it?"""
        one: Write | None = self
        while one is not None and one.depth > other.depth:
            one = one.before
        return one is other


@dataclass(frozen=True, eq=False)
class Generation:
    """Of a copy's data, and the one that it comes from."""

    before: Generation | None = None

    def includes(self, other: Generation) -> bool:
        """Is `other` this one or one that it comes from?"""
        one: Generation | None = self
        while one is not None and one is not other:
            one = one.before
        return one is other


@dataclass
class Copy:
    """One host's copy. `pending`: writes that no client has seen acknowledged yet, and whom to tell."""

    host: str
    data: Write
    generation: Generation
    up: bool = True
    role: str = "Secondary"
    disk: str = "UpToDate"
    peer_disk: str = "UpToDate"
    suspended: str = "no"
    standalone: bool = False
    pending: list[tuple[Write | None, Callable[[], None]]] = field(default_factory=list)


class Resource:
    """A resource between two hosts. `can_talk`: do the link and both kernels let them? `said`: tells the world."""

    def __init__(
        self,
        name: str,
        minor: int,
        hosts: tuple[str, str],
        can_talk: Callable[[], bool],
        said: Callable[[str, str, str], None],
    ) -> None:
        self.name, self.minor = name, minor
        first, generation = Write(), Generation()
        self.copies = {host: Copy(host, first, generation) for host in hosts}
        self.acknowledged = first
        self.connected = True
        self.hangs = False  # the next handshake, as DRBD 8.4's may
        self.hung = ""  # the host whose copy hangs in one
        self.lost: list[str] = []
        self.handler: Handler | None = None
        self._can_talk, self._said = can_talk, said
        self._timer: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()

    def peer(self, host: str) -> Copy:
        for name, copy in self.copies.items():
            if name != host:
                return copy
        raise KeyError(host)

    def served(self, host: str) -> Write:
        """What is read there: of its own copy, or of the peer's while that serves it."""
        copy, peer = self.copies[host], self.peer(host)
        by_peer = copy.disk in WITHOUT_DATA and self.connected and peer.disk == "UpToDate"
        return peer.data if by_peer else copy.data

    @property
    def syncing(self) -> str:
        """The host whose copy is being resynced, or ""."""
        behind = [copy.host for copy in self.copies.values() if copy.disk == "Inconsistent"]
        return behind[0] if self.connected and behind else ""

    # -- the connection ----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Power, a link or a copy has changed: will the connection be lost, or found again?"""
        reachable = self._reachable()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        if self.connected and not reachable:
            self._timer = loop.call_later(NOTICED, self._lose)
        elif reachable and not self.connected:
            self._timer = loop.call_later(CONNECTS, self._connect)
        elif self.syncing:
            self._timer = loop.call_later(RESYNCS, self._synced)
        if self.connected and reachable:
            self._answer()

    def _answer(self) -> None:
        """The peer was silent for less than it takes to notice: what it was sent is there."""
        for copy in self.copies.values():
            if copy.pending and copy.suspended == "no":
                self._replicate(copy)
                self.resume(copy.host)

    def _replicate(self, copy: Copy) -> None:
        if self.peer(copy.host).disk == "UpToDate":
            self.peer(copy.host).data = copy.data

    def _reachable(self) -> bool:
        one, other = self.copies.values()
        return self._can_talk() and one.up and other.up and not (one.standalone or other.standalone)

    def _lose(self) -> None:
        self.connected, self.hung = False, ""
        for copy in self.copies.values():
            if not copy.up:
                continue
            copy.peer_disk = "DUnknown"
            if copy.role == "Primary" and copy.suspended == "no":
                copy.suspended = "fencing"
                self._call(copy.host)
            self._said(copy.host, self.name, "peer lost" + (", I/O held" if copy.role == "Primary" else ""))
        self.look()

    def _connect(self) -> None:
        one, other = self.copies.values()
        if one.role == other.role == "Primary":  # refused ("Multiple primaries not allowed by config") and tried again
            self._timer = asyncio.get_running_loop().call_later(CONNECTS, self._connect)
            return
        ahead, behind = self._order(one, other)
        stale_primary = behind.role == "Primary" and ahead.data is not behind.data
        if stale_primary or not ahead.generation.includes(behind.generation):
            one.standalone = other.standalone = True
            for copy in (one, other):
                self._said(copy.host, self.name, "split brain: StandAlone")
            return
        self.connected = True
        ahead.disk = "UpToDate"
        if self.hangs and behind.role != "Primary":
            return self._hang(ahead, behind)
        behind.disk = "UpToDate" if ahead.data is behind.data else "Inconsistent"
        behind.generation = ahead.generation
        ahead.peer_disk, behind.peer_disk = behind.disk, ahead.disk
        for copy in (one, other):
            self.resume(copy.host)
            self._said(copy.host, self.name, "connected")
        self.look()

    def _hang(self, ahead: Copy, behind: Copy) -> None:
        """The link is there again and its answer never comes: who wrote goes on, the other copy is of no use."""
        self.hangs, self.hung = False, behind.host
        behind.disk = ahead.peer_disk = "Outdated"
        behind.peer_disk = "UpToDate"
        self.resume(ahead.host)
        for copy in (ahead, behind):
            self._said(copy.host, self.name, "connected, and the handshake hangs")

    def _order(self, one: Copy, other: Copy) -> tuple[Copy, Copy]:
        """Which has the data, which is to get it. Of one generation: the one that had more sent to it."""
        if one.generation is other.generation:
            return (one, other) if one.data.includes(other.data) else (other, one)
        return (one, other) if one.generation.includes(other.generation) else (other, one)

    def _synced(self) -> None:
        behind = self.copies[self.syncing]
        ahead = self.peer(behind.host)
        behind.data, behind.disk, ahead.peer_disk = ahead.data, "UpToDate", "UpToDate"
        for copy in (ahead, behind):
            self._said(copy.host, self.name, "resynced")

    # -- power ---------------------------------------------------------------------------------------------------

    def power_off(self, host: str) -> None:
        copy = self.copies[host]
        copy.up, copy.role, copy.suspended, copy.standalone = False, "Secondary", "no", False
        copy.pending.clear()
        if copy.disk in ("UpToDate", "Diskless"):
            copy.disk = "Consistent"
        self.look()

    def power_on(self, host: str) -> None:
        copy = self.copies[host]
        if self.connected:  # it was away for less than it takes to notice: its new kernel knows of no connection
            self._lose()
        copy.up, copy.peer_disk = True, "DUnknown"
        self.look()

    # -- by hand, or by who gives up held I/O -------------------------------------------------------------------

    def disconnect(self, host: str) -> tuple[int, str]:
        """drbdadm disconnect: this side tries no more."""
        self.copies[host].standalone = True
        if self.connected:
            self._lose()
        self.look()
        return 0, ""

    def connect(self, host: str) -> tuple[int, str]:
        """drbdadm connect: this side tries again."""
        self.copies[host].standalone = False
        self.look()
        return 0, ""

    def detach(self, host: str) -> tuple[int, str]:
        """drbdadm detach --force."""
        copy = self.copies[host]
        if copy.disk != "Diskless":
            copy.disk = "Diskless"
            if self.connected:
                self.peer(host).peer_disk = copy.disk
            self._said(host, self.name, "detached")
        return 0, ""

    def adjust(self, host: str) -> tuple[int, str]:
        """drbdadm adjust: attached and connecting, as it is configured. A Primary takes its own copy back only where
        its peer is there to say what that lacks."""
        copy = self.copies[host]
        if not copy.up:
            return NOT_UP
        if copy.disk == "Diskless":
            if copy.role == "Primary" and not self.connected:
                return NOT_CURRENT
            current = self.connected and copy.data is self.peer(host).data
            copy.disk = "UpToDate" if current else "Inconsistent" if self.connected else "Consistent"
            self.peer(host).peer_disk = copy.disk
            self._said(host, self.name, "attached")
        return self.connect(host)

    # -- roles -----------------------------------------------------------------------------------------------------

    async def promote(self, host: str) -> tuple[int, str]:
        """drbdadm primary: (exit status, what it says). Without the peer, the fence-peer handler is asked."""
        if problem := self._refusal(host):
            return problem
        if not self.connected and self.copies[host].peer_disk != "Outdated":
            if await self._ask(host) != GOES_ON:
                return NOT_OUTDATED
            if problem := self._refusal(host):
                return problem
            if not self.connected:  # it may have come back while the handler was asked
                self.copies[host].peer_disk = "Outdated"
        copy = self.copies[host]
        if copy.role != "Primary":
            copy.role = "Primary"
            self._alone(copy)
            if copy.disk == "Consistent":
                copy.disk = "UpToDate"
            self._said(host, self.name, "Primary")
        return 0, ""

    def _refusal(self, host: str) -> tuple[int, str] | None:
        copy, peer = self.copies[host], self.peer(host)
        if not copy.up:
            return NOT_UP
        if copy.role == "Primary":
            return None
        if self.connected and peer.role == "Primary":
            return TWO_PRIMARIES
        through_peer = self.connected and peer.disk == "UpToDate"
        return None if copy.disk in ("UpToDate", "Consistent") or through_peer else NEEDS_DATA

    def demote(self, host: str, *, in_use: bool) -> tuple[int, str]:
        """drbdadm secondary."""
        copy = self.copies[host]
        if not copy.up:
            return NOT_UP
        if copy.role == "Primary":
            if in_use or copy.pending:
                return HELD_OPEN
            copy.role, copy.suspended = "Secondary", "no"
            self._said(host, self.name, "Secondary")
        return 0, ""

    # -- I/O -------------------------------------------------------------------------------------------------------

    def write(self, host: str, acknowledged: Callable[[], None]) -> None:
        """By the mounted filesystem of that host. `acknowledged` is called once, now, later or never."""
        copy = self.copies[host]
        if copy.disk in WITHOUT_DATA:
            self._write_by_peer(host, acknowledged)
            return
        if copy.suspended != "no":
            copy.pending.append((None, acknowledged))
            return
        copy.data = Write(copy.data.depth + 1, copy.data)
        if self.connected and not self._reachable():
            copy.pending.append((copy.data, acknowledged))  # sent, not answered; the silence is not noticed yet
            return
        if self.connected:
            self._replicate(copy)
        self._acknowledge(copy.data, acknowledged)

    def _write_by_peer(self, host: str, acknowledged: Callable[[], None]) -> None:
        """Its own copy is away or being resynced; an I/O error where no peer serves it."""
        peer = self.peer(host)
        if self.connected and self._reachable() and peer.disk == "UpToDate":
            peer.data = Write(peer.data.depth + 1, peer.data)
            self._acknowledge(peer.data, acknowledged)

    def resume(self, host: str) -> None:
        """Held I/O goes on: the peer is back, or surely outdated."""
        copy = self.copies[host]
        held, copy.pending = copy.pending, []
        if copy.suspended != "no" and copy.disk != "Diskless":
            self._alone(copy)
        copy.suspended = "no"
        if copy.disk == "Diskless":
            return  # I/O errors, all of them
        for write, acknowledged in held:
            if write is None:
                self.write(host, acknowledged)
            else:
                self._acknowledge(write, acknowledged)

    def _alone(self, copy: Copy) -> None:
        """It is written to without its peer from now on."""
        if not self.connected:
            copy.generation = Generation(copy.generation)

    def _acknowledge(self, write: Write, told: Callable[[], None]) -> None:
        if write.includes(self.acknowledged):
            self.acknowledged = write
        elif not self.acknowledged.includes(write):
            self.lost.append(f"{self.name}: a write is acknowledged on a copy that lacks one acknowledged before")
        told()

    # -- fencing ---------------------------------------------------------------------------------------------------

    async def _ask(self, host: str) -> int:
        return await self.handler(host, self.name, self.peer(host).host) if self.handler else 1

    def _call(self, host: str) -> None:
        """Once, as DRBD does; a refusal leaves the I/O held until the peer is back or somebody resumes it."""

        async def call() -> None:
            if await self._ask(host) == GOES_ON and not self.connected and self.copies[host].suspended == "fencing":
                self.copies[host].peer_disk = "Outdated"
                self.resume(host)
                self._said(host, self.name, "goes on alone")

        task = asyncio.get_running_loop().create_task(call())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
