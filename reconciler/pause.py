"""A paused service, pure: what is done for it all the same, and what is said of it.

Hands off (`hactl pause`): no host runs a step for it, be it a start, a repair, a restart, a move, a revert or a
takeover. It is looked at as always, so its drift is seen and logged. Two things go on, for the rules of "Only one at a
time" know no exception: who does not own it holds nothing exclusive of it, and who may have lost it to another by an
earlier word of its session, or was declared dead, puts it down (`reconciler.ownership`).
"""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Verdict
from reconciler.plan import Plan, plan
from reconciler.spec import Pause


def still(snapshot: Snapshot, verdict: Verdict) -> Plan:
    """The steps that are run even so: who does not own it puts down what it holds of it, and starts nothing."""
    if verdict.intent in (Intent.HOLD, Intent.KEEP) or not snapshot.holds():
        return Plan()
    groups = plan(snapshot, verdict.role).groups
    return Plan(tuple(group for group in groups if all(step.down for step in group.steps)))


def words(pause: Pause, name: str, clauses: Iterable[str]) -> str:
    """by eva since 2026-11-24T07:02:11Z (new disks); address … is missing on eth0. To go on: hactl resume nfs"""
    said = "; ".join([str(pause), *(clause for clause in clauses if clause)])
    return f"{said}. To go on: hactl resume {name}"
