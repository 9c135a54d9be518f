"""The Store: desired and observed state, shared by all hosts. Keys, and the protocol that etcd and the simulation keep.

The real one is `reconciler.etcd`, the simulated one `reconciler.sim.store`; both pass tests/contract.

Errors, by what happens next:

    StoreError              the sentence says what failed and what to try
    ├── StoreUnreachable    no member answered in time: what it would say is unknown; try again
    ├── Compacted           the watch's past is gone: list again, watch from there
    ├── LeaseLost           the lease is no more, and with it every key on it
    └── Denied              etcd refuses this user: a human must mend it

A transaction whose reply was lost is decided before `commit` returns (a token is read back), so callers see only
done, refused, or StoreUnreachable: then it may or may not have happened, and may even still happen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

ROOT = "/hactl/"


class StoreError(Exception):
    """The text is one sentence for the operator."""


class StoreUnreachable(StoreError):
    """No member answered within the time allowed."""


class Compacted(StoreError):
    """The revision asked for is compacted away."""


class LeaseLost(StoreError):
    """The lease expired or was revoked."""


class Denied(StoreError):
    """Wrong user, password, certificate or role."""


def service_key(service: str) -> str:
    """The spec, `primary` within it."""
    return f"{ROOT}services/{service}"


def host_key(host: str) -> str:
    """A host's spec."""
    return f"{ROOT}hosts/{host}"


def applied_key(kind: str, name: str) -> str:
    """The manifest as a file last said it, for the three-way apply; kind in small letters."""
    return f"{ROOT}applied/{kind}/{name}"


def session_key(host: str) -> str:
    """On a lease: this incarnation is alive."""
    return f"{ROOT}sessions/{host}"


def word_key(host: str) -> str:
    """What its session said last: written with it, kept when that goes. Whoever judges by it compares its revision."""
    return f"{ROOT}words/{host}"


def owner_key(service: str) -> str:
    """Who alone may hold the service's exclusive resources."""
    return f"{ROOT}owners/{service}"


def epoch_key(service: str) -> str:
    """The last epoch that was given, kept when the owner key is deleted: it must only ever go up."""
    return f"{ROOT}epochs/{service}"


def death_key(host: str, boot_id: str) -> str:
    """The proof that an incarnation holds nothing any more."""
    return f"{ROOT}deaths/{host}/{boot_id}"


def outdated_key(disk: str, host: str) -> str:
    """Since when that host's copy lacks writes."""
    return f"{ROOT}outdated/{disk}/{host}"


def status_key(service: str, host: str) -> str:
    """What that host last saw of the service."""
    return f"{ROOT}status/{service}/{host}"


def event_key(service: str, id: str) -> str:
    """What happened to the service; ids sort by time."""
    return f"{ROOT}events/{service}/{id}"


def audit_key(id: str) -> str:
    """Who changed what; ids sort by time."""
    return f"{ROOT}audit/{id}"


@dataclass(frozen=True)
class Entry:
    """A key as it stands. Revisions are etcd's mod_revision and create_revision."""

    key: str
    value: str
    revision: int
    created: int
    lease: int = 0


@dataclass(frozen=True)
class Listing:
    """A consistent read: the entries, sorted by key, and the store's revision at which they were all true."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True)
class Change:
    """One event of a watch; `entry` is None when the key was deleted (by a user, a transaction or its lease's end)."""

    key: str
    entry: Entry | None
    revision: int


@dataclass(frozen=True)
class Txn:
    """Compare, then write, all or nothing. `unchanged`: key -> mod revision it must still have, 0: must not exist.
    `puts`: key -> (value, lease id or 0). A key is named in at most one of puts and deletes."""

    unchanged: Mapping[str, int] = field(default_factory=dict)
    puts: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    deletes: tuple[str, ...] = ()

    def plus(self, other: Txn) -> Txn:
        """Both in one."""
        return Txn(
            {**self.unchanged, **other.unchanged}, {**self.puts, **other.puts}, tuple({*self.deletes, *other.deletes})
        )


class Store(Protocol):
    """What the loop and the commands need of etcd. All waits are bounded; seconds."""

    async def get(self, key: str) -> Entry | None:
        """Linearizable."""

    async def list(self, prefix: str) -> Listing:
        """Linearizable, all at one revision."""

    async def commit(self, txn: Txn) -> int | None:
        """The revision at which it was done; None when a comparison failed and nothing was written."""

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        """Every change of a key under `prefix` after revision `after`, in order, none twice, none missing;
        one tuple a revision or several whole revisions, an empty tuple as a sign of life now and then.
        It outlives lost members; raises Compacted or Denied, else goes on for ever."""

    async def grant(self, ttl: float) -> int:
        """A new lease's id (never 0)."""

    async def keep_alive(self, lease: int) -> float:
        """Renew it; the TTL it has again. Raises LeaseLost. What counts is when this call was *sent*."""

    async def revoke(self, lease: int) -> None:
        """End it and its keys; gone already: nothing."""

    async def close(self) -> None:
        """Let go of connections and tasks."""
