"""The worker of one service on this host: its passes. Read spec, owner and snapshot; plan; act; observe again; publish.

One pass never runs beside another of the same service, and no service waits for another. What a pass remembers is
little: the epoch it holds, the one it gave up, when the bring-up began, and how often it failed in a row.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from loguru import logger

from reconciler import follows, pause, restarts
from reconciler.act import Outcome, Ran, act
from reconciler.afters import Afters, held_back
from reconciler.applied import parts_of
from reconciler.driftlog import DriftLog
from reconciler.fights import Fights
from reconciler.observe import Snapshot, again
from reconciler.ownership import Intent, Me, Verdict, View, decide, keeps
from reconciler.plan import Plan, plan
from reconciler.probes import Probes
from reconciler.records import Progress, Status, Target
from reconciler.spec import SpecError
from reconciler.status import Trouble, judge, ready, target
from reconciler.store import StoreError
from reconciler.teller import Teller
from reconciler.transfers import GONE, SETTLING, Memory, Parts, Transfers
from resources.kind import AnyPart, Role, Stage, Step

FIRST_RETRY, LAST_RETRY = 1.0, 30.0  # seconds; doubled from one to the other
UNREADABLE = 5.0  # seconds between looks at what could not be read: nothing tells when it can be again
NEVER = float("-inf")
EVERYTHING = frozenset({"", "*"})  # topics
STANDALONE = (Stage.UNIT, Stage.ADDRESS)  # nothing stands upon what is there
ASKS_AGAIN = 30.0  # seconds until an engine that said it would go, and has not gone, is asked again


class Worker:
    """`poke` it to make it look again; `run` until the service is gone."""

    def __init__(self, name: str, parts: Parts) -> None:
        self.name = name
        self._p = parts
        self._memory = Memory()
        self._tell = Teller(name, parts.machine, parts.publisher)
        self._fights = Fights(parts.machine, self._tell)
        self._drifts = DriftLog(parts.machine, self._tell, self._fights)
        self._afters = Afters(name, parts.machine, parts.mirror, parts.publisher, self._tell)
        self._waits = ""  # for which service it is not brought up yet, as a clause
        self._probes = Probes(parts.machine, parts.spawn, lambda: self.poke(urgent=False))
        self._transfers = Transfers(name, parts, self._memory, self._tell)
        self._poked = asyncio.Event()
        self._stirred = asyncio.Event()  # poked from etcd: a plan under way may not be what is wanted any more
        self.topics: frozenset[str] = frozenset()
        self._touched: set[str] = set()  # topics told of since the last look
        self._last: Snapshot | None = None
        self._sweeps = True  # the agent has only begun to look
        self._exclusive = True  # is what it holds to be on one host only?
        self.automatic = True  # as far as is known: a spec that cannot be read may be
        self.looked_at: float | None = None  # monotonic: when the last look began
        self.empty_at = NEVER  # monotonic: when the last look began, if it found nothing exclusive held here

    def poke(self, topic: str = "", *, urgent: bool = True) -> None:
        """Look again, now; not urgent: unless a failed step's retry is being waited for. `topic`: what was told of."""
        self._touched.add(topic)
        if urgent:
            self._stirred.set()
        if urgent or not self._memory.trouble.times:
            self._poked.set()

    def give_up(self) -> None:
        """Its epoch, whatever becomes of the owner key."""
        self._memory.given_up = max(self._memory.given_up, self._memory.epoch)
        self._memory.epoch = 0

    async def run(self) -> None:
        """Pass after pass."""
        self._sweeps = False
        while True:
            self._poked.clear()
            try:
                delay = await self.reconcile()
            except StoreError as e:
                logger.warning("{}: {}", self.name, e)
                delay = FIRST_RETRY
            if delay == GONE:
                self._probes.end()
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
        began = self._p.machine.monotonic()
        delay = await self._reconcile(view)
        self._p.publisher.counts.passed(self._p.machine.monotonic() - began)
        return delay

    async def _reconcile(self, view: View) -> float:
        self.automatic = self._transfers.automatic(view)
        self._exclusive = not view.everywhere or view.owner is not None
        parts, dropped = self._parts(view)
        if self._last is None:
            self._drifts.take_up(view.statuses.get(self._p.machine.host))
        snapshot = await self._glimpse(view, parts, dropped) or await self._look(view, parts)
        verdict = decide(view, self._me(view, snapshot))
        verdict = self._adopt(view, verdict)
        if await self._transfers.comes_here(view, self._me(view, snapshot), snapshot):
            return 0.0
        if verdict.intent is Intent.CLAIM:
            claimed = await self._transfers.claim(view, parts)
            if claimed is None:
                return self._waiting(view, snapshot, verdict, dropped)
            view, verdict = claimed
        self._last = snapshot = await self._probes.follow(snapshot, verdict, dropped)
        self._fights.looked(view, snapshot, verdict, dropped, ours=self._is_ours(verdict))
        self._drifts.note(snapshot, verdict, dropped, ours=self._is_ours(verdict))
        verdict = self._wait(view, snapshot, verdict, dropped)
        first = await self._transfers.held_up(view, snapshot, verdict)
        first = Plan((*first.groups, *self._switch(view, snapshot, verdict).groups))
        outcome = await self._act(view, snapshot, verdict, dropped, first)
        if outcome.ran:
            snapshot = await self._look_after(view, parts, dropped, snapshot, verdict, outcome)
        self._learn(outcome)
        # Another look decides, never the steps: what is seen now is what is released, reverted, forgotten or published.
        if verdict.intent in (Intent.RELEASE, Intent.FORGET) and not snapshot.held():
            return await self._transfers.let_go(view, snapshot, verdict)
        status = self._judge(view, snapshot, verdict, dropped)
        if verdict.intent in (Intent.HOLD, Intent.KEEP) and not verdict.hands_off:
            status = await self._unwell(view, snapshot, verdict, status)
        self._p.publisher.status(self.name, status.model_copy(update={"witness": self._p.proofs.witness(view)}))
        if verdict.intent in (Intent.HOLD, Intent.KEEP):
            self._transfers.settle(snapshot, dropped)
        if verdict.intent is Intent.HOLD and await self._transfers.revert(view, status):
            return 0.0
        delay = 0.0 if outcome.given_up else self._fights.soonest(view, self._next(status, outcome))
        return delay if (left := self._transfers.left(view)) is None else min(delay, max(left, SETTLING))

    async def _look_after(
        self,
        view: View,
        parts: tuple[AnyPart, ...],
        dropped: frozenset[str],
        snapshot: Snapshot,
        verdict: Verdict,
        outcome: Outcome,
    ) -> Snapshot:
        """What is there once steps were run."""
        ours = self._is_ours(verdict)
        self._fights.ran(outcome)
        self._drifts.ran(snapshot, verdict, dropped, outcome)
        if outcome.complete:
            await self._probes.brought_up(parts, verdict)
        if right := self._drifts.put_right(snapshot):  # told at once, too: the look at the whole takes longer
            of = frozenset(part.id for part in right)
            fresh = await again(snapshot, right, self._p.machine)
            self._drifts.note(fresh, verdict, dropped, ours=ours, repaired=True, of=of)
        snapshot = await self._look(view, parts)
        self._last = snapshot = await self._probes.follow(snapshot, verdict, dropped)
        self._fights.looked(view, snapshot, verdict, dropped, ours=ours)
        self._drifts.note(snapshot, verdict, dropped, ours=ours, repaired=True)
        return snapshot

    def _switch(self, view: View, snapshot: Snapshot, verdict: Verdict) -> Plan:
        """Its engine is asked to go where the spec wants it, once in a while for each change of that."""
        asks = follows.switch(view, self._me(view, snapshot), snapshot, verdict)
        now, (revision, at) = self._p.machine.monotonic(), self._memory.asked
        if not asks.groups or (revision == view.revision and now < at + ASKS_AGAIN):
            return Plan()
        self._memory.asked = view.revision, now
        return asks

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
        """The parts of the spec and, among them by stage, those that were applied and are no longer in it. The ids are
        of what is not to be here: those, and what is for another host.

        An owner does not ask what matters to a target only.
        """
        owns = bool(self._memory.epoch)
        parts = tuple(part for part in parts_of(view.text, view.domain) if not (owns and part.kind.for_target))
        gone = self._p.applied.dropped(self.name, parts)
        here = self._p.machine.host
        not_here = frozenset(part.id for part in parts if not part.kind.belongs(part.spec, here))
        both = tuple(sorted((*parts, *gone), key=lambda part: part.stage))
        self.topics = frozenset(topic for part in both for topic in part.kind.topics(part.spec))
        return both, frozenset(part.id for part in gone) | not_here

    async def _glimpse(self, view: View, parts: tuple[AnyPart, ...], dropped: frozenset[str]) -> Snapshot | None:
        """What a trigger told of is looked at before all else: a drift of it is told at once. Returned: where it
        is also to be put right at once; else the look at the whole decides what is done about it."""
        touched, self._touched = self._touched, set()
        hinted = tuple(part for part in parts if part.kind.topics(part.spec) & touched)
        before = self._last
        if before is None or before.parts != parts or not hinted:
            return None
        snapshot = await again(before, hinted, self._p.machine)
        verdict = decide(view, self._me(view, snapshot))
        hints = frozenset(part.id for part in hinted)
        self._drifts.note(snapshot, verdict, dropped, ours=self._is_ours(verdict), of=hints)
        if touched & EVERYTHING or any(part.stage not in STANDALONE for part in hinted):
            return None  # what stands upon it may have gone with it
        return snapshot if await self._puts_right(before, snapshot, verdict, dropped) else None

    async def _puts_right(
        self, before: Snapshot, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str]
    ) -> bool:
        """Does what was told of call for steps, and nothing else? Nothing was told of the rest since the last look,
        and what it is in still runs."""
        settled = verdict.intent in (Intent.HOLD, Intent.KEEP) and self._memory.was_ready and not verdict.hands_off
        if not settled or self._memory.trouble.times:
            return False
        was, now = (plan(one, verdict.role, dropped, self._withheld(one, dropped)) for one in (before, snapshot))
        if was.steps or not now.steps:
            return False
        container = tuple(part for part in snapshot.parts if part.stage is Stage.CONTAINER)
        same = (await again(snapshot, container, self._p.machine)).seen == snapshot.seen
        return same and not self._touched  # by now

    async def _look(self, view: View, parts: tuple[AnyPart, ...]) -> Snapshot:
        began = self._p.machine.monotonic()
        self._last = snapshot = await self._probes.look(view, parts)
        self.looked_at = began
        self.empty_at = NEVER if self._exclusive and snapshot.held() else began
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
            connected=self._transfers.connected(),
            guarded=self.name in self._p.session.guards,
            safe=self._transfers.safe(),
            ready=could is not None and could.ready,
            fit=follows.fit(snapshot),
            begun=memory.begun == view.revision,
            leaving=self._p.shutdown.under_way,
            lets_go=self._p.shutdown.lets_go,
        )

    def _adopt(self, view: View, verdict: Verdict) -> Verdict:
        """Found in etcd as ours, with things held: the epoch of a predecessor of this process, in this incarnation."""
        if verdict.epoch and verdict.epoch != self._memory.epoch:
            self._memory.epoch, self._memory.since = verdict.epoch, self._p.machine.monotonic()
            self._memory.was_ready = self._p.applied.settled(self.name, verdict.epoch)
            self._tell.decision(f"goes on owning it (epoch {verdict.epoch})", verdict.epoch)
        if not verdict.epoch:
            self._memory.epoch = 0
        if verdict.intent is Intent.RELEASE:
            self._memory.begun = view.revision
        self._transfers.keep(keeps=verdict.intent is Intent.KEEP)
        return verdict

    def _wait(self, view: View, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str]) -> Verdict:
        """Noted, where it is not brought up yet since another service is to be Ready first."""
        memory = self._memory
        starts = verdict.role is Role.ACTIVE and not verdict.hands_off and not memory.was_ready
        begins = starts and not ready(snapshot, dropped)
        comes_back = bool(memory.given_up) and verdict.epoch == memory.given_up + 2  # a move from here has reverted
        moves = self._transfers.left(view) is not None
        most = view.manifest.spec.deadline / 2 if moves else float("inf")  # the rest is for the bring-up
        if not begins or comes_back:
            self._waits = ""
        else:
            self._waits = self._afters.waits(view, memory.since, verdict.epoch, most=most)
        return replace(verdict, note=self._waits) if self._waits else verdict

    def _withheld(self, snapshot: Snapshot, dropped: frozenset[str]) -> frozenset[str]:
        """What is not brought up just now. Before the session, what is everywhere is only put down where it is not to
        be: neither a session nor what needs one must wait for it."""
        if self._sweeps and not self._exclusive:
            return frozenset(part.id for part in snapshot.parts)
        return self._fights.withheld | (held_back(snapshot, dropped) if self._waits else frozenset())

    def _is_ours(self, verdict: Verdict) -> bool:
        """Does a plan of ours explain that it is not all as it should be?"""
        if verdict.hands_off:
            return False
        if verdict.intent in (Intent.HOLD, Intent.KEEP):
            return not self._memory.was_ready
        return verdict.intent is not Intent.NONE

    def _judge(self, view: View, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str]) -> Status:
        memory, host = self._memory, self._p.machine.host
        status = judge(view, host, snapshot, verdict, memory.trouble, dropped, settled=memory.was_ready)
        status = status.model_copy(update={"drifts": self._drifts.open()})
        if self._p.shutdown.under_way and status.target is not None:
            no = Target(ready=False, revision=view.revision, obstacles=[f"{host} is being shut down"])
            status = status.model_copy(update={"target": no})
        return self._fights.named(status, view, snapshot, verdict)

    async def _act(
        self, view: View, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str], first: Plan
    ) -> Outcome:
        if verdict.hands_off:
            steps = pause.still(snapshot, verdict)
        else:
            steps = plan(snapshot, verdict.role, dropped, self._withheld(snapshot, dropped))
        steps = Plan((*first.groups, *steps.groups))
        if verdict.role is not Role.ABSENT and not verdict.hands_off:
            self._p.applied.note(self.name, view.text, view.domain, keep=_left_over(snapshot, dropped))
        late = verdict.intent is Intent.HOLD and self._transfers.left(view) == 0 and not ready(snapshot, dropped)
        if late or not steps.steps:
            return Outcome()
        if self._exclusive and any(step.exclusive for step in steps.steps):
            self.empty_at = NEVER
        if not self._fights.quiet.issuperset(steps.steps):
            self._p.publisher.status(self.name, self._judge(view, snapshot, verdict, dropped))
        return await self._run(steps, view, snapshot, verdict)

    async def _run(self, steps: Plan, view: View, snapshot: Snapshot, verdict: Verdict) -> Outcome:
        done, quiet = 0, self._fights.quiet

        def told(step: Step, ran: Ran | None) -> None:
            nonlocal done
            if step in quiet and (ran is None or not ran.failed):
                return
            if ran is None:
                self._p.publisher.progress(self.name, Progress(done=done, of=len(steps.steps), now=str(step)))
                return
            done += 1
            self._tell.step(ran, verdict.epoch)

        def given_up() -> Coroutine[Any, Any, str]:
            return self._given_up(view, verdict, snapshot)

        return await act(steps, self._p.machine, lambda: self._forbidden(verdict), told, given_up)

    async def _given_up(self, view: View, verdict: Verdict, snapshot: Snapshot) -> str:
        """Returns, with why, as soon as another plan is called for: a step that hangs must not hold up a move."""
        while True:
            self._stirred.clear()
            if changed := self._changed(view, verdict, snapshot):
                return changed
            left = self._transfers.left(view) if verdict.intent is Intent.HOLD else None
            if left == 0:
                return "the move's deadline has passed"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._unsafe_in(view, left)):
                    await self._stirred.wait()

    def _unsafe_in(self, view: View, left: float | None) -> float | None:
        """Seconds until another plan may be called for though nobody says so: a deadline has surely passed then."""
        deadlines = [] if left is None else [left]
        if self._transfers.automatic(view) and self._transfers.safe():
            deadlines.append(max(0.0, self._p.session.safe_until - self._p.machine.monotonic()))
        return min(deadlines) + 0.001 if deadlines else None

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

    def _forbidden(self, verdict: Verdict) -> str:
        """Why no exclusive step may run at this moment; asked before each."""
        try:
            view = self._p.mirror.view(self.name)
        except SpecError:
            return "its spec has become invalid"
        if view is not None and verdict.intent is Intent.KEEP:
            return "" if keeps(view, self._p.machine.host) else "this host is not to have it any more"
        if view is None or view.owner is None or verdict.intent is not Intent.HOLD:
            return "this host does not own it"
        mine = (view.owner.host, view.owner.boot_id, view.owner.epoch)
        if mine != (self._p.machine.host, self._p.machine.boot_id, self._memory.epoch):
            return f"{view.owner.host} owns it by now (epoch {view.owner.epoch})"
        if self._transfers.automatic(view) and not self._transfers.safe():
            return "etcd does not answer, so another host may be taking it over"
        return ""

    def _learn(self, outcome: Outcome) -> None:
        """Failures in a row, for the backoff and the status."""
        if failed := outcome.failed:
            self._memory.asked = (0, 0.0)
            self._memory.trouble = Trouble(f"could not {failed.step}: {failed.failed}", self._memory.trouble.times + 1)
        elif outcome.forbidden:
            self._memory.trouble = Trouble(outcome.forbidden, self._memory.trouble.times + 1)
        elif not outcome.given_up:
            self._memory.trouble = Trouble()

    async def _unwell(self, view: View, snapshot: Snapshot, verdict: Verdict, status: Status) -> Status:
        """All of it is there and its checks fail: restart it, move it once, or say that a human is needed."""
        memory, now = self._memory, self._p.machine.monotonic()
        wrong, times = restarts.only_checks_fail(snapshot)
        if not wrong or not memory.was_ready:
            return status
        match restarts.decide(view, memory.failing, times, now):
            case restarts.Next.RESTART:
                memory.failing = memory.failing.restart(now)
                self._tell.decision("restarts it", memory.epoch, wrong)
                self._p.publisher.status(self.name, status)
                await self._probes.restarting()
                await self._run(restarts.restart(snapshot, wrong), view, snapshot, verdict)
                self._poked.set()
            case restarts.Next.MOVE:
                await self._transfers.move_on(view, wrong)
            case restarts.Next.STALL:
                tried = f"restarted {len(memory.failing.restarted)} times, and still: {wrong}"
                return status.model_copy(update={"state": "Stalled", "reason": tried})
        return status

    def _waiting(self, view: View, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str]) -> float:
        """To be active, but not allowed yet: nothing is brought up."""
        connected = self._transfers.connected()
        note = "its state changed meanwhile; looking again" if connected else "this host has no session in etcd yet"
        marked = [disk for disk, host in sorted(view.outdated) if host == self._p.machine.host]
        if marked:
            note = f"the copy of disk {marked[0]} on {self._p.machine.host} has missed writes"
        idle = Verdict(Role.STANDBY, Intent.NONE, note)
        status = judge(view, self._p.machine.host, snapshot, idle, self._memory.trouble, dropped)
        more = {"witness": self._p.proofs.witness(view), "drifts": self._drifts.open()}
        self._p.publisher.status(self.name, status.model_copy(update=more))
        return SETTLING if connected and not marked else 2 * FIRST_RETRY

    def _next(self, status: Status, outcome: Outcome) -> float:
        """Seconds until the next look of its own accord."""
        if times := self._memory.trouble.times:
            delay: float = min(LAST_RETRY, FIRST_RETRY * 2 ** min(times - 1, 10))
            return delay * (0.75 + self._p.machine.random() / 2)
        if outcome.ran:
            return SETTLING
        if status.state in ("Starting", "Moving", "Stopping"):
            return SETTLING * 2
        if status.state == "Unknown":
            return min(UNREADABLE, self._p.resync)
        return self._p.resync * (0.9 + self._p.machine.random() / 5)


def _left_over(snapshot: Snapshot, dropped: frozenset[str]) -> bool:
    """Is anything there yet of what is no longer in the spec? Until it is down it must not be forgotten."""
    gone = Snapshot(tuple(part for part in snapshot.parts if part.id in dropped), snapshot.seen)
    return bool(any(gone.unknown()) or plan(gone, Role.ABSENT).steps)
