"""A service whose checks fail though all of it runs: restarted some times, then moved once, then Stalled. Pure.

What must not happen is bouncing for ever: restarts are counted in a window, and a service that was moved away from a
host for this reason is not moved back for it. A human's `set primary` begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from reconciler.observe import Snapshot
from reconciler.ownership import View
from reconciler.plan import Group, Plan
from resources.kind import Role, Stage

FALL = 3  # looks in a row that find a check failing; twice as many after each restart: it may only be slow
APART = 2.0  # seconds between those


class Next(StrEnum):
    """What a service that fails its checks calls for."""

    WAIT = "wait"  # it may be a moment's weakness
    RESTART = "restart"
    MOVE = "move"
    STALL = "stall"


@dataclass(frozen=True)
class Failing:
    """What a worker remembers: looks in a row that failed, and when (monotonic) it was restarted."""

    looks: int = 0
    restarted: tuple[float, ...] = ()

    def seen(self, failing: bool) -> Failing:
        """After another look."""
        return replace(self, looks=self.looks + 1 if failing else 0)

    def restart(self, now: float) -> Failing:
        """It is being restarted."""
        return Failing(0, (*self.restarted, now))


def only_checks_fail(snapshot: Snapshot) -> str:
    """The first check that fails where all that is checked is as it should be; "" otherwise."""
    wrong = ""
    for part, seen in snapshot.known():
        broken = [one.reason for one in part.kind.conditions(part.spec, Role.ACTIVE, seen) if one.broken]
        if broken and part.stage is not Stage.CHECK:
            return ""
        wrong = wrong or (broken[0] if broken else "")
    for part, found in snapshot.unknown():
        if part.stage is not Stage.CHECK:
            return ""
        wrong = wrong or f"{part.id} cannot be read: {found.reason}"
    return wrong


def decide(view: View, failing: Failing, now: float) -> Next:
    """What now?"""
    spec = view.manifest.spec
    recent = [at for at in failing.restarted if now - at < spec.restarts.within]
    if failing.looks < FALL * 2 ** len(recent):
        return Next.WAIT
    if len(recent) < spec.restarts.times:
        return Next.RESTART
    return Next.MOVE if view.automatic and not view.failed_on and elsewhere(view) else Next.STALL


def elsewhere(view: View) -> str:
    """The first ready host in the spec's order that is not the owner, or ""."""
    assert view.owner is not None
    others = [host for host in view.manifest.spec.hosts if host != view.owner.host]
    return next((host for host in others if not view.target_obstacles(host)), "")


def restart(snapshot: Snapshot, why: str) -> Plan:
    """Down in reverse order, then up: what can be restarted by itself (units)."""
    steps = [(part, part.kind.restart(part.spec, snapshot.seen[part.id], why)) for part, _ in snapshot.known()]
    down = [Group(part.stage, (pair[0],), side_by_side=False) for part, pair in reversed(steps) if pair]
    up = [Group(part.stage, (pair[1],), side_by_side=False) for part, pair in steps if pair]
    return Plan((*down, *up))
