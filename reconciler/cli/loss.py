"""--accept-data-loss: the one exception to rule 2, said by a human and audited (`hactl help data-loss`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.cli.errors import Code, refuse
from reconciler.cli.scene import Scene
from reconciler.cli.screen import moment
from reconciler.ownership import View
from reconciler.records import Outdated, parse
from reconciler.store import Txn, outdated_key, owner_key, session_key

MISSED = "has missed writes"  # as a target says it (reconciler.status)


@dataclass(frozen=True)
class Loss:
    """What is given up: in clauses, and as the part of the transaction that takes the marks away."""

    clauses: tuple[str, ...] = ()
    txn: Txn = field(default_factory=Txn)

    @staticmethod
    def of(scene: Scene, view: View, host: str) -> Loss:
        """By the marks of that host's copies. Raises Refused: there is none, or a host that has the writes lives."""
        name = view.manifest.metadata.name
        marked = view.marked(host)
        if not marked:
            raise refuse(Code.WRONG, f"no copy of {name} on {host} is known to lack writes: there is nothing to accept")
        others = [one for one in view.manifest.spec.hosts if one != host]
        better = [one for one in others if set(marked) - set(view.marked(one))]
        if alive := [one for one in better if one in view.sessions]:
            why = f"{alive[0]} is alive and has the writes that {host} lacks"
            raise refuse(Code.UNSAFE, why, f"Let the disks resync (hactl status {name}); then nothing is lost.")
        keys = {outdated_key(disk, host): view.outdated[disk, host] for disk in marked}
        unchanged = {**keys, owner_key(name): view.owner_revision, **{session_key(one): 0 for one in better}}
        clauses = tuple(_clause(scene, disk, host) for disk in marked)
        return Loss(clauses, Txn(unchanged, {}, tuple(sorted(keys))))


def _clause(scene: Scene, disk: str, host: str) -> str:
    entry = scene.entry(outdated_key(disk, host))
    record = parse(Outdated, entry.value) if entry is not None else None
    since = f" since {moment(record.since)}, made on {record.by}" if record is not None else ""
    return f"the copy of disk {disk} on {host} lacks the writes{since}"
