"""The worker of one service on this host: its passes. Read spec, owner and snapshot; plan; act; observe again; publish.

One pass never runs beside another of the same service, and no service waits for another. What a pass remembers is
little: the epoch it holds, the one it gave up, when the bring-up began, and how often it failed in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from reconciler import copies, moves, restarts
from reconciler.act import Outcome, Ran, act
from reconciler.applied import Applied, parts_of
from reconciler.failsafe import Promises
from reconciler.mirror import Mirror
from reconciler.observe import Snapshot, observe
from reconciler.ownership import Intent, Me, Verdict, View, decide, takeover
from reconciler.plan import Plan, plan
from reconciler.proofs import Proofs
from reconciler.publish import AUDIT_LASTS, Publisher
from reconciler.records import Event, Progress, Status, stamp
from reconciler.session import SessionKeeper
from reconciler.spec import SpecError
from reconciler.status import Trouble, judge, ready, target
from reconciler.store import Store, StoreError, Txn, session_key
from resources.kind import AnyPart, Role, Step
from resources.machine import Machine

FIRST_RETRY, LAST_RETRY = 1.0, 30.0  # seconds; doubled from one to the other
SETTLING = 0.5  # seconds between looks while something takes its time to become ready
NEVER = float("-inf")
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
    resync: float


@dataclass
class Memory:
    """What a worker remembers between passes."""

    epoch: int = 0  # the one this agent holds
    given_up: int = 0  # the last one whose release was sent
    since: float = 0.0  # monotonic: when it was claimed
    was_ready: bool = False  # in this epoch
    trouble: Trouble = field(default_factory=Trouble)
    failing: restarts.Failing = field(default_factory=restarts.Failing)


class Worker:
    """`poke` it to make it look again; `run` until the service is gone."""

    def __init__(self, name: str, parts: Parts) -> None:
        self.name = name
        self._p = parts
        self._memory = Memory()
        self._poked = asyncio.Event()
        self._stirred = asyncio.Event()  # poked from etcd: a plan under way may not be what is wanted any more
        self.topics: frozenset[str] = frozenset()
        self.automatic = True  # as far as is known: a spec that cannot be read may be
        self.looked_at: float | None = None  # monotonic: when the last look began
        self.empty_at = NEVER  # monotonic: when the last look began, if it found nothing exclusive held here

    def poke(self, *, urgent: bool = True) -> None:
        """Look again, now; not urgent: unless a failed step's retry is being waited for."""
        if urgent:
            self._stirred.set()
        if urgent or not self._memory.trouble.times:
            self._poked.set()

    async def run(self) -> None:
        """Pass after pass."""
        while True:
            self._poked.clear()
            try:
                delay = await self.reconcile()
            except StoreError as e:
                logger.warning("{}: {}", self.name, e)
                delay = FIRST_RETRY
            if delay == GONE:
                return
            try:
                async with asyncio.timeout(delay):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def reconcile(self) -> float:
        """One pass. Returns after how many seconds to look again unprompted. Raises StoreError."""
        try:
            view = self._p.mirror.view(self.name)
        except SpecError as e:
            return self._invalid(e)
        if view is None:
            self._p.applied.forget(self.name)
            self._p.publisher.forget(self.name)
            return GONE
        return await self._reconcile(view)

    async def _reconcile(self, view: View) -> float:
        self.automatic = self._automatic(view)
        parts, dropped = self._parts(view)
        snapshot = await self._look(parts)
        verdict = decide(view, self._me(view, snapshot))
        verdict = self._adopt(view, verdict)
        if await self._take_over(view, snapshot):
            return 0.0
        if verdict.intent is Intent.CLAIM:
            claimed = await self._claim(view, parts)
            if claimed is None:
                return self._waiting(view, snapshot, verdict, dropped)
            view, verdict = claimed
        first = await self._held_up(view, snapshot, verdict)
        outcome = await self._act(view, snapshot, verdict, dropped, first)
        if outcome.ran:
            snapshot = await self._look(parts)
        self._learn(outcome)
        # Another look decides, never the steps: what is seen now is what is released, reverted, forgotten or published.
        if verdict.intent in (Intent.RELEASE, Intent.FORGET) and not snapshot.held():
            return await self._let_go(view, snapshot, verdict)
        status = judge(view, self._p.machine.host, snapshot, verdict, self._memory.trouble, dropped)
        if verdict.intent is Intent.HOLD:
            status = await self._unwell(view, snapshot, verdict, status)
        self._p.publisher.status(self.name, status.model_copy(update={"witness": self._p.proofs.witness(view)}))
        if verdict.intent is Intent.HOLD and await self._revert(view, snapshot, status, dropped):
            return 0.0
        delay = 0.0 if outcome.given_up else self._next(status, outcome)
        return delay if (left := self._left(view)) is None else min(delay, max(left, SETTLING))

    # -- the steps of a pass, in their order ---------------------------------------------------------------------------

    def _invalid(self, error: SpecError) -> float:
        """A spec that is none: the service is left as it is, loudly."""
        role = Role.ACTIVE if self._memory.epoch else Role.STANDBY
        reason = f"the spec in etcd is not valid, so the service is left as it is: {error}"
        revision = self._p.mirror.revision(self.name)
        self._p.publisher.status(
            self.name, Status(role=role, state="Invalid", reason=reason, since="", revision=revision)
        )
        return self._p.resync

    def _parts(self, view: View) -> tuple[tuple[AnyPart, ...], frozenset[str]]:
        """The parts of the spec and, among them by stage, those that were applied and are no longer in it.

        An owner does not look at what matters to a target only: a gate that nobody answers must not delay a repair.
        """
        owns = bool(self._memory.epoch)
        parts = tuple(part for part in parts_of(view.text) if not (owns and part.kind.for_target))
        gone = self._p.applied.dropped(self.name, parts)
        both = tuple(sorted((*parts, *gone), key=lambda part: part.stage))
        self.topics = frozenset(topic for part in both for topic in part.kind.topics(part.spec))
        return both, frozenset(part.id for part in gone)

    async def _look(self, parts: tuple[AnyPart, ...]) -> Snapshot:
        began = self._p.machine.monotonic()
        snapshot = await observe(parts, self._p.machine)
        self.looked_at = began
        self.empty_at = NEVER if snapshot.held() else began
        return snapshot

    def _me(self, view: View, snapshot: Snapshot) -> Me:
        machine, memory = self._p.machine, self._memory
        could = target(view, machine.host, snapshot)
        return Me(
            machine.host,
            machine.boot_id,
            memory.epoch,
            memory.given_up,
            snapshot.holds(),
            connected=self._connected(),
            guarded=self.name in self._p.session.guards,
            safe=self._safe(),
            ready=could is not None and could.ready,
        )

    def _automatic(self, view: View) -> bool:
        """By the spec, or by what the session's last word said of it."""
        return view.automatic or self.name in self._p.session.guards

    def _connected(self) -> bool:
        """The session stands, and what etcd said until it began is known here."""
        return self._p.session.connected and self._informed()

    def _safe(self) -> bool:
        """Nobody may take over what is `automatic`. With another session than before, not before the news are here."""
        if self._p.session.by_promise:
            return True
        return self._p.session.safe and (not self._p.session.begun or self._informed())

    def _informed(self) -> bool:
        key = session_key(self._p.machine.host)
        return self._p.mirror.revision_of(key) >= self._p.session.begun > 0

    async def _take_over(self, view: View, snapshot: Snapshot) -> bool:
        """Of an `automatic` service whose last owner is dead: the first ready host says that it is to have it."""
        why = takeover(view, self._me(view, snapshot))
        if not why or not self._begin(view):
            return False
        machine = self._p.machine
        lease = await self._p.publisher.leases.get(AUDIT_LASTS)
        txn = moves.take_over(view, machine, self._p.session.revision, self._audit_id(), lease, why)
        revision = await self._p.store.commit(txn)
        if revision is None:
            self._end(view)
            return False
        self._note(txn, revision)
        self._decision(f"{machine.host} takes it over", 0, why)
        return True

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

    def _audit_id(self) -> str:
        moment = stamp(self._p.machine.utc()).translate({ord(c): None for c in ":-."})
        return f"{moment}-{self._p.machine.host}-{self.name}"

    def _adopt(self, view: View, verdict: Verdict) -> Verdict:
        """Found in etcd as ours, with things held: the epoch of a predecessor of this process, in this incarnation."""
        if verdict.epoch and verdict.epoch != self._memory.epoch:
            self._memory.epoch, self._memory.since = verdict.epoch, self._p.machine.monotonic()
            self._memory.was_ready = self._p.applied.settled(self.name, verdict.epoch)
            self._decision(f"goes on owning it (epoch {verdict.epoch})", verdict.epoch)
        if not verdict.epoch:
            self._memory.epoch = 0
        return verdict

    async def _claim(self, view: View, parts: tuple[AnyPart, ...]) -> tuple[View, Verdict] | None:
        """Become the owner, or None: something changed meanwhile, or this host has no session to do so."""
        if not self._connected() or not self._begin(view):
            return None
        disks = {part.kind.key(part.spec) for part in parts if part.kind.name == "disk"}
        owner, txn = moves.claim(view, self._p.machine, self._p.session.revision, disks)
        revision = await self._p.store.commit(txn)
        if revision is None:
            self._end(view)
            return None
        self._note(txn, revision)
        self._memory.epoch, self._memory.since = owner.epoch, self._p.machine.monotonic()
        self._memory.was_ready, self._memory.trouble = False, Trouble()
        self._decision(f"owned by {owner.host} (epoch {owner.epoch})", owner.epoch)
        fresh = self._p.mirror.view(self.name)
        if fresh is None or fresh.owner != owner:
            return None
        return fresh, Verdict(Role.ACTIVE, Intent.HOLD, epoch=owner.epoch)

    async def _held_up(self, view: View, snapshot: Snapshot, verdict: Verdict) -> Plan:
        """Marks of copies are set and cleared by the owner alone; what to do first about I/O that is held."""
        if not verdict.epoch:
            lost = view.owner is not None and view.owner.host != self._p.machine.host
            return copies.first(snapshot, owner=False) if lost else Plan()
        for said, txn in copies.cleared(view, self._p.machine.host, snapshot):
            if (revision := await self._p.store.commit(txn)) is not None:
                self._note(txn, revision)
                self._decision(said, verdict.epoch)
        for part in copies.held_up(snapshot):
            disk = part.kind.key(part.spec)
            txn = copies.mark(view, self._p.machine, disk)
            if (revision := await self._p.store.commit(txn)) is None:
                return Plan()  # somebody else owns it, or the handler has marked it meanwhile: the next look tells
            self._note(txn, revision)
            self._decision(f"goes on with disk {disk} alone; the other copy is marked outdated", verdict.epoch)
        return copies.first(snapshot, owner=True)

    async def _act(
        self, view: View, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str], first: Plan
    ) -> Outcome:
        steps = Plan((*first.groups, *plan(snapshot, verdict.role, dropped).groups))
        if verdict.role is not Role.ABSENT:
            self._p.applied.note(self.name, view.text, keep=_left_over(snapshot, dropped))
        late = verdict.intent is Intent.HOLD and self._left(view) == 0 and not ready(snapshot, dropped)
        if late or not steps.steps:
            return Outcome()
        if any(step.exclusive for step in steps.steps):
            self.empty_at = NEVER
        started = judge(view, self._p.machine.host, snapshot, verdict, self._memory.trouble, dropped)
        self._p.publisher.status(self.name, started)
        return await self._run(steps, view, snapshot, verdict)

    async def _run(self, steps: Plan, view: View, snapshot: Snapshot, verdict: Verdict) -> Outcome:
        done = 0

        def told(step: Step, ran: Ran | None) -> None:
            nonlocal done
            if ran is None:
                self._p.publisher.progress(self.name, Progress(done=done, of=len(steps.steps), now=str(step)))
                return
            done += 1
            self._step_event(ran, verdict.epoch)

        def given_up() -> Coroutine[Any, Any, str]:
            return self._given_up(view, verdict, snapshot)

        return await act(steps, self._p.machine, lambda: self._forbidden(verdict), told, given_up)

    async def _given_up(self, view: View, verdict: Verdict, snapshot: Snapshot) -> str:
        """Returns, with why, as soon as another plan is called for: a step that hangs must not hold up a move."""
        while True:
            self._stirred.clear()
            if changed := self._changed(view, verdict, snapshot):
                return changed
            left = self._left(view) if verdict.intent is Intent.HOLD else None
            if left == 0:
                return "the move's deadline has passed"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._unsafe_in(view, left)):
                    await self._stirred.wait()

    def _unsafe_in(self, view: View, left: float | None) -> float | None:
        """Seconds until another plan may be called for though nobody says so: a deadline passes."""
        if not self._automatic(view) or not self._safe():
            return left
        safe = max(0.0, self._p.session.safe_until - self._p.machine.monotonic()) + 0.001
        return safe if left is None else min(left, safe)

    def _changed(self, view: View, verdict: Verdict, snapshot: Snapshot) -> str:
        """Why the plan made from that view is out of date, or ""."""
        try:
            fresh = self._p.mirror.view(self.name)
        except SpecError:
            return "its spec has become invalid"
        if fresh is None or fresh.revision != view.revision:
            return "its spec has changed"
        now = decide(fresh, self._me(fresh, snapshot))
        return "" if (now.role, now.intent) == (verdict.role, verdict.intent) else now.note or f"{now.role} by now"

    def _way_back(self, view: View) -> str:
        """The host that a move to this one may revert to now, or ""."""
        if self._memory.was_ready or view.owner is None or view.owner.epoch != self._memory.epoch:
            return ""
        back = view.owner.previous
        possible = back in view.sessions and back in view.manifest.spec.hosts and view.wanted == self._p.machine.host
        return back if possible else ""

    def _left(self, view: View) -> float | None:
        """Seconds until the move to this host reverts, at least 0; None when it will not."""
        if not self._way_back(view):
            return None
        return max(0.0, self._memory.since + view.manifest.spec.deadline - self._p.machine.monotonic())

    def _forbidden(self, verdict: Verdict) -> str:
        """Why no exclusive step may run at this moment; asked before each."""
        try:
            view = self._p.mirror.view(self.name)
        except SpecError:
            return "its spec has become invalid"
        if view is None or view.owner is None or verdict.intent is not Intent.HOLD:
            return "this host does not own it"
        mine = (view.owner.host, view.owner.boot_id, view.owner.epoch)
        if mine != (self._p.machine.host, self._p.machine.boot_id, self._memory.epoch):
            return f"{view.owner.host} owns it by now (epoch {view.owner.epoch})"
        if self._automatic(view) and not self._safe():
            return "etcd does not answer, so another host may be taking it over"
        return ""

    def _learn(self, outcome: Outcome) -> None:
        """Failures in a row, for the backoff and the status."""
        if failed := outcome.failed:
            self._memory.trouble = Trouble(f"could not {failed.step}: {failed.failed}", self._memory.trouble.times + 1)
        elif outcome.forbidden:
            self._memory.trouble = Trouble(outcome.forbidden, self._memory.trouble.times + 1)
        elif not outcome.given_up:
            self._memory.trouble = Trouble()

    async def _let_go(self, view: View, snapshot: Snapshot, verdict: Verdict) -> float:
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
            self._p.applied.forget(self.name)
            self._p.publisher.forget(self.name)
            logger.info("{}: deleted", self.name)
            return GONE
        self._decision(f"released by {self._p.machine.host}", view.owner.epoch if view.owner else 0)
        return 0.0

    async def _unwell(self, view: View, snapshot: Snapshot, verdict: Verdict, status: Status) -> Status:
        """All of it is there and its checks fail: restart it, move it once, or say that a human is needed."""
        memory, now = self._memory, self._p.machine.monotonic()
        wrong = restarts.only_checks_fail(snapshot) if memory.was_ready else ""
        memory.failing = memory.failing.seen(bool(wrong))
        if not wrong:
            return status
        match restarts.decide(view, memory.failing, now):
            case restarts.Next.RESTART:
                memory.failing = memory.failing.restart(now)
                self._decision("restarts it", memory.epoch, wrong)
                await self._run(restarts.restart(snapshot, wrong), view, snapshot, verdict)
            case restarts.Next.MOVE:
                await self._move_on(view, wrong)
            case restarts.Next.STALL:
                tried = f"restarted {len(memory.failing.restarted)} times, and still: {wrong}"
                return status.model_copy(update={"state": "Stalled", "reason": tried})
        return status

    async def _move_on(self, view: View, wrong: str) -> None:
        to = restarts.elsewhere(view)
        why = f"its checks fail on {self._p.machine.host}, restarted or not: {wrong}"
        lease = await self._p.publisher.leases.get(AUDIT_LASTS)
        txn = moves.move_on(view, self._p.machine, to, self._audit_id(), lease, why)
        if (revision := await self._p.store.commit(txn)) is not None:
            self._note(txn, revision)
            self._decision(f"it moves on to {to}", self._memory.epoch, why)

    async def _revert(self, view: View, snapshot: Snapshot, status: Status, dropped: frozenset[str]) -> bool:
        """A move that is not Ready within its deadline goes back to where it came from, once, and stays there."""
        memory, machine = self._memory, self._p.machine
        if not memory.was_ready and ready(snapshot, dropped):
            memory.was_ready = True
            self._p.applied.settle(self.name, memory.epoch)
        back = self._way_back(view)
        if self._left(view) != 0:
            return False
        why = f"not Ready on {machine.host} within its deadline of {view.manifest.spec.deadline:.0f} s: {status.reason}"
        lease = await self._p.publisher.leases.get(AUDIT_LASTS)
        txn = moves.revert(view, machine, self._audit_id(), lease, why)
        revision = await self._p.store.commit(txn)
        if revision is None:
            return False
        self._note(txn, revision)
        self._decision(f"the move reverts to {back}", memory.epoch, why)
        return True

    # -- saying it ---------------------------------------------------------------------------------------------------

    def _waiting(self, view: View, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str]) -> float:
        """To be active, but not allowed yet: nothing is brought up."""
        connected = self._connected()
        note = "its state changed meanwhile; looking again" if connected else "this host has no session in etcd yet"
        marked = [disk for disk, host in sorted(view.outdated) if host == self._p.machine.host]
        if marked:
            note = f"the copy of disk {marked[0]} on {self._p.machine.host} has missed writes"
        idle = Verdict(Role.STANDBY, Intent.NONE, note)
        status = judge(view, self._p.machine.host, snapshot, idle, self._memory.trouble, dropped)
        self._p.publisher.status(self.name, status.model_copy(update={"witness": self._p.proofs.witness(view)}))
        return SETTLING if connected and not marked else 2 * FIRST_RETRY

    def _next(self, status: Status, outcome: Outcome) -> float:
        """Seconds until the next look of its own accord."""
        if times := self._memory.trouble.times:
            delay: float = min(LAST_RETRY, FIRST_RETRY * 2 ** min(times - 1, 10))
            return delay * (0.75 + self._p.machine.random() / 2)
        if self._memory.failing.looks:
            return restarts.APART
        if outcome.ran:
            return SETTLING
        if status.state in ("Starting", "Moving", "Stopping"):
            return SETTLING * 2
        return self._p.resync * (0.9 + self._p.machine.random() / 5)

    def _step_event(self, ran: Ran, epoch: int) -> None:
        text = f"could not {ran.step}" if ran.failed else ran.step.done
        reason = ran.failed or ran.step.reason
        self._event(
            Event(
                at=stamp(self._p.machine.utc()),
                host=self._p.machine.host,
                kind="failed" if ran.failed else "step",
                text=text,
                reason=reason,
                seconds=round(ran.seconds, 3),
                epoch=epoch or None,
            )
        )

    def _decision(self, text: str, epoch: int, reason: str = "") -> None:
        now = stamp(self._p.machine.utc())
        host = self._p.machine.host
        self._event(Event(at=now, host=host, kind="decision", text=text, reason=reason, epoch=epoch or None))

    def _event(self, event: Event) -> None:
        self._p.publisher.event(self.name, event)

    def _note(self, txn: Txn, revision: int) -> None:
        """What was just written is known at once, not only when the watch tells of it."""
        for key, (value, _) in txn.puts.items():
            self._p.mirror.note(key, value, revision)
        for key in txn.deletes:
            self._p.mirror.note(key, None, revision)


def _left_over(snapshot: Snapshot, dropped: frozenset[str]) -> bool:
    """Is anything there yet of what is no longer in the spec? Until it is down it must not be forgotten."""
    gone = Snapshot(tuple(part for part in snapshot.parts if part.id in dropped), snapshot.seen)
    return bool(any(gone.unknown()) or plan(gone, Role.ABSENT).steps)
