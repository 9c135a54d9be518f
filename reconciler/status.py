"""Status, pure: (view, snapshot, verdict, outcome) -> what this host says of the service.

Last in the flow: spec → observe → plan → act → status. Ready comes only from a fresh observation.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Verdict, View
from reconciler.pause import words
from reconciler.plan import plan
from reconciler.records import PartStatus, State, Status, Target
from resources.kind import AnyPart, Pending, Role, Stage, Unknown

STALLED_AFTER = 8  # failures in a row, about two minutes of trying


@dataclass(frozen=True)
class Trouble:
    """What kept the last plan from its end, and how often in a row."""

    reason: str = ""
    times: int = 0


Problems = dict[str, list[tuple[str, bool]]]  # by part id: (clause, is it broken)


def judge(
    view: View,
    host: str,
    snapshot: Snapshot,
    verdict: Verdict,
    trouble: Trouble,
    dropped: frozenset[str],
    *,
    settled: bool = False,
) -> Status:
    """The whole status but for `since`, which the publisher knows. `settled`: it has been Ready in this epoch."""
    role = verdict.role
    problems = _problems(snapshot, role, dropped)
    state, reason = _state(view, snapshot, verdict, trouble, problems)
    if state == "Starting" and settled:
        state = "Drift"  # nothing of ours explains it
    if view.paused is not None and verdict.hands_off:
        clauses = [verdict.note, "" if reason == verdict.note else reason]
        state, reason = "Paused", words(view.paused, view.manifest.metadata.name, clauses)
    return Status(
        role=role,
        state=state,
        reason=reason,
        since="",
        revision=view.revision,
        epoch=verdict.epoch,
        target=None if verdict.intent is Intent.HOLD else target(view, host, snapshot),
        holds=snapshot.held() if verdict.intent not in (Intent.HOLD, Intent.KEEP) else [],
        parts={part.id: _part(snapshot, part, problems.get(part.id, [])) for part in snapshot.parts},
        would_take=[str(step) for step in plan(snapshot, Role.ACTIVE).steps],
        would_release=[str(step) for step in plan(snapshot, Role.STANDBY).steps],
    )


def ready(snapshot: Snapshot, dropped: frozenset[str]) -> bool:
    """Is all of it as an active service should be?"""
    problems = _problems(snapshot, Role.ACTIVE, dropped)
    return not any(broken for found in problems.values() for _, broken in found)


def rest_is_up(snapshot: Snapshot, dropped: frozenset[str]) -> bool | None:
    """Is all but checks and gates as an active service should be? None: some of it cannot be read."""
    rest = Snapshot(tuple(part for part in snapshot.parts if part.stage is not Stage.CHECK), snapshot.seen)
    known = Snapshot(tuple(part for part, _ in rest.known()), snapshot.seen)
    if not ready(known, dropped):
        return False
    return None if any(rest.unknown()) else True


def _problems(snapshot: Snapshot, role: Role, dropped: frozenset[str]) -> Problems:
    found: Problems = {}
    for part in snapshot.parts:
        seen = snapshot.seen[part.id]
        wanted = Role.ABSENT if part.id in dropped else role
        if isinstance(seen, Pending) and (wanted is not Role.ACTIVE or part.kind.for_target):
            found[part.id] = []  # it is not asked here, or does not matter
            continue
        if isinstance(seen, Unknown):
            found[part.id] = [(seen.clause(part.id), True)]
            continue
        conditions = part.kind.conditions(part.spec, wanted, seen)
        found[part.id] = [(condition.reason, condition.broken) for condition in conditions]
    return found


def _part(snapshot: Snapshot, part: AnyPart, problems: list[tuple[str, bool]]) -> PartStatus:
    seen = snapshot.seen[part.id]
    if isinstance(seen, Pending):
        says = "no answer yet" if problems or part.kind.for_target or part.kind.always else "not asked"
    else:
        says = "unknown" if isinstance(seen, Unknown) else part.kind.says(part.spec, seen)
    fit = None if isinstance(seen, Unknown) else part.kind.fit(part.spec, seen)
    return PartStatus(says=says, problem="; ".join(reason for reason, _ in problems), fit=fit)


def target(view: View, host: str, snapshot: Snapshot) -> Target | None:
    """Readiness to take over, said all the time: the first screen answers before anyone needs it. None: this host is
    none, or a gate has not answered yet."""
    if host not in view.manifest.spec.hosts or view.everywhere:
        return None
    if any(part.kind.for_target or part.kind.always for part in snapshot.pending()):
        return None
    marked = [
        f"its copy of disk {disk} has missed writes; it becomes possible when the resync ends"
        for disk, where in sorted(view.outdated)
        if where == host and f"disk/{disk}" in snapshot.seen
    ]
    drained = [said] if (said := view.drain_obstacle(host)) else []
    obstacles = drained + marked + snapshot.obstacles(alone=view.alone)
    unreadable = bool(obstacles) and obstacles == snapshot.unreadable()
    return Target(ready=not obstacles, revision=view.revision, obstacles=obstacles, unreadable=unreadable)


def _state(view: View, snapshot: Snapshot, verdict: Verdict, trouble: Trouble, problems: Problems) -> tuple[State, str]:
    if verdict.role is Role.ACTIVE:
        return _active_state(snapshot, verdict, trouble, problems)
    if trouble.times >= STALLED_AFTER:
        return "Stalled", trouble.reason
    if verdict.intent is Intent.RELEASE:
        return "Moving", trouble.reason or verdict.note
    return _idle_state(view, snapshot, verdict, trouble)


def _active_state(snapshot: Snapshot, verdict: Verdict, trouble: Trouble, problems: Problems) -> tuple[State, str]:
    found = [each for part in snapshot.parts for each in problems[part.id]]
    broken = [reason for reason, bad in found if bad]
    if not broken:
        minor = [reason for reason, bad in found if not bad]
        return "Ready", trouble.reason or verdict.note or "; ".join(minor[:1])
    if trouble.times >= STALLED_AFTER:
        return "Stalled", trouble.reason
    if unknown := _first_unknown(snapshot):
        return "Unknown", trouble.reason or unknown
    return "Starting", trouble.reason or verdict.note or broken[0]


def _idle_state(view: View, snapshot: Snapshot, verdict: Verdict, trouble: Trouble) -> tuple[State, str]:
    held = snapshot.held()
    deleted = view.manifest.metadata.deleted is not None
    if deleted and (held or plan(snapshot, Role.ABSENT).steps):
        return "Stopping", trouble.reason or verdict.note
    if unknown := _first_unknown(snapshot):
        return "Unknown", trouble.reason or unknown
    if trouble.reason or held:
        other = "this host is not" if view.everywhere else f"{host_of(view)} is"
        return "Drift", trouble.reason or f"{held[0]}, though {other} to have it; putting it down"
    return ("Waiting" if verdict.note and not deleted else "Standby"), verdict.note


def _first_unknown(snapshot: Snapshot) -> str:
    unread = [(part, found) for part, found in snapshot.unknown() if not isinstance(found, Pending)]
    return next((found.clause(part.id) for part, found in unread), "")


def host_of(view: View) -> str:
    """Who has the service or is to have it."""
    return view.owner.host if view.owner else view.wanted
