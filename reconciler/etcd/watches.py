"""Watches that outlive the member they were opened at: nothing lost, nothing twice.

A stream is taken up again where the last *delivered* change ended, never at a revision from a header or a progress
reply: those may run ahead of changes still to come. It is opened at that revision and not after it, so that etcd says
"compacted" even when the compaction is just one further: a deletion at the compacted revision itself would be missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import grpc
from aetcd.rpc import kv_pb2, rpc_pb2
from grpc.aio import AioRpcError
from loguru import logger

from reconciler.etcd.members import Member, Members, deadline
from reconciler.etcd.refusals import Gone, is_passing, is_stale, refusal, text_of
from reconciler.store import Change, Compacted, Denied, Entry, StoreError, StoreUnreachable

HEARTBEAT = 2.0
SILENCE = 5.0  # a stopped member, a lost route and an expired token all look like this
LEADER = ("hasleader", "true")  # else a member without a leader keeps the stream open and says nothing for ever


async def watch(members: Members, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
    """See `Store.watch`."""
    delivered, denied = after, 0
    while True:
        member = members.current
        try:
            async with aclosing(_stream(members, member, prefix, delivered)) as batches:
                async for changes in batches:
                    denied = 0
                    fresh = tuple(change for change in changes if change.revision > delivered)
                    if fresh:
                        delivered = fresh[-1].revision
                    yield fresh
        except Denied:
            # etcd 3.4 says "permission denied" of an expired token too: believed when a new one does not help.
            members.forget_token()
            denied += 1
            if denied > 1 or not members.has_user:
                raise
        except (StoreUnreachable, Gone) as e:
            if members.closed:
                raise
            logger.debug("watch of {} at {}: {}; going on elsewhere", prefix, member.endpoint, e)
            members.leave(member)
        except asyncio.CancelledError:
            members.raise_if_closed()
            raise
        await asyncio.sleep(0.1)


async def _stream(
    members: Members, member: Member, prefix: str, delivered: int
) -> AsyncGenerator[tuple[Change, ...], None]:
    """One stream at one member, until it breaks: Gone, or what etcd says."""
    metadata = (*await members.metadata(deadline()), LEADER)
    if members.closed:
        raise StoreUnreachable("the connection to etcd was closed")
    call = member.watch.Watch(metadata=metadata)
    beat = asyncio.create_task(_beat(call, _create(prefix, delivered)))
    members.tasks.add(beat)
    held: list[Change] = []
    try:
        while True:
            reply = await _read(call)
            _check(reply)
            held += [_change(event) for event in reply.events]
            if not reply.fragment:  # else the rest of the last revision is still to come
                yield tuple(held)
                held = []
    finally:
        call.cancel()
        beat.cancel()
        await asyncio.gather(beat, return_exceptions=True)
        members.tasks.discard(beat)


async def _read(call: Any) -> Any:
    """The next reply. Raises Gone."""
    try:
        async with asyncio.timeout(SILENCE):
            reply = await call.read()
    except TimeoutError as e:
        raise Gone(f"silent for {SILENCE:g} s") from e
    except AioRpcError as e:
        if is_passing(e) or is_stale(text_of(e)):
            raise Gone(text_of(e)) from e
        raise refusal(text_of(e)) from e
    if reply is grpc.aio.EOF:
        raise Gone("the stream ended")
    return reply


async def _beat(call: Any, create: Any) -> None:
    """Open the watch, then ask for a sign of life again and again; what breaks is seen by the reader."""
    with suppress(AioRpcError, asyncio.InvalidStateError):
        await call.write(create)
        while True:
            await asyncio.sleep(HEARTBEAT)
            await call.write(rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest()))


def _create(prefix: str, delivered: int) -> Any:
    return rpc_pb2.WatchRequest(
        create_request=rpc_pb2.WatchCreateRequest(
            key=prefix.encode(), range_end=prefix_end(prefix), start_revision=max(delivered, 1), fragment=True
        )
    )


def _check(reply: Any) -> None:
    """Raises what a cancelled watch means."""
    if not reply.canceled:
        return
    if reply.compact_revision:
        raise Compacted(f"the watch's past is compacted away up to revision {reply.compact_revision}")
    error = refusal(reply.cancel_reason or "the watch was cancelled")
    raise error if isinstance(error, Denied) else StoreError(f"etcd ended the watch: {error}")


def _change(event: Any) -> Change:
    entry = None if event.type == kv_pb2.Event.DELETE else entry_of(event.kv)
    return Change(_text(event.kv.key), entry, event.kv.mod_revision)


def entry_of(kv: Any) -> Entry:
    """etcd's KeyValue in our words."""
    return Entry(_text(kv.key), _text(kv.value), kv.mod_revision, kv.create_revision, kv.lease)


def _text(octets: bytes) -> str:
    """What is not UTF-8 was written by a stranger: kept readable, refused where it is parsed."""
    return octets.decode(errors="replace")


def prefix_end(prefix: str) -> bytes:
    """The first key after all that begin with `prefix`, which ends with an ordinary character."""
    octets = prefix.encode()
    return octets[:-1] + bytes([octets[-1] + 1])
