"""Plan, pure: (snapshot, role) -> the ordered steps from what was seen to the role.

Third in the flow: spec → observe → plan → act → status. What must go goes first, from the clients' end to the disks;
then what must come comes, from the disks to the clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from reconciler.observe import Snapshot
from resources.kind import AnyPart, Role, Stage, Step, Unknown

Asked = tuple[AnyPart, Role, list[Step]]  # a part, the role that it is to have, and its steps there


@dataclass(frozen=True)
class Group:
    """Steps of one kind at one stage; side by side where the kind says that they do not wait for each other."""

    stage: Stage
    steps: tuple[Step, ...]
    side_by_side: bool


@dataclass(frozen=True)
class Plan:
    """Groups in the order in which they run."""

    groups: tuple[Group, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(step for group in self.groups for step in group.steps)


def plan(
    snapshot: Snapshot,
    role: Role,
    dropped: frozenset[str] = frozenset(),
    withheld: frozenset[str] = frozenset(),
) -> Plan:
    """The steps towards `role`; parts whose id is in `dropped` are no longer in the spec and go, whatever the role.
    Those in `withheld` are not brought back yet (`reconciler.repairs`), nor is what they carry."""
    wanted = _without(snapshot, _begun_anew(snapshot, asked(snapshot, role, dropped)), withheld)
    going = _until_unknown(snapshot, reversed(wanted), down=True)
    coming = _until_unknown(snapshot, wanted, down=False)
    return Plan((*_groups(going), *_groups(coming)))


def _begun_anew(snapshot: Snapshot, wanted: list[Asked]) -> list[tuple[AnyPart, list[Step]]]:
    """What runs although a mount of its service is not there (it is enabled and starts with its container, or somebody
    has unmounted it) has its files beneath, and would go on writing there once that is mounted over them: what clients
    were told is written would be gone with the next start. It is stopped first, and started on what is mounted."""
    mounts = [part for part, _, steps in wanted if part.stage is Stage.MOUNT and any(not step.down for step in steps)]
    to_mount = any(not _holds(snapshot, part) for part in mounts)
    found = []
    for part, role, steps in wanted:
        runs = part.stage is Stage.UNIT and role is Role.ACTIVE and not steps
        seen = snapshot.seen[part.id]
        if to_mount and runs and not isinstance(seen, Unknown):
            pair = part.kind.restart(part.spec, seen, "it runs, and its mount is not there")
            steps = [*steps, *(pair or ())]
        found.append((part, steps))
    return found


def asked(snapshot: Snapshot, role: Role, dropped: frozenset[str]) -> list[Asked]:
    """What each part calls for by itself."""
    roles = [(part, Role.ABSENT if part.id in dropped else role) for part in snapshot.parts]
    return [(part, wanted, _steps(snapshot, part, wanted)) for part, wanted in roles]


def carries(snapshot: Snapshot, lower: AnyPart, upper: AnyPart) -> bool:
    """Does `upper` wait for `lower`, which comes up before it and is not as it should be? Disks, containers and mounts
    carry what comes later, a disk that is Primary even when it has none under it here; units and addresses each stand
    for themselves once they have come up."""
    if lower.stage > Stage.MOUNT or (lower.stage is Stage.DISK and _holds(snapshot, lower)):
        return False
    return lower.stage < upper.stage or (lower.kind is upper.kind and not lower.kind.side_by_side)


def _holds(snapshot: Snapshot, part: AnyPart) -> bool:
    seen = snapshot.seen[part.id]
    return not isinstance(seen, Unknown) and bool(part.kind.held(part.spec, seen))


def _without(
    snapshot: Snapshot, wanted: list[tuple[AnyPart, list[Step]]], withheld: frozenset[str]
) -> list[tuple[AnyPart, list[Step]]]:
    """Without what is withheld, and what that carries. Disks come back together or not at all. What is only put down is
    never withheld; what would be taken down to be put back stays as it is."""
    if not withheld:
        return wanted
    waits = [part for part, _ in wanted if part.id in withheld]
    disks = any(part.stage is Stage.DISK and not _holds(snapshot, part) for part in waits)
    kept: list[tuple[AnyPart, list[Step]]] = []
    for number, (part, steps) in enumerate(wanted):
        before = [one for one, _ in wanted[:number] if one in waits]
        held_back = (
            part in waits or any(carries(snapshot, one, part) for one in before) or (disks and part.stage is Stage.DISK)
        )
        kept.append((part, [] if held_back and any(not step.down for step in steps) else steps))
    return kept


def _steps(snapshot: Snapshot, part: AnyPart, role: Role) -> list[Step]:
    seen = snapshot.seen[part.id]
    return [] if isinstance(seen, Unknown) else part.kind.plan(part.spec, role, seen)


def _until_unknown(
    snapshot: Snapshot, wanted: Iterable[tuple[AnyPart, list[Step]]], *, down: bool
) -> list[tuple[AnyPart, list[Step]]]:
    """The steps in one direction, as far as the stage of the first part that could not be read.

    Nothing is built upon what is unknown, and nothing is pulled away from under it. Checks and gates only look on:
    one that cannot tell must not keep an address or a disk where it does not belong. Nor is anything built upon a
    container that starts where a mount, a unit or an address was seen in an earlier one: another look comes first.
    """
    kept: list[tuple[AnyPart, list[Step]]] = []
    barrier: Stage | None = None
    for part, steps in wanted:
        if barrier is not None and part.stage != barrier:
            break
        if isinstance(snapshot.seen[part.id], Unknown) and part.stage is not Stage.CHECK:
            barrier = part.stage
        these = [step for step in steps if step.down == down]
        if not down and these and part.stage is Stage.CONTAINER and _left_inside(snapshot):
            barrier = part.stage
        kept.append((part, these))
    return kept


def _left_inside(snapshot: Snapshot) -> bool:
    """Was anything seen to be held within a container?"""
    inside = (Stage.MOUNT, Stage.UNIT, Stage.ADDRESS)
    return any(part.stage in inside and _holds(snapshot, part) for part in snapshot.parts)


def _groups(wanted: Iterable[tuple[AnyPart, list[Step]]]) -> list[Group]:
    found = []
    for (stage, _), members in groupby(wanted, key=lambda each: (each[0].stage, each[0].kind.name)):
        listed = list(members)
        steps = tuple(dict.fromkeys(step for _, steps in listed for step in steps))
        if steps:
            found.append(Group(stage, steps, listed[0][0].kind.side_by_side))
    return found
