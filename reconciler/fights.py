"""Fights: what a worker remembers of its service's repairs between passes, and what it tells of them.

What is decided about them is pure: `reconciler.repairs`.
"""

from __future__ import annotations

from reconciler import repairs
from reconciler.act import Outcome
from reconciler.observe import Snapshot
from reconciler.ownership import Verdict, View
from reconciler.records import Status
from reconciler.teller import Teller
from resources.kind import Step
from resources.machine import Machine


class Fights:
    """Of one service. `looked` after each look, `ran` after the steps."""

    def __init__(self, machine: Machine, teller: Teller) -> None:
        self._machine, self._tell = machine, teller
        self._ledger = repairs.Ledger()
        self._calls: tuple[repairs.Call, ...] = ()

    def looked(self, view: View, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str], *, ours: bool) -> None:
        """What calls for a repair, and is it fought over? `ours`: a plan of ours is under way, and is no repair."""
        key, budget = repairs.key(view, verdict), view.manifest.spec.repairs
        if self._ledger.key != key:
            self._ledger = repairs.Ledger(key)
        self._calls = () if ours else repairs.calls(snapshot, verdict.role, dropped)
        if ours:
            return
        before, now = self._ledger, self._machine.monotonic()
        self._ledger = repairs.looked(before, snapshot, self._calls, budget, now, self._machine.random)
        for part, reason in repairs.begun(before, self._ledger, snapshot, budget):
            self._tell.decision(f"{part} is fought over", verdict.epoch, reason)

    def ran(self, outcome: Outcome) -> None:
        """Steps were run."""
        self._ledger = repairs.ran(self._ledger, self._calls, outcome.ran, self._machine.monotonic())

    @property
    def withheld(self) -> frozenset[str]:
        """The parts that are not brought back just now."""
        return repairs.withheld(self._ledger, self._calls, self._machine.monotonic())

    @property
    def quiet(self) -> frozenset[Step]:
        """The steps that are told only where they fail."""
        return repairs.quiet(self._ledger, self._calls)

    def drifts(self) -> dict[str, str]:
        """What is fought over is one long drift, not one each time that it is put right for a moment: id -> reason."""
        return {id: fight.reason for id, fight in self._ledger.fights().items()}

    def named(self, status: Status, view: View, snapshot: Snapshot, verdict: Verdict) -> Status:
        """The status with what is fought over in it."""
        return repairs.named(status, self._ledger, snapshot, view, verdict)

    def soonest(self, view: View, delay: float) -> float:
        """Seconds until the next look, at most `delay`."""
        left = repairs.next_look(self._ledger, view.manifest.spec.repairs, self._machine.monotonic())
        return delay if left is None else min(delay, left)
