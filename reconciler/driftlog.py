"""The drift of one service on this host: told once as it appears and once when it is gone, and by what.

What is drift is decided in `reconciler.drift`; this remembers it between passes, and from one agent to the next.
"""

from __future__ import annotations

from datetime import datetime

from reconciler import drift
from reconciler.act import Outcome
from reconciler.drift import Wrong
from reconciler.fights import Fights
from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Verdict
from reconciler.plan import asked
from reconciler.records import OpenDrift, Status, stamp
from reconciler.teller import Teller
from resources.kind import AnyPart, Role, Stage
from resources.machine import Machine


class DriftLog:
    """Of one service. `note` after each look, `ran` after the steps."""

    def __init__(self, machine: Machine, teller: Teller, fights: Fights) -> None:
        self._machine, self._tell, self._fights = machine, teller, fights
        self._open: drift.Open = {}
        self._since: dict[str, str] = {}  # when each was first seen, for people
        self._stood_by = False
        self._by: dict[str, tuple[str, ...]] = {}  # part id -> the steps that were run for it since it drifted

    def take_up(self, status: Status | None) -> None:
        """What this host's agent before this one had told of goes on, and is not told again."""
        now, utc = self._machine.monotonic(), self._machine.utc()
        for id, one in (status.drifts if status is not None else {}).items():
            try:
                lasted = max(0.0, (utc - datetime.fromisoformat(one.since)).total_seconds())
            except (ValueError, TypeError):
                lasted = 0.0
            wrong = Wrong(one.reason, one.expected, one.observed, one.cause)
            self._open = {**self._open, id: drift.Seen(wrong, now - lasted)}
            self._since[id] = one.since

    def note(
        self,
        snapshot: Snapshot,
        verdict: Verdict,
        dropped: frozenset[str],
        *,
        ours: bool,
        repaired: bool = False,
        of: frozenset[str] | None = None,
    ) -> None:
        """`ours`: a plan of ours explains it all. `of`: only these parts are seen anew, so something new is told only
        of them, and nothing is gone. `repaired`: nothing new is told, but what is gone, of those parts."""
        wrong: dict[str, Wrong] = {} if ours else self._found(snapshot, verdict, dropped)
        if not ours:
            wrong = {id: Wrong(reason) for id, reason in self._fights.drifts().items() if id not in wrong} | wrong
        if verdict.role is Role.ACTIVE and not ours:  # a check that is asked anew is not put right yet
            wrong |= {part.id: self._open[part.id].wrong for part in snapshot.pending() if part.id in self._open}
        if repaired:
            wrong = {id: one for id, one in wrong.items() if id in self._open}
        if of is not None:
            kept = {id: seen.wrong for id, seen in self._open.items() if not repaired or id not in of}
            wrong = kept | {id: one for id, one in wrong.items() if id in of}
        self._open, news = drift.compare(self._open, wrong, self._machine.monotonic())
        moment = stamp(self._machine.utc())
        self._since = {id: self._since.get(id, moment) for id in self._open}
        for one in news:
            self._tell.drift(one, verdict.epoch, self._by.pop(one.resource, ()))

    def _found(self, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str]) -> dict[str, Wrong]:
        """A standby that has not been as it should be yet is on its way there: only what it may not hold is drift."""
        found = drift.found(snapshot, verdict.role, dropped)
        if verdict.intent is not Intent.NONE or not found:
            self._stood_by = verdict.intent is Intent.NONE
            return found
        if self._stood_by:
            return found
        held = {part.id for part, seen in snapshot.known() if part.kind.held(part.spec, seen)}
        return {id: one for id, one in found.items() if id in held or id == drift.DISKS}

    def ran(self, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str], outcome: Outcome) -> None:
        """Steps were run on what was seen in `snapshot`."""
        done = {ran.step for ran in outcome.ran if not ran.failed}
        for part, _, steps in asked(snapshot, verdict.role, dropped):
            ids = {part.id, *({drift.DISKS} if part.kind.name == "disk" else ())} & self._open.keys()
            for id in sorted(ids):
                run = (*self._by.get(id, ()), *(step.done for step in steps if step in done))
                self._by[id] = tuple(dict.fromkeys(run))[-5:]

    def put_right(self, snapshot: Snapshot) -> tuple[AnyPart, ...]:
        """Parts that had drifted and for which steps have run, of those that are seen by a look."""
        return tuple(part for part in snapshot.parts if self._by.get(part.id) and part.stage is not Stage.CHECK)

    def open(self) -> dict[str, OpenDrift]:
        """As the status has them."""
        return {
            id: OpenDrift(
                reason=seen.wrong.reason,
                since=self._since[id],
                expected=seen.wrong.expected,
                observed=seen.wrong.observed,
                cause=seen.wrong.cause,
            )
            for id, seen in sorted(self._open.items())
        }
