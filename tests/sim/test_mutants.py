"""Every checker is seen to find what it is for: protocols that are each broken in one place are caught, and the
protocol as it is keeps all rules on the very same stories.

A mutant is a replacement at a seam. Its story is about the shortest that tells it from the protocol as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler import copies, fencepeer, moves, proofs
from reconciler.mirror import Mirror
from reconciler.observe import Snapshot
from reconciler.ownership import Verdict, View
from reconciler.plan import Plan
from reconciler.session import Options, SessionKeeper
from reconciler.sim.cluster import Broken
from reconciler.sim.scenario import Scenario, read, tell
from reconciler.sim.store import SimStore
from reconciler.spec import ServiceManifest
from reconciler.store import Entry, Txn, outdated_key, owner_key
from reconciler.transfers import Transfers
from resources import disk
from tests.sim.services import NFS, service

GUARDED = Options(watchdog="/dev/watchdog", watchdog_seconds=20)
AUTOMATIC = service("nfs", failover="automatic")
ONE_DISK = service("nfs", disks=[{"resource": "nfs-data", "mount": "/srv/data"}])
BARE = service("nfs", disks=[])

Patch = pytest.MonkeyPatch
Mutant = Callable[[Patch], None]

# -- how time and deadlines may be wrong -------------------------------------------------------------------------------

CUT_OFF = """
10   link hosta lan down
10   link hosta replication down
80   link hosta lan up
80   link hosta replication up
"""

STUCK = """
5    hold hosta nfs /srv/data yes
5    fault hosta stop-container hang
10   link hosta lan down
10   link hosta replication down
80   fault hosta stop-container none
80   link hosta lan up
80   link hosta replication up
"""

GONE_WITHOUT_ETCD = """
10   link hosta lan down
10   link hosta replication down
10.1 stop-agent hosta
80   link hosta lan up
80   link hosta replication up
80   start-agent hosta
"""


def no_deadline(patch: Patch) -> None:
    """An agent that believes in its session for as long as nobody contradicts it."""
    patch.setattr(Options, "safe_for", property(lambda _: 1e6))


def proof_too_early(patch: Patch) -> None:
    """A host counts as dead as soon as its session has gone, watchdog or not."""
    patch.setattr(proofs, "patience", lambda _watchdog: 0.0)


def disarmed_before_the_session_says_so(patch: Patch) -> None:
    says = SessionKeeper.end

    async def end(self: SessionKeeper) -> None:
        await self._guard.disarm()
        await says(self)

    patch.setattr(SessionKeeper, "end", end)


# -- how a copy that lacks writes may be promoted ----------------------------------------------------------------------

STALE = """
10   link hosta replication down
40   power hosta off
100  power hosta on
100  link hosta replication up
"""

# A host that may wait for etcd as long as it likes: a clearing is ten seconds on its way, and there are two.
STALE_BY_HAND = """
10   link hosta replication down
50   power hosta off
70   confirm-dead hosta
71   set nfs primary=hostb
100  power hosta on
100  link hosta replication up
"""

LATE_TO_WAKE = """
10   freeze hosta
40   confirm-dead hosta
41   set nfs primary=hostb
70   thaw hosta
"""

LOST_AGAIN = """
10   link hosta replication down
20   link hosta replication up
27   link hosta replication down
40   power hosta off
60   confirm-dead hosta
61   set nfs primary=hostb
90   power hosta on
90   link hosta replication up
"""

BEHIND = """
9    freeze hostb
10   power hosta off
10.5 thaw hostb
11   set nfs primary=hostb
20   power hosta on
"""


def no_mark(patch: Patch) -> None:
    """The owner goes on alone, and nobody is told."""

    def handler(owner: Entry, *_: str) -> Txn:
        return Txn({owner.key: owner.revision})

    def agent(view: View, *_: Any) -> Txn:
        return Txn({owner_key(view.manifest.metadata.name): view.owner_revision})

    patch.setattr(fencepeer, "mark", handler)
    patch.setattr(copies, "mark", agent)


def mark_without_comparing_the_owner(patch: Patch) -> None:
    patch.setattr(fencepeer, "_is", lambda _owner, _me: True)


def mark_ignored_by_the_new_owner(patch: Patch) -> None:
    claim = moves.claim
    patch.setattr(Mirror, "_outdated", lambda _self: iter(()))
    patch.setattr(moves, "claim", lambda view, machine, session, _disks: claim(view, machine, session, ()))


def mark_kept_where_one_stands(patch: Patch) -> None:
    """As it is known to be set already, it is not set anew."""

    async def fence_peer(store: Any, me: Any, resource: str, peers: Any, at: str) -> fencepeer.Answer:
        if await store.get(outdated_key(resource, next(iter(peers)))) is not None:
            return fencepeer.Answer(fencepeer.GOES_ON, "it is marked")
        return await whole(store, me, resource, peers, at)

    whole = fencepeer.fence_peer
    patch.setattr("reconciler.sim.cluster.fence_peer", fence_peer)


def cleared_by_the_resynced_side(patch: Patch) -> None:
    """Whose own copy says that it is UpToDate: as it does when it does not know better."""
    held_up = Transfers.held_up

    async def clear(self: Transfers, view: View, snapshot: Snapshot, verdict: Verdict) -> Plan:
        me = self._p.machine.host
        for part, seen in snapshot.known():
            mark = view.outdated.get((part.kind.key(part.spec), me)) if part.kind.name == "disk" else None
            if mark and seen is not None and all(volume.disk == "UpToDate" for volume in seen.volumes):
                key = outdated_key(part.kind.key(part.spec), me)
                await self._p.store.commit(Txn({key: mark}, {}, (key,)))
        return await held_up(self, view, snapshot, verdict)

    patch.setattr(Transfers, "held_up", clear)


def cleared_without_the_look(patch: Patch) -> None:
    def cleared(view: View, host: str, _snapshot: Snapshot) -> Iterator[tuple[str, Txn]]:
        for (name, where), revision in sorted(view.outdated.items()):
            if where != host:
                key = outdated_key(name, where)
                owner = {owner_key(view.manifest.metadata.name): view.owner_revision}
                yield "cleared", Txn({key: revision, **owner}, {}, (key,))

    patch.setattr(copies, "cleared", cleared)


def cleared_without_the_compare(patch: Patch) -> None:
    whole = copies.cleared

    def cleared(view: View, host: str, snapshot: Snapshot) -> list[tuple[str, Txn]]:
        found = whole(view, host, snapshot)
        return [(said, replace(txn, unchanged={owner_key("nfs"): view.owner_revision})) for said, txn in found]

    patch.setattr(copies, "cleared", cleared)


def promote_without_checking(patch: Patch) -> None:
    """Whatever DRBD says of the copy."""
    patch.setattr(disk, "CURRENT", ("UpToDate", "Consistent", "Outdated", "Inconsistent"))


# -- how two may hold the same -----------------------------------------------------------------------------------------

RESISTS = """
10   fault hosta remove-address fail
11   set nfs primary=hostb
40   fault hosta remove-address none
"""


def deleted_before_observing(patch: Patch) -> None:
    """The owner key goes once the steps were tried."""
    patch.setattr(Snapshot, "held", lambda _self: [])


MUTANTS: dict[Mutant, tuple[str, ServiceManifest, int]] = {
    no_deadline: (CUT_OFF, AUTOMATIC, 1),
    proof_too_early: (STUCK, AUTOMATIC, 1),
    no_mark: (STALE, AUTOMATIC, 2),
    mark_without_comparing_the_owner: (LATE_TO_WAKE, NFS, 3),
    mark_ignored_by_the_new_owner: (STALE, AUTOMATIC, 2),
    mark_kept_where_one_stands: (LOST_AGAIN, ONE_DISK, 2),
    cleared_by_the_resynced_side: (STALE, AUTOMATIC, 2),
    cleared_without_the_look: (STALE_BY_HAND, NFS, 2),
    cleared_without_the_compare: (LOST_AGAIN, ONE_DISK, 2),
    promote_without_checking: (BEHIND, NFS, 2),
    deleted_before_observing: (RESISTS, BARE, 1),
    disarmed_before_the_session_says_so: (GONE_WITHOUT_ETCD, AUTOMATIC, 1),
}


@pytest.fixture(autouse=True)
def _slow_clearing(monkeypatch: Patch) -> None:
    """A transaction that clears a mark is ten seconds on its way: others may be faster."""
    whole = SimStore.commit

    async def commit(self: SimStore, txn: Txn) -> int | None:
        if any("/outdated/" in key for key in txn.deletes):
            await asyncio.sleep(10)
        return await whole(self, txn)

    monkeypatch.setattr(SimStore, "commit", commit)


def told(which: Mutant, seed: int) -> None:
    story, manifest, _ = MUTANTS[which]
    tell(Scenario(which.__name__, (manifest,), read(story), dict.fromkeys(("hosta", "hostb"), GUARDED)), seed)


@pytest.mark.parametrize("which", MUTANTS, ids=[one.__name__ for one in MUTANTS])
def test_a_broken_protocol_is_caught(which: Mutant, monkeypatch: Patch) -> None:
    which(monkeypatch)
    with pytest.raises(Broken, match=f"rule {MUTANTS[which][2]}"):
        told(which, 1)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("which", MUTANTS, ids=[one.__name__ for one in MUTANTS])
def test_the_protocol_as_it_is_passes_the_same_story(which: Mutant, seed: int) -> None:
    told(which, seed)
