"""The session: a leased key that says "this incarnation is alive", and this agent's own deadline.

The deadline counts from the *sending* of the last renewal that etcd confirmed, plus the lease, minus a margin: by the
time others may see the key gone, this agent has known for a while. Renewal is a task of its own that no pass can block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from reconciler.records import Session, stamp
from reconciler.store import LeaseLost, Store, StoreError, Txn, death_key, session_key
from resources.machine import Machine


@dataclass(frozen=True)
class Options:
    """How an agent is run. `lease`, `resync`: seconds."""

    lease: float = 15.0
    resync: float = 30.0
    version: str = "0.1.0"

    @property
    def margin(self) -> float:
        """How long before the lease's end this agent stops believing in it."""
        return max(1.0, self.lease / 5)


class SessionKeeper:
    """Holds the session; `begin` once the agent has put down what it does not own."""

    def __init__(self, store: Store, machine: Machine, options: Options, changed: Callable[[], None]) -> None:
        self._store, self._machine, self._options, self._changed = store, machine, options, changed
        self._lease = 0
        self._deadline = 0.0
        self.revision = 0  # of the session key, for transactions to compare; 0: no session

    @property
    def connected(self) -> bool:
        """Does the session surely still stand?"""
        return bool(self.revision) and self._machine.monotonic() < self._deadline

    async def run(self) -> None:
        """Begin and renew, begin again when the lease was lost, for ever."""
        while True:
            try:
                await self._begin()
                await self._renew()
            except LeaseLost:
                logger.warning("the session's lease was lost; beginning a new one")
            except StoreError as e:
                logger.warning("no session: {}", e)
            self.revision = 0
            self._changed()
            await self._machine.sleep(1.0)

    async def _begin(self) -> None:
        """A new lease and, in one transaction, the key on it; records of this host's own deaths go, being history."""
        machine = self._machine
        sent = machine.monotonic()
        self._lease = await self._store.grant(self._options.lease)
        session = Session(
            host=machine.host,
            boot_id=machine.boot_id,
            version=self._options.version,
            lease=self._options.lease,
            since=stamp(machine.utc()),
        )
        deaths = await self._store.list(death_key(machine.host, ""))
        txn = Txn(
            {entry.key: entry.revision for entry in deaths.entries if not entry.key.endswith(f"/{machine.boot_id}")},
            {session_key(machine.host): (session.line(), self._lease)},
            tuple(entry.key for entry in deaths.entries if not entry.key.endswith(f"/{machine.boot_id}")),
        )
        revision = await self._store.commit(txn)
        if revision is None:
            raise StoreError("the records of this host's deaths changed meanwhile")
        self._deadline = sent + self._options.lease - self._options.margin
        self.revision = revision
        logger.info("session begun, lease {} s", self._options.lease)
        self._changed()

    async def _renew(self) -> None:
        """A third of the lease between renewals; a failed one is tried again at once."""
        machine, lease = self._machine, self._options.lease
        while True:
            await machine.sleep(lease / 3)
            sent = machine.monotonic()
            try:
                await self._store.keep_alive(self._lease)
            except LeaseLost:
                raise
            except StoreError as e:
                logger.warning("the session could not be renewed: {}", e)
                if not self.connected:
                    self._changed()
                await machine.sleep(0.5)
                continue
            was_connected = self.connected
            self._deadline = sent + lease - self._options.margin
            if not was_connected:
                self._changed()

    async def end(self) -> None:
        """Say that this agent has gone on purpose. What it owns stays its own: the owner keys are not leased."""
        if self._lease:
            try:
                async with asyncio.timeout(2):
                    await self._store.revoke(self._lease)
            except (StoreError, TimeoutError) as e:
                logger.info("the session ends with its lease instead: {}", e)
