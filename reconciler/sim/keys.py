"""What a simulated etcd keeps: keys with their revisions, the history that watches read, leases. No network.

As etcd 3.4 does, and tests/contract pins: one transaction is one revision, a lease's end deletes all of its keys in
one revision, and after a compaction at R one may watch from R on, not from before.
"""

from __future__ import annotations

import asyncio
import bisect
import math
from dataclasses import dataclass

from reconciler.store import Change, Compacted, Entry, LeaseLost, Listing, StoreError, Txn

MOST_KEYS = 127  # etcd's --max-txn-ops is 128, and the real Store's mark takes one
MOST_OCTETS = 1_500_000  # --max-request-bytes is 1.5 MiB, for all of a request
SHORTEST = 2  # seconds: etcd makes a shorter lease last as long as 1.5 elections, in whole seconds


@dataclass
class Lease:
    """`ends`: when it expires unless it is renewed, on the loop's clock."""

    ttl: float
    ends: float


class Keys:
    """`revision`: of the last change; `compacted`: what is not readable any more."""

    def __init__(self) -> None:
        self.revision, self.compacted = 1, 0
        self.entries: dict[str, Entry] = {}
        self.leases: dict[int, Lease] = {}
        self._revisions: list[int] = []
        self._changes: list[tuple[Change, ...]] = []
        self._times: list[float] = []

    def listing(self, prefix: str) -> Listing:
        found = [entry for key, entry in sorted(self.entries.items()) if key.startswith(prefix)]
        return Listing(tuple(found), self.revision)

    def apply(self, txn: Txn) -> int | None:
        """Its revision; None when a comparison fails. Raises LeaseLost, or StoreError for what etcd refuses."""
        _check(txn)
        for key, revision in txn.unchanged.items():
            found = self.entries.get(key)
            if (found.revision if found else 0) != revision:
                return None
        if any(lease and lease not in self.leases for _, lease in txn.puts.values()):
            raise LeaseLost("a lease that keys were to be written on expired or was revoked; nothing was written")
        self.revision += 1
        puts = [self._put(key, value, lease) for key, (value, lease) in sorted(txn.puts.items())]
        self._write([*puts, *self._delete(txn.deletes)])
        return self.revision

    def _put(self, key: str, value: str, lease: int) -> Change:
        before = self.entries.get(key)
        entry = Entry(key, value, self.revision, before.created if before else self.revision, lease)
        self.entries[key] = entry
        return Change(key, entry, self.revision)

    def _delete(self, keys: tuple[str, ...]) -> list[Change]:
        there = [key for key in sorted(keys) if self.entries.pop(key, None)]
        return [Change(key, None, self.revision) for key in there]

    def when(self, revision: int) -> float:
        """Seconds, of a revision with changes."""
        return self._times[bisect.bisect_left(self._revisions, revision)]

    def _write(self, changes: list[Change]) -> None:
        if changes:
            self._times.append(asyncio.get_running_loop().time())
            self._revisions.append(self.revision)
            self._changes.append(tuple(changes))

    # -- watching ------------------------------------------------------------------------------------------------

    def compact(self, revision: int) -> None:
        """What happened up to then is history."""
        self.compacted = max(self.compacted, min(revision, self.revision))

    def check_past(self, after: int) -> None:
        """May a watch begin there? Raises Compacted."""
        if after < self.compacted:
            raise Compacted(f"the watch's past is compacted away up to revision {self.compacted}")

    def since(self, prefix: str, after: int) -> tuple[Change, ...]:
        """All changes under a prefix in later revisions. A stream that is open reads on, whatever is compacted."""
        first = bisect.bisect_right(self._revisions, after)
        return tuple(one for changes in self._changes[first:] for one in changes if one.key.startswith(prefix))

    # -- leases --------------------------------------------------------------------------------------------------

    def grant(self, lease: int, ttl: float, now: float) -> Lease:
        """It exists already: that one."""
        whole = float(max(SHORTEST, math.ceil(ttl)))
        return self.leases.setdefault(lease, Lease(whole, now + whole))

    def renew(self, lease: int, now: float) -> float:
        """Its TTL. Raises LeaseLost."""
        found = self.leases.get(lease)
        if found is None:
            raise LeaseLost("the lease expired or was revoked")
        found.ends = now + found.ttl
        return found.ttl

    def renew_all(self, now: float) -> None:
        """As a new leader does: it cannot know what the last one promised."""
        for lease in self.leases:
            self.renew(lease, now)

    def end(self, lease: int) -> None:
        """Expired or revoked: it goes and its keys with it."""
        if self.leases.pop(lease, None) is None:
            return
        keys = tuple(key for key, entry in self.entries.items() if entry.lease == lease)
        if keys:
            self.revision += 1
            self._write(self._delete(keys))


def _check(txn: Txn) -> None:
    """Raises StoreError for what etcd refuses, whatever it holds."""
    if len(txn.puts) + len(txn.deletes) > MOST_KEYS or len(txn.unchanged) > MOST_KEYS:
        raise StoreError("etcd refuses the request: etcdserver: too many operations in txn request")
    if set(txn.puts) & set(txn.deletes) or len(set(txn.deletes)) < len(txn.deletes):
        raise StoreError("etcd refuses the request: etcdserver: duplicate key given in txn request")
    if sum(len(value.encode()) for value, _ in txn.puts.values()) > MOST_OCTETS:
        raise StoreError("etcd refuses the request: etcdserver: request is too large")
