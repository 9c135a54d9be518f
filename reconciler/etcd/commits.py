"""Transactions that are applied at most once, whatever replies are lost; the outcome is known if etcd can be asked.

Each of ours also compares and writes one key of this process, the mark. So the same request can be sent again: a second
copy finds the mark changed and tells what the first one did, and a copy that comes late, from a member that had been
stopped, finds it changed too and does nothing. A refusal moves the mark as well: nothing of it is still under way.

The mark is on a lease that nobody renews, so that processes that are gone leave nothing behind; when it is gone, or
when an outcome was left open, it is made anew, which also voids whatever is still under way.
"""

from __future__ import annotations

import asyncio
import uuid

from aetcd.rpc import rpc_pb2

from reconciler.etcd.leases import grant
from reconciler.etcd.members import TOTAL, Members, deadline
from reconciler.store import LeaseLost, StoreUnreachable, Txn

MARKS = "/hactl-tokens/"  # not under /hactl/: nobody watches them
MARK_LIFE = 300.0
REFUSED = b" refused"


class Commits:
    """One process's transactions, one at a time."""

    def __init__(self, members: Members, client: str) -> None:
        self._members = members
        self._key = f"{MARKS}{client}/{uuid.uuid4().hex}".encode()
        self._mark = 0  # mod revision of the key, 0: not known
        self._count = 0
        self._lease = 0
        self._lock = asyncio.Lock()

    async def commit(self, txn: Txn) -> int | None:
        """See `Store.commit`."""
        until = deadline()
        try:
            async with asyncio.timeout_at(until):
                await self._lock.acquire()
        except TimeoutError as e:
            raise StoreUnreachable(f"etcd did not answer an earlier transaction within {TOTAL:g} s") from e
        try:
            while True:
                mark = self._mark or await self._make_mark(until)
                self._mark = 0  # whatever ends this call now leaves the outcome open
                decided, revision = await self._send(txn, mark, until)
                if decided:
                    return revision
        finally:
            self._lock.release()

    async def _send(self, txn: Txn, mark: int, until: float) -> tuple[bool, int | None]:
        """(Is it decided?, the revision). Not decided: nothing was or will be written, the mark must be made anew."""
        self._count += 1
        token = f"{self._count}".encode()
        request = _request(txn, self._key, mark, token)
        try:
            reply, sent = await self._members.ask(lambda member: member.kv.Txn, request, until)
        except LeaseLost as e:
            raise LeaseLost(
                "a lease that keys were to be written on expired or was revoked; nothing was written"
            ) from e
        if reply.succeeded:
            self._mark = reply.header.revision
            return True, self._mark
        inner = reply.responses[0].response_txn
        if inner.succeeded:
            self._mark = reply.header.revision
            return True, None
        found = inner.responses[0].response_range.kvs
        if found and found[0].value in (token, token + REFUSED):
            self._mark = found[0].mod_revision
            return True, self._mark if found[0].value == token else None
        if sent == 1:
            return False, None
        raise StoreUnreachable("the reply to a transaction was lost and etcd no longer knows what became of it")

    async def _make_mark(self, until: float) -> int:
        """Write the mark, whatever it was; its new revision. Harmless to repeat."""
        while True:
            self._lease = self._lease or await grant(self._members, MARK_LIFE, until)
            put = rpc_pb2.PutRequest(key=self._key, value=b"0", lease=self._lease)
            try:
                reply, _ = await self._members.ask(lambda member: member.kv.Put, put, until)
            except LeaseLost:
                self._lease = 0
                continue
            return int(reply.header.revision)


def _request(txn: Txn, key: bytes, mark: int, token: bytes) -> rpc_pb2.TxnRequest:
    marked = _unchanged(key, mark)
    puts = [
        rpc_pb2.PutRequest(key=name.encode(), value=value.encode(), lease=lease)
        for name, (value, lease) in sorted(txn.puts.items())
    ]
    return rpc_pb2.TxnRequest(
        compare=[marked, *(_unchanged(name.encode(), revision) for name, revision in sorted(txn.unchanged.items()))],
        success=[
            *(rpc_pb2.RequestOp(request_put=put) for put in puts),
            *(
                rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=name.encode()))
                for name in sorted(txn.deletes)
            ),
            _put_mark(key, token),
        ],
        failure=[
            rpc_pb2.RequestOp(
                request_txn=rpc_pb2.TxnRequest(
                    compare=[marked],
                    success=[_put_mark(key, token + REFUSED)],
                    failure=[rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key))],
                )
            )
        ],
    )


def _unchanged(key: bytes, revision: int) -> rpc_pb2.Compare:
    """A key that does not exist has mod revision 0."""
    return rpc_pb2.Compare(result=rpc_pb2.Compare.EQUAL, target=rpc_pb2.Compare.MOD, key=key, mod_revision=revision)


def _put_mark(key: bytes, value: bytes) -> rpc_pb2.RequestOp:
    """Keeps the lease it is on: were that named here, its end would look like the end of a caller's lease."""
    return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, ignore_lease=True))
