"""Leases: granted once though asked twice, and renewed only when the cluster's true leader says so."""

from __future__ import annotations

import asyncio
import math
import secrets

from aetcd.rpc import rpc_pb2

from reconciler.etcd.members import Attempt, Members, deadline
from reconciler.etcd.refusals import LeaseExists
from reconciler.store import ROOT, LeaseLost


async def grant(members: Members, ttl: float, until: float | None = None) -> int:
    """A new lease of at least `ttl` seconds (etcd knows whole ones). We choose its id, so asking again is harmless:
    that it exists already then means that it was granted."""
    until = until or deadline()
    while True:
        lease = secrets.randbits(62) + 1
        request = rpc_pb2.LeaseGrantRequest(TTL=math.ceil(ttl), ID=lease)
        try:
            await members.ask(lambda member: member.lease.LeaseGrant, request, until)
        except LeaseExists:
            # Another's lease by a number of 62 random bits is not to be expected; our own lost reply is.
            return lease
        return lease


async def keep_alive(members: Members, lease: int) -> float:
    """Renew; the TTL in seconds. Raises LeaseLost.

    A leader that was cut off goes on confirming renewals which the cluster has never seen. So it counts only
    between two linearizable reads at the same member and in the same raft term: the leader of that term then had its
    majority before and after. A TTL of 0 says the lease is no more; it is believed the second time, since a
    leader may lag behind a follower that has just applied the grant.
    """
    until, missing = deadline(), 0

    async def job(attempt: Attempt) -> tuple[bool, int]:
        before = await _term(attempt)
        request = rpc_pb2.LeaseKeepAliveRequest(ID=lease)
        reply = await attempt.exchange(attempt.member.lease.LeaseKeepAlive, request)
        return before == await _term(attempt), reply.TTL

    while missing < 2:
        (proven, ttl), _ = await members.attempt(job, until)
        if proven and ttl > 0:
            return float(ttl)
        missing += proven
        await asyncio.sleep(0.02)
    raise LeaseLost("the lease expired or was revoked")


async def _term(attempt: Attempt) -> int:
    """The raft term in which the member has just done a linearizable read."""
    request = rpc_pb2.RangeRequest(key=ROOT.encode(), count_only=True)
    return int((await attempt.unary(attempt.member.kv.Range, request)).header.raft_term)


async def revoke(members: Members, lease: int) -> None:
    """End it and its keys; gone already: nothing."""
    try:
        await members.ask(lambda member: member.lease.LeaseRevoke, rpc_pb2.LeaseRevokeRequest(ID=lease))
    except LeaseLost:
        return
