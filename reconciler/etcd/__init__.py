"""The real Store: etcd 3.4, 3.5 or 3.6, through aetcd's generated stubs on our own channels.

Only `reconciler.cli` imports it.

    members.py   one channel an endpoint; attempts, deadlines, rotation, users        every call goes through here
    refusals.py  what an error of etcd means: try another member, or say a sentence
    commits.py   transactions that are applied at most once, whatever replies are lost
    leases.py    grant, keep alive, revoke
    watches.py   watches that outlive the member they were opened at

What etcd and its Python clients do when members die was measured first: docs/etcd-clients and docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from aetcd.rpc import rpc_pb2

from reconciler.etcd import leases
from reconciler.etcd.commits import Commits
from reconciler.etcd.members import Members, Tls
from reconciler.etcd.watches import entry_of, prefix_end, watch
from reconciler.store import Change, Entry, Listing, Txn

__all__ = ["Etcd", "Tls"]


class Etcd:
    """A `Store`. Make it inside a running loop; `close` it in the same one."""

    def __init__(
        self, endpoints: Sequence[str], *, tls: Tls | None = None, user: str = "", password: str = "", client: str
    ) -> None:
        """`endpoints`: http://192.0.2.1:2379 or https://…, all of one kind; `client`: who this is, in a token's key.

        With a user, its role needs readwrite on the prefixes /hactl/ and /hactl-tokens/. Raises StoreError when
        an endpoint is none, a file of `tls` cannot be read, or a password would go over the wire in the clear.
        """
        self._members = Members(endpoints, tls, user, password)
        self._commits = Commits(self._members, client)

    async def get(self, key: str) -> Entry | None:
        reply, _ = await self._members.ask(lambda member: member.kv.Range, rpc_pb2.RangeRequest(key=key.encode()))
        return entry_of(reply.kvs[0]) if reply.kvs else None

    async def list(self, prefix: str) -> Listing:
        request = rpc_pb2.RangeRequest(key=prefix.encode(), range_end=prefix_end(prefix))
        reply, _ = await self._members.ask(lambda member: member.kv.Range, request)
        return Listing(tuple(entry_of(kv) for kv in reply.kvs), reply.header.revision)

    async def commit(self, txn: Txn) -> int | None:
        return await self._commits.commit(txn)

    def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        return watch(self._members, prefix, after)

    async def grant(self, ttl: float) -> int:
        return await leases.grant(self._members, ttl)

    async def keep_alive(self, lease: int) -> float:
        return await leases.keep_alive(self._members, lease)

    async def revoke(self, lease: int) -> None:
        await leases.revoke(self._members, lease)

    async def close(self) -> None:
        await self._members.close()
