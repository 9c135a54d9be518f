"""How a service changes hands, carried out: the transactions of `reconciler.moves` and `reconciler.copies`, committed.

What was written is known at once, not only when the watch tells of it; what was decided is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from loguru import logger

from reconciler import copies, follows, moves, restarts
from reconciler.applied import Applied
from reconciler.failsafe import Promises
from reconciler.mirror import Mirror
from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Me, Verdict, View, takeover
from reconciler.plan import Plan
from reconciler.probes import Spawn
from reconciler.proofs import Proofs
from reconciler.publish import AUDIT_LASTS, Publisher
from reconciler.records import Status, as_id, stamp
from reconciler.session import SessionKeeper
from reconciler.shutdown import Shutdown
from reconciler.status import Trouble, ready
from reconciler.store import Store, Txn, session_key
from reconciler.teller import Teller
from resources.kind import AnyPart, Role
from resources.machine import Machine

BOOTS = 60.0  # seconds a host may take to come, after a cold start of all
SETTLING = 0.5  # seconds between looks while something takes its time to become ready
NO_EPOCH = 0  # of a service that is everywhere
GONE = float("inf")  # the service is no more; its worker ends


@dataclass(frozen=True)
class Parts:
    """What all workers of a host share."""

    store: Store
    machine: Machine
    mirror: Mirror
    session: SessionKeeper
    publisher: Publisher
    applied: Applied
    promises: Promises
    proofs: Proofs
    shutdown: Shutdown
    spawn: Spawn
    resync: float


@dataclass
class Memory:
    """What a worker remembers between passes."""

    epoch: int = 0  # the one this agent holds
    given_up: int = 0  # the last one whose release was sent
    begun: int = 0  # revision of the spec by which it was being put down last
    since: float = 0.0  # monotonic: when it was claimed, or kept at first
    was_ready: bool = False  # in this epoch
    keeps: bool = False  # it is everywhere, and active here
    asked: tuple[int, float] = (0, 0.0)  # revision of the spec for which its engine was asked to go, and when
    trouble: Trouble = field(default_factory=Trouble)
    failing: restarts.Failing = field(default_factory=restarts.Failing)


class Transfers:
    """Of one service. `memory` is its worker's."""

    def __init__(self, name: str, parts: Parts, memory: Memory, teller: Teller) -> None:
        self._name, self._p, self._memory, self._tell = name, parts, memory, teller

    def automatic(self, view: View) -> bool:
        """By the spec, or by what the session's last word said of it."""
        return view.automatic or self._name in self._p.session.guards

    def connected(self) -> bool:
        """The session stands, and what etcd said until it began is known here."""
        return self._p.session.connected and self._informed()

    def safe(self) -> bool:
        """Nobody may take over what is `automatic`. With another session than before, not before the news are here."""
        if self._p.session.by_promise:
            return True
        return self._p.session.safe and (not self._p.session.begun or self._informed())

    def _informed(self) -> bool:
        key = session_key(self._p.machine.host)
        return self._p.mirror.revision_of(key) >= self._p.session.begun > 0

    # -- the owner key -------------------------------------------------------------------------------------------------

    async def claim(self, view: View, parts: tuple[AnyPart, ...]) -> tuple[View, Verdict] | None:
        """Become the owner, or None: something changed meanwhile, or this host has no session to do so."""
        if not self.connected() or not self._begin(view):
            return None
        disks = {part.kind.key(part.spec) for part in parts if part.kind.name == "disk"}
        session = self._p.session.begun
        owner, txn = moves.claim(view, self._p.machine, self._p.session.revision, disks)
        revision = await self._p.store.commit(txn)
        if revision is None:
            self._end(view)
            return None
        self._note(txn, revision)
        if self._p.session.begun != session:  # it was declared dead and lives again: what it claimed before is void
            self._memory.given_up = max(self._memory.given_up, owner.epoch)
            return None
        self._memory.epoch, self._memory.since = owner.epoch, self._p.machine.monotonic()
        self._memory.was_ready, self._memory.trouble = False, Trouble()
        self._tell.decision(f"owned by {owner.host} (epoch {owner.epoch})", owner.epoch)
        fresh = self._p.mirror.view(self._name)
        if fresh is None or fresh.owner != owner:
            return None
        return fresh, Verdict(Role.ACTIVE, Intent.HOLD, epoch=owner.epoch)

    async def comes_here(self, view: View, me: Me, snapshot: Snapshot) -> bool:
        """Has this host just said that it is to have the service? Its owner is dead, or its engine leads here."""
        return await self.take_over(view, me) or await self.follow(view, me, snapshot)

    async def take_over(self, view: View, me: Me) -> bool:
        """Of an `automatic` service whose last owner is dead: the first ready host says that it is to have it."""
        why = takeover(view, me)
        if not why or self._may_be_coming(view):
            return False
        return await self._say(view, moves.take_over, "takes it over", why)

    async def follow(self, view: View, me: Me, snapshot: Snapshot) -> bool:
        """Its engine leads here by now: this host says that it is to have the service."""
        why = follows.follow(view, me, snapshot)
        return bool(why) and await self._say(view, moves.follow, "is to have it", why)

    async def _say(self, view: View, change: Callable[..., Txn], said: str, why: str) -> bool:
        """Set `primary` to this host, unless this host has promised the owner not to, or something has changed."""
        if not self._begin(view):
            return False
        machine = self._p.machine
        lease = await self._p.publisher.leases.get(AUDIT_LASTS)
        txn = change(view, machine, self._p.session.revision, self._audit_id(), lease, why)
        revision = await self._p.store.commit(txn)
        if revision is None:
            self._end(view)
            return False
        self._note(txn, revision)
        self._tell.decision(f"{machine.host} {said}", 0, why)
        return True

    def _may_be_coming(self, view: View) -> bool:
        """Nobody owns it and the host that is to have it is away: after a power cut of all it may only boot slower."""
        away = self._p.mirror.absence(view.wanted)
        waited = 0.0 if away is None else self._p.machine.monotonic() - away.since
        return view.owner is None and waited < BOOTS

    def _begin(self, view: View) -> bool:
        """May something be begun against an owner that is away? Not while it lives on a promise of this host."""
        owner = view.owner
        if owner is None or owner.host == self._p.machine.host or owner.host in view.sessions:
            return True
        return self._p.promises.begin(owner.host, owner.boot_id)

    def _end(self, view: View) -> None:
        """What was begun was surely not done."""
        if view.owner is not None:
            self._p.promises.end(view.owner.host, view.owner.boot_id)

    async def let_go(self, view: View, snapshot: Snapshot, verdict: Verdict) -> float:
        """Nothing exclusive is held: delete the owner key, or all keys of a deleted service."""
        forget = verdict.intent is Intent.FORGET
        txn = moves.forget(view) if forget else moves.release(view)
        if view.owner is not None and view.owner.host == self._p.machine.host:
            self._memory.given_up = max(self._memory.given_up, view.owner.epoch)
        self._memory.epoch = 0
        revision = await self._p.store.commit(txn)
        if revision is None:
            return SETTLING
        self._note(txn, revision)
        if forget:
            self._p.applied.forget(self._name)
            self._p.publisher.forget(self._name)
            logger.info("{}: deleted", self._name)
            return GONE
        self._tell.decision(f"released by {self._p.machine.host}", view.owner.epoch if view.owner else 0)
        return 0.0

    # -- a move that ends elsewhere ------------------------------------------------------------------------------------

    def settle(self, snapshot: Snapshot, dropped: frozenset[str]) -> None:
        """Once all of it is as it should be, a move has succeeded, and what is not any more is drift."""
        memory = self._memory
        if not memory.was_ready and ready(snapshot, dropped):
            memory.was_ready = True
            self._p.applied.settle(self._name, memory.epoch)

    def keep(self, *, keeps: bool) -> None:
        """Is it everywhere, and to be active here? There is no claim that begins it, and no epoch."""
        memory = self._memory
        if keeps == memory.keeps:
            return
        memory.keeps, memory.since = keeps, self._p.machine.monotonic()
        memory.was_ready = keeps and self._p.applied.settled(self._name, NO_EPOCH)
        if not keeps:
            self._p.applied.unsettle(self._name)

    async def revert(self, view: View, status: Status) -> bool:
        """A move that is not Ready within its deadline goes back to where it came from, once, and stays there."""
        memory, machine = self._memory, self._p.machine
        back = self._way_back(view)
        if self.left(view) != 0:
            return False
        why = f"not Ready on {machine.host} within its deadline of {view.manifest.spec.deadline:.0f} s: {status.reason}"
        lease = await self._p.publisher.leases.get(AUDIT_LASTS)
        txn = moves.revert(view, machine, self._audit_id(), lease, why)
        revision = await self._p.store.commit(txn)
        if revision is None:
            return False
        self._note(txn, revision)
        self._tell.decision(f"the move reverts to {back}", memory.epoch, why)
        return True

    def _way_back(self, view: View) -> str:
        """The host that a move to this one may revert to now, or ""."""
        if self._memory.was_ready or view.owner is None or view.owner.epoch != self._memory.epoch:
            return ""
        if view.paused is not None or view.follows:
            return ""
        back = view.owner.previous
        possible = back in view.sessions and back in view.manifest.spec.hosts and view.wanted == self._p.machine.host
        return back if possible else ""

    def left(self, view: View) -> float | None:
        """Seconds until the move to this host reverts, at least 0; None when it will not."""
        if not self._way_back(view):
            return None
        return max(0.0, self._memory.since + view.manifest.spec.deadline - self._p.machine.monotonic())

    async def move_on(self, view: View, wrong: str) -> None:
        to = restarts.elsewhere(view)
        why = f"its checks fail on {self._p.machine.host}, restarted or not: {wrong}"
        lease = await self._p.publisher.leases.get(AUDIT_LASTS)
        txn = moves.move_on(view, self._p.machine, to, self._audit_id(), lease, why)
        if (revision := await self._p.store.commit(txn)) is not None:
            self._note(txn, revision)
            self._tell.decision(f"it moves on to {to}", self._memory.epoch, why)

    # -- copies --------------------------------------------------------------------------------------------------------

    async def held_up(self, view: View, snapshot: Snapshot, verdict: Verdict) -> Plan:
        """Marks of copies are set and cleared by the owner alone; what to do first about I/O that is held."""
        if not verdict.epoch:
            lost = view.owner is not None and view.owner.host != self._p.machine.host
            return copies.first(snapshot, owner=False) if lost else Plan()
        for said, txn in copies.cleared(view, self._p.machine.host, snapshot):
            if (revision := await self._in_time(view, txn)) is not None:
                self._note(txn, revision)
                self._tell.decision(said, verdict.epoch)
        for part in copies.held_up(snapshot):
            disk = part.kind.key(part.spec)
            txn = copies.mark(view, self._p.machine, disk)
            if (revision := await self._in_time(view, txn)) is None:
                return Plan()  # somebody else owns it, or the handler has marked it meanwhile: the next look tells
            self._note(txn, revision)
            self._tell.decision(f"goes on with disk {disk} alone; the other copy is marked outdated", verdict.epoch)
        return copies.first(snapshot, owner=True)

    async def _in_time(self, view: View, txn: Txn) -> int | None:
        """Commit it, but wait no longer than an `automatic` service may be held: it must be put down then. None also
        where no answer came: whether it was written, the watch tells."""
        left = self._p.session.safe_until - self._p.machine.monotonic() if self.automatic(view) else None
        try:
            async with asyncio.timeout(None if left is None else max(0.0, left)):
                return await self._p.store.commit(txn)
        except TimeoutError:
            return None

    # -- writing it ----------------------------------------------------------------------------------------------------

    def _audit_id(self) -> str:
        return f"{as_id(stamp(self._p.machine.utc()))}-{self._p.machine.host}-{self._name}"

    def _note(self, txn: Txn, revision: int) -> None:
        """What was just written is known at once, not only when the watch tells of it."""
        for key, (value, _) in txn.puts.items():
            self._p.mirror.note(key, value, revision)
        for key in txn.deletes:
            self._p.mirror.note(key, None, revision)
