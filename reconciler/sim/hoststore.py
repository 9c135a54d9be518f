"""The Store as one agent has it: gone with the agent, silent while its host is frozen."""

from __future__ import annotations

from collections.abc import AsyncIterator

from reconciler.sim.machine import SimMachine
from reconciler.store import Change, Entry, Listing, Store, Txn


class HostStore:
    """`machine.tap` hears of each call once it is done and before its caller knows."""

    def __init__(self, store: Store, machine: SimMachine) -> None:
        self._store, self._machine = store, machine

    async def get(self, key: str) -> Entry | None:
        await self._machine.alive()
        found = await self._store.get(key)
        await self._told("get")
        return found

    async def list(self, prefix: str) -> Listing:
        await self._machine.alive()
        found = await self._store.list(prefix)
        await self._told("list")
        return found

    async def commit(self, txn: Txn) -> int | None:
        await self._machine.alive()
        revision = await self._store.commit(txn)
        await self._told("commit")
        return revision

    async def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        await self._machine.alive()
        async for changes in self._store.watch(prefix, after):
            await self._machine.alive()
            yield changes

    async def grant(self, ttl: float) -> int:
        await self._machine.alive()
        lease = await self._store.grant(ttl)
        await self._told("grant")
        return lease

    async def keep_alive(self, lease: int) -> float:
        await self._machine.alive()
        ttl = await self._store.keep_alive(lease)
        await self._told("keep_alive")
        return ttl

    async def revoke(self, lease: int) -> None:
        await self._machine.alive()
        await self._store.revoke(lease)
        await self._told("revoke")

    async def close(self) -> None:
        await self._store.close()

    async def _told(self, call: str) -> None:
        self._machine.tap(f"etcd {call}")
        await self._machine.alive()
