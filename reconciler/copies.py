"""Copies of disks that lack writes, pure: who may say so, who may take it back, and what becomes of held I/O.

A Primary whose peer was lost holds all I/O (`reconciler.fencepeer` says why). Its owner marks the other copies and goes
on. Only the owner clears a mark: what it read of it comes *before* its look at the disk, and the deletion compares it.
A host that holds I/O of a service which another owns by now gives it up without writing.
"""

from __future__ import annotations

from reconciler.observe import Snapshot
from reconciler.ownership import View
from reconciler.plan import Group, Plan
from reconciler.records import Outdated, stamp
from reconciler.store import Txn, outdated_key, owner_key
from resources.kind import AnyPart, Step
from resources.machine import Machine


def held_up(snapshot: Snapshot) -> list[AnyPart]:
    """Parts that hold all I/O until somebody decides."""
    return [part for part, seen in snapshot.known() if part.kind.held_up(part.spec, seen)]


def mark(view: View, machine: Machine, disk: str) -> Txn:
    """Still the owner in this epoch -> every other host's copy lacks writes. A mark that stands is set anew: the
    clearing of it may be on its way, by what was seen before."""
    name = view.manifest.metadata.name
    assert view.owner is not None
    record = Outdated(since=stamp(machine.utc()), by=machine.host, epoch=view.owner.epoch)
    others = [host for host in view.manifest.spec.hosts if host != machine.host]
    marks = {outdated_key(disk, host): view.outdated.get((disk, host), 0) for host in others}
    return Txn({owner_key(name): view.owner_revision, **marks}, {key: (record.line(), 0) for key in marks})


def cleared(view: View, host: str, snapshot: Snapshot) -> list[tuple[str, Txn]]:
    """(clause, transaction) for each mark that this owner sees to be no longer true. The view, and with it the mark's
    revision, is older than the snapshot: a mark that was set again since stays."""
    found = []
    current = {part.kind.key(part.spec) for part, seen in snapshot.known() if part.kind.current(part.spec, seen)}
    for (disk, where), revision in sorted(view.outdated.items()):
        if where != host and disk in current:
            key = outdated_key(disk, where)
            unchanged = {key: revision, owner_key(view.manifest.metadata.name): view.owner_revision}
            found.append((f"the copy of disk {disk} on {where} is current again", Txn(unchanged, {}, (key,))))
    return found


def first(snapshot: Snapshot, *, owner: bool) -> Plan:
    """The steps that end the holding, before all others: I/O goes on for the owner, and is given up by who is not."""
    groups = []
    for part in held_up(snapshot):
        seen = snapshot.seen[part.id]
        steps: list[Step] = part.kind.go_on(part.spec, seen) if owner else part.kind.give_up(part.spec, seen)
        if steps:
            groups.append(Group(part.stage, tuple(steps), side_by_side=False))
    return Plan(tuple(groups))
