"""Moves, pure: the transactions by which a service changes hands. Each compares everything that it was decided upon.

Claim, release, revert, take over, forget: what etcd orders here is what makes "only one at a time" true.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from reconciler.ownership import View
from reconciler.records import Audit, Epoch, Owner, Record, stamp
from reconciler.spec import to_json
from reconciler.store import (
    Txn,
    applied_key,
    audit_key,
    epoch_key,
    outdated_key,
    owner_key,
    service_key,
    session_key,
    status_key,
)
from resources.machine import Machine


def put(record: Record, lease: int = 0) -> tuple[str, int]:
    """A record as Txn.puts has it."""
    return record.line(), lease


def claim(view: View, machine: Machine, session_revision: int, disks: Iterable[str]) -> tuple[Owner, Txn]:
    """Become the owner in the next epoch: the spec as it was read still wants me, the key is still as it was when its
    holder was found absent or dead, my session stands, and none of my copies is marked outdated."""
    name = view.manifest.metadata.name
    last = max(view.epoch.epoch if view.epoch else 0, view.owner.epoch if view.owner else 0)
    before = view.epoch.host if view.epoch else ""
    since = stamp(machine.utc())
    owner = Owner(
        host=machine.host,
        boot_id=machine.boot_id,
        epoch=last + 1,
        since=since,
        previous=before if before != machine.host else "",
    )
    unchanged = {
        service_key(name): view.revision,
        owner_key(name): view.owner_revision,
        epoch_key(name): view.epoch_revision,
        session_key(machine.host): session_revision,
        **{outdated_key(disk, machine.host): 0 for disk in sorted(disks)},
    }
    failed_on = view.failed_on
    noted = view.revision if failed_on else 0
    given = Epoch(epoch=owner.epoch, host=machine.host, since=since, failed_on=failed_on, spec_revision=noted)
    return owner, Txn(unchanged, {owner_key(name): put(owner), epoch_key(name): put(given)})


def release(view: View) -> Txn:
    """Give the service up. Only after a fresh observation shows that nothing exclusive is held."""
    name = view.manifest.metadata.name
    return Txn({owner_key(name): view.owner_revision, service_key(name): view.revision}, {}, (owner_key(name),))


def revert(view: View, machine: Machine, audit_id: str, audit_lease: int, why: str) -> Txn:
    """Set primary back to the host that had it before. The epoch record names that host as the last one, so that what
    comes back does not know a host to revert to, and stays."""
    name = view.manifest.metadata.name
    assert view.owner is not None
    assert view.epoch is not None
    back = view.owner.previous
    last = put(view.epoch.model_copy(update={"host": back}))
    changed = _set_primary(view, machine, back, audit_id, audit_lease, why)
    return changed.plus(Txn({epoch_key(name): view.epoch_revision}, {epoch_key(name): last}))


def move_on(view: View, machine: Machine, to: str, audit_id: str, audit_lease: int, why: str) -> Txn:
    """Set primary to another host: the checks fail here, restarted or not. Noted, so that it does not come back."""
    assert view.epoch is not None
    name = view.manifest.metadata.name
    noted = put(view.epoch.model_copy(update={"failed_on": [*view.failed_on, machine.host]}))
    changed = _set_primary(view, machine, to, audit_id, audit_lease, why)
    return changed.plus(Txn({epoch_key(name): view.epoch_revision}, {epoch_key(name): noted}))


def leave(view: View, machine: Machine, to: str, audit_id: str, audit_lease: int, why: str) -> Txn:
    """Set primary to another host: this one, its owner, is being shut down."""
    return _set_primary(view, machine, to, audit_id, audit_lease, why)


def take_over(view: View, machine: Machine, session_revision: int, audit_id: str, audit_lease: int, why: str) -> Txn:
    """Set primary to this host: its last owner is dead, or nobody owns it and the host that is to have it is away."""
    still = Txn({session_key(machine.host): session_revision, session_key(view.wanted): 0})
    return still.plus(_set_primary(view, machine, machine.host, audit_id, audit_lease, why))


def follow(view: View, machine: Machine, session_revision: int, audit_id: str, audit_lease: int, why: str) -> Txn:
    """Set primary to this host: the engine that it follows has gone here by itself."""
    still = Txn({session_key(machine.host): session_revision})
    return still.plus(_set_primary(view, machine, machine.host, audit_id, audit_lease, why))


def _set_primary(view: View, machine: Machine, host: str, audit_id: str, audit_lease: int, why: str) -> Txn:
    """An agent's own change of a spec, audited like a user's."""
    name = view.manifest.metadata.name
    before = json.loads(view.text)
    after = {**before, "spec": {**before["spec"], "primary": host}}
    audit = Audit(
        at=stamp(machine.utc()),
        who="hactl agent",
        whence=machine.host,
        what=f"service/{name}",
        did=f"set primary={host}",
        before=before["spec"],
        after=after["spec"],
        why=why,
    )
    unchanged = {service_key(name): view.revision, owner_key(name): view.owner_revision}
    return Txn(unchanged, {service_key(name): (to_json(after), 0), audit_key(audit_id): put(audit, audit_lease)})


def forget(view: View) -> Txn:
    """Remove the keys of a deleted service. Its events and audit stay as long as they last."""
    name = view.manifest.metadata.name
    hosts = sorted({*view.manifest.spec.hosts, *view.statuses})
    keys = [service_key(name), owner_key(name), epoch_key(name), applied_key("service", name)]
    keys += [status_key(name, host) for host in hosts]
    return Txn({service_key(name): view.revision, owner_key(name): view.owner_revision}, {}, tuple(keys))
