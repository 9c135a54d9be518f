"""Publish: what this host says to etcd of its services. Statuses only when they change, events as they come.

A task of its own: no pass waits for etcd. While etcd is away, the last status of each service and the last events wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta

from loguru import logger

from reconciler.counts import Counts
from reconciler.mirror import Mirror
from reconciler.records import Event, Progress, Status, as_id, stamp
from reconciler.store import Store, StoreError, Txn, event_key, status_key
from resources.machine import Machine

EVENTS_LAST = timedelta(days=7).total_seconds()
AUDIT_LASTS = timedelta(days=365).total_seconds()
KEPT_EVENTS = 1000  # while etcd is away
AT_ONCE = 50  # keys in one transaction; etcd's limit is 128 operations


class Leases:
    """Long leases for what is to vanish by itself, shared by all that is written within a tenth of their length."""

    def __init__(self, store: Store, machine: Machine) -> None:
        self._store, self._machine = store, machine
        self._granted: dict[float, tuple[int, float]] = {}

    async def get(self, seconds: float) -> int:
        """A lease that lasts at least 9/10 of `seconds`."""
        lease, since = self._granted.get(seconds, (0, 0.0))
        if not lease or self._machine.monotonic() - since > seconds / 10:
            since = self._machine.monotonic()
            lease = await self._store.grant(seconds)
            self._granted[seconds] = (lease, since)
        return lease


class Publisher:
    """Takes what the workers say and writes it."""

    def __init__(self, store: Store, machine: Machine, mirror: Mirror) -> None:
        self._store, self._machine, self._mirror = store, machine, mirror
        self.leases = Leases(store, machine)
        self.counts = Counts()
        self._said: dict[str, Status] = {}
        self._unwritten: dict[str, Status | None] = {}
        self._events: deque[tuple[str, str, Event]] = deque(maxlen=KEPT_EVENTS)
        self._wake = asyncio.Event()
        self._count = 0

    def status(self, service: str, status: Status, progress: Progress | None = None) -> None:
        """Say it, if it is new. `since` is kept as long as the state stays."""
        before = self._said.get(service) or self._mirror.status(service, self._machine.host)
        same = before is not None and (before.state, before.role) == (status.state, status.role)
        since = before.since if same and before is not None else stamp(self._machine.utc())
        status = status.model_copy(update={"since": since, "progress": progress})
        if status == before and not self._lost(service):
            return
        if not same:
            logger.bind(service=service).info("{}: {} {}", service, status.state, status.reason)
        self._said[service] = status
        self._unwritten[service] = status
        self._wake.set()

    def said(self, service: str) -> Status | None:
        """What this agent last said of it, written or not."""
        return self._said.get(service)

    def _lost(self, service: str) -> bool:
        """Does etcd say something else? A dead predecessor's words were still on their way."""
        there = self._mirror.status(service, self._machine.host)
        return service in self._said and service not in self._unwritten and there not in (None, self._said[service])

    def progress(self, service: str, progress: Progress) -> None:
        """A pass is under way."""
        if status := self._said.get(service):
            self.status(service, status, progress)

    def forget(self, service: str) -> None:
        """The service is gone: its status here must not stay behind, nor come after, being on its way just now."""
        self.counts.forget(service)
        if self._said.pop(service, None) is not None:
            self._unwritten[service] = None
            self._wake.set()

    def happened(self, service: str, text: str, why: str) -> None:
        """A decision of the agent's about a service, between two looks at it."""
        now = stamp(self._machine.utc())
        self.event(service, Event(at=now, host=self._machine.host, kind="decision", text=text, reason=why))

    def event(self, service: str, event: Event) -> None:
        """Say that something happened; logged at once, written soon."""
        level = {"failed": "WARNING", "drift": "WARNING"}.get(event.kind, "INFO")
        seconds = f" ({event.seconds:.1f} s)" if event.seconds is not None else ""
        because = f": {event.reason}" if event.reason else ""
        fields = event.model_dump(exclude_none=True, exclude={"at", "text"})
        logger.bind(service=service, **fields).log(level, "{}: {}{}{}", service, event.text, seconds, because)
        self.counts.events[service, event.kind] += 1
        self._count += 1
        id = f"{as_id(event.at)}-{self._machine.host}-{self._count % 10000:04}"
        self._events.append((service, id, event))
        self._wake.set()

    async def run(self) -> None:
        """Write what is unwritten, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._write()
            except StoreError as e:
                logger.warning("status and events wait for etcd: {}", e)
                await self._machine.sleep(1.0)
                self._wake.set()

    async def flush(self) -> None:
        """Write what is left, once: the agent is about to stop."""
        await self._write()

    async def _write(self) -> None:
        while self._unwritten or self._events:
            statuses = dict(list(self._unwritten.items())[:AT_ONCE])
            events = [self._events[i] for i in range(min(AT_ONCE, len(self._events)))]
            lease = await self.leases.get(EVENTS_LAST) if events else 0
            host = self._machine.host
            puts = {status_key(name, host): (status.line(), 0) for name, status in statuses.items() if status}
            puts |= {event_key(name, id): (event.line(), lease) for name, id, event in events}
            gone = tuple(status_key(name, host) for name, status in statuses.items() if status is None)
            await self._store.commit(Txn({}, puts, gone))
            for name, status in statuses.items():
                if self._unwritten.get(name, ...) is status:
                    del self._unwritten[name]
            for one in events:
                if self._events and self._events[0] is one:
                    self._events.popleft()
