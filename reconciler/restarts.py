"""A service whose checks fail though all of it runs: restarted some times, then moved once, then Stalled. Pure.

What must not happen is bouncing for ever: restarts are counted in a window, and a service that was moved away from a
host for this reason is not moved back for it. A human's `set primary` begins anew. After each restart a check must be
down twice as often over as before it (`Pace.fall` says how many looks make it down): it may only be slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.observe import Snapshot
from reconciler.ownership import View
from reconciler.plan import Group, Plan
from resources.kind import Role, Stage
from resources.probed import Probed


class Next(StrEnum):
    """What a service that fails its checks calls for."""

    WAIT = "wait"  # it may be a moment's weakness
    RESTART = "restart"
    MOVE = "move"
    STALL = "stall"


@dataclass(frozen=True)
class Failing:
    """What a worker remembers: when (monotonic) it was restarted."""

    restarted: tuple[float, ...] = ()

    def restart(self, now: float) -> Failing:
        """It is being restarted."""
        return Failing((*self.restarted, now))


def only_checks_fail(snapshot: Snapshot) -> tuple[str, int]:
    """The first check that is down where all that is read is as it should be, and how often over the worst one is; ""
    and 0 otherwise, and where some of the rest cannot be read."""
    wrong, times = "", 0
    for part, seen in snapshot.known():
        broken = [one.reason for one in part.kind.conditions(part.spec, Role.ACTIVE, seen) if one.broken]
        if broken and part.stage is not Stage.CHECK:
            return "", 0
        if broken and isinstance(part.kind, Probed):
            wrong, times = wrong or broken[0], max(times, part.kind.times_down(part.spec, seen))
    if any(part.stage is not Stage.CHECK for part, _ in snapshot.unknown()):
        return "", 0
    return wrong, times


def decide(view: View, failing: Failing, times: int, now: float) -> Next:
    """What now? `times`: how often over its checks are down."""
    spec = view.manifest.spec
    recent = [at for at in failing.restarted if now - at < spec.restarts.within]
    if times < 2 ** len(recent):
        return Next.WAIT
    if len(recent) < spec.restarts.times:
        return Next.RESTART
    return Next.MOVE if view.automatic and not view.follows and not view.failed_on and elsewhere(view) else Next.STALL


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
