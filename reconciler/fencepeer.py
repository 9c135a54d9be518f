"""Outdated copies: DRBD holds a disk's I/O and asks whether its peer's copy is surely outdated. Here is the answer.

DRBD (`fencing resource-and-stonith`) calls the fence-peer handler when a Primary loses its peer, and when a copy is to
be promoted without it. The answer is yes only once etcd says that the peer's copy lacks writes, in one transaction that
compares *I am still the owner, in this epoch*. Becoming the owner compares *none of my copies is marked*. etcd puts the
two in one order: either the old owner goes on and the stale copy can never be promoted, or the new owner has it and the
old one's I/O stays held. Whatever the clocks do, no acknowledged write is lost.

The agent takes the same decision for a disk that it finds held, since DRBD does not ask twice. This module imports
little: a handler is started while clients wait.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.store import ROOT, Entry, Store, Txn, outdated_key, owner_key

GOES_ON = 4  # "the peer is outdated now" (drbd.conf(5), fence-peer)
HELD = 1  # anything else that is not in its list: the I/O stays held


@dataclass(frozen=True)
class Incarnation:
    """This host, between two boots."""

    host: str
    boot_id: str


@dataclass(frozen=True)
class Answer:
    """The handler's exit status, and why."""

    status: int
    why: str


async def fence_peer(store: Store, me: Incarnation, resource: str, peers: Iterable[str], at: str) -> Answer:
    """Mark the peer's copy, if this incarnation owns the service whose disk it is. `at`: UTC, for people.

    Raises StoreError: then it is not known, and the I/O stays held.
    """
    services = await store.list(f"{ROOT}services/")
    name, spec = _service_of(services.entries, resource)
    if not name:
        return Answer(HELD, f"no service in etcd has disk {resource}, so nobody may say that its peer is outdated")
    owner = await store.get(owner_key(name))
    if owner is None or not _is(owner, me):
        return Answer(HELD, f"{me.host} does not own {name} ({_owner(owner)}); its I/O stays held")
    peer = _peer(spec, me.host, set(peers))
    if not peer:
        return Answer(HELD, f"which host has the other copy of disk {resource} is not known: {', '.join(peers)}")
    stands = await store.get(outdated_key(resource, peer))
    since = str(_json(stands.value).get("since", at)) if stands is not None else at
    if await store.commit(mark(owner, resource, peer, me.host, since)) is None:
        return Answer(HELD, f"{name} changed its owner meanwhile ({_owner(await store.get(owner_key(name)))})")
    return Answer(GOES_ON, f"the copy of disk {resource} on {peer} is marked outdated; {me.host} goes on alone")


def mark(owner: Entry, resource: str, peer: str, host: str, since: str) -> Txn:
    """The transaction: still the owner in this epoch -> the peer's copy lacks writes.

    One that stands is set anew: the agent may be about to clear it, by what it saw before the peer was lost.
    """
    epoch = _json(owner.value).get("epoch")
    value = json.dumps({"since": since, "by": host, "epoch": epoch})
    return Txn({owner.key: owner.revision}, {outdated_key(resource, peer): (value, 0)})


def _service_of(services: Iterable[Entry], resource: str) -> tuple[str, Mapping[str, Any]]:
    """The name and spec of the service that has the disk; ("", {}) when none has."""
    for entry in services:
        spec = _json(entry.value).get("spec")
        if not isinstance(spec, dict):
            continue
        disks = spec.get("disks")
        for disk in disks if isinstance(disks, list) else []:
            if isinstance(disk, dict) and disk.get("resource") == resource:
                return entry.key.rpartition("/")[2], spec
    return "", {}


def _peer(spec: Mapping[str, Any], host: str, named: set[str]) -> str:
    """The other host of the disk: the one that DRBD names, where it is one of the service's; else its only other."""
    others = [one for one in spec.get("hosts", []) if one != host]
    chosen = [one for one in others if one in named] or others
    return chosen[0] if len(chosen) == 1 else ""


def _is(owner: Entry, me: Incarnation) -> bool:
    said = _json(owner.value)
    return (said.get("host"), said.get("boot_id")) == (me.host, me.boot_id)


def _owner(owner: Entry | None) -> str:
    return f"its owner is {_json(owner.value).get('host')}" if owner else "it has no owner"


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
