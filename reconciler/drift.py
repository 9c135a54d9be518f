"""Drift, pure: the world differs from the spec and no plan of ours is under way to explain it.

A record is made when it is seen, and one when it is gone.

A service that was Ready here may only change by a plan of its owner; what a host holds of a service that is not its own
is drift at any time. A service whose disks are not all of one role is named as what it is: half-switched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.observe import Snapshot
from resources.kind import Role

DISKS = "disks"  # the resource that a half-switched service is noted under


@dataclass(frozen=True)
class Wrong:
    """How a part differs: as a clause; what its role wants and what is there, in a few words; why, where known."""

    reason: str
    expected: str = ""
    observed: str = ""
    cause: str = ""


@dataclass(frozen=True)
class Seen:
    """One drift, as it was first seen; since when (monotonic)."""

    wrong: Wrong
    since: float


@dataclass(frozen=True)
class News:
    """For the log: `resource` is a part's id; `lasted` is None as it appears, seconds when it is gone."""

    resource: str
    wrong: Wrong
    lasted: float | None = None


Open = Mapping[str, Seen]


def found(snapshot: Snapshot, role: Role, dropped: frozenset[str]) -> dict[str, Wrong]:
    """What is not as the role wants it, by part id. What cannot be read differs from nothing."""
    wrong = {}
    for part, seen in snapshot.known():
        wanted = Role.ABSENT if part.id in dropped else role
        conditions = part.kind.conditions(part.spec, wanted, seen)
        # What merely takes its time is none, unless there is something to do about it: a disk that was detached.
        told = [one for one in conditions if one.broken or part.kind.plan(part.spec, wanted, seen)]
        if told:
            wrong[part.id] = Wrong(
                "; ".join(one.reason for one in told),
                part.kind.wants(part.spec, wanted),
                part.kind.says(part.spec, seen),
                "; ".join(one.cause for one in told if one.cause),
            )
    if halves := _half_switched(snapshot, role):
        wrong[DISKS] = halves
    return wrong


def _half_switched(snapshot: Snapshot, role: Role) -> Wrong | None:
    """`half-switched: nfs-home is Primary here, nfs-state is not`, and which should be."""
    disks = [(part, seen) for part, seen in snapshot.known() if is_disk(part.id)]
    held = sorted(part.kind.key(part.spec) for part, seen in disks if part.kind.held(part.spec, seen))
    others = sorted(part.kind.key(part.spec) for part, seen in disks if not part.kind.held(part.spec, seen))
    if not held or not others:
        return None
    says = sorted((part.kind.key(part.spec), role_of(part.kind.says(part.spec, seen))) for part, seen in disks)
    return Wrong(
        f"half-switched: {', '.join(held)} {_is(held)} Primary here, {', '.join(others)} {_is(others)} not",
        f"{', '.join(name for name, _ in says)} {'Primary' if role is Role.ACTIVE else 'Secondary'}",
        ", ".join(f"{name} {said}" for name, said in says),
    )


def is_disk(id: str) -> bool:
    """A disk's, by the part's id."""
    return id.startswith("disk/")


def role_of(says: str) -> str:
    """A disk's role, of what its kind says of it: `Primary, UpToDate; …` -> Primary."""
    return says.partition(",")[0]


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def compare(before: Open, wrong: Mapping[str, Wrong], now: float) -> tuple[dict[str, Seen], list[News]]:
    """What is open now, and what is to be told: each drift once when it appears and once when it is gone. Its words
    stay those of its first moment; a cause may become known later."""
    news = [News(id, seen.wrong, now - seen.since) for id, seen in sorted(before.items()) if id not in wrong]
    news += [News(id, one) for id, one in sorted(wrong.items()) if id not in before]
    return {id: _known(before.get(id, Seen(one, now)), one) for id, one in wrong.items()}, news


def _known(seen: Seen, now: Wrong) -> Seen:
    return seen if seen.wrong.cause or not now.cause else replace(seen, wrong=replace(seen.wrong, cause=now.cause))
