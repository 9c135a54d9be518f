"""The session: a leased key that says "this incarnation is alive", and this agent's own deadline.

The deadline counts from the *sending* of the last renewal that etcd confirmed, plus the lease, minus a margin: by the
time others may see the key gone, this agent has known for a while. Renewal is a task of its own that no pass can block.

The session's value also says whether a watchdog guards this host (`reconciler.guard`) and for which services: armed
before it is said, and disarmed only after it is said no more; and whom this agent asks for promises
(`reconciler.failsafe`): none but those may prove its death by watchdog.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loguru import logger

from reconciler.guard import Guard
from reconciler.records import Death, Session, parse, stamp
from reconciler.store import LeaseLost, Listing, Store, StoreError, Txn, death_key, session_key, word_key
from resources.machine import Machine

PROMISERS = "/run/hactl/promisers"  # whom the session may name, for the next agent of this boot
GUARDS = "/run/hactl/guarded"  # and the services that it may say to be guarded
EXPIRED = 0.25  # seconds between looks whether it is safe again
STARTING = 5.0  # seconds in which a new agent may get its first session before what it found counts as unsafe


@dataclass(frozen=True)
class Options:
    """How an agent is run. `lease`, `resync`, `watchdog_seconds`: seconds; `watchdog`: a device, "" for none;
    `failsafe_port`: where agents ask each other for promises, with the key in `key_file`; `shutdown`: seconds that what
    is automatic has to move away when the host is shut down, 0: it does not."""

    lease: float = 15.0
    resync: float = 30.0
    watchdog: str = ""
    watchdog_seconds: float = 30.0
    failsafe_port: int = 7717
    key_file: str = "/etc/hactl/cluster.key"
    shutdown: float = 60.0
    version: str = "0.1.0"

    @property
    def margin(self) -> float:
        """How long before the lease's end this agent stops believing in it."""
        return max(1.0, self.lease / 5)

    @property
    def safe_for(self) -> float:
        """Seconds from the sending of a renewal, or of a question for promises, for which this agent trusts in it."""
        return self.lease - self.margin


@dataclass(frozen=True)
class Asks:
    """What the session must know of the rest of the agent."""

    guarded: Callable[[], tuple[str, ...]]  # the `automatic` services of this host's concern
    gives_up: Callable[[], None]  # every epoch that this agent holds is another's to take by now
    empty: Callable[[Death | None], bool]  # did the last look find nothing exclusive here (of what a death is about)?
    changed: Callable[[], None]  # look again at all services
    promisers: Callable[[], tuple[str, ...]] = tuple  # who is asked for promises
    lacks: Callable[[], tuple[str, ...]] = tuple  # what this host should have and has not, in sentences


class SessionKeeper:
    """Holds the session; `run` it once the agent has put down what it does not own."""

    def __init__(self, store: Store, machine: Machine, options: Options, guard: Guard, asks: Asks) -> None:
        self._store, self._machine, self._options, self._guard, self._asks = store, machine, options, guard, asks
        self._lease = 0
        self._deadline = 0.0
        self._promised = 0.0
        self._started = machine.monotonic()
        self._session: Session | None = None
        self.renewed = machine.monotonic()  # when the last renewal that etcd confirmed was sent
        self.promisers = self._noted(PROMISERS)  # all whom a word of ours that may stand in etcd names
        self.guards = self._noted(GUARDS)  # all services that such a word counts as automatic
        self.revision = 0  # of the session key, for transactions to compare; 0: no session
        self.begun = 0  # its revision when the session began; 0: this process has had none
        self.counted = frozenset[str]()  # the services that counted as automatic when it was last thought of
        self._due = asyncio.Event()  # what the session should say has changed: renewed now, not at its time

    @property
    def connected(self) -> bool:
        """Does the session surely still stand?"""
        return bool(self.revision) and self._machine.monotonic() < self._deadline

    @property
    def lease(self) -> float:
        """Seconds."""
        return self._options.lease

    @property
    def left(self) -> float:
        """Seconds until the session may not be believed in any more, unless it is renewed."""
        return max(0.0, self._deadline - self._machine.monotonic()) if self.revision else 0.0

    @property
    def safe_until(self) -> float:
        """Until when (monotonic) nobody may take an `automatic` service from this host."""
        if not self.begun:
            return max(self._guard.noted or self._started + STARTING, self._promised)
        return max(self._deadline if self.revision else 0.0, self._promised)

    @property
    def safe(self) -> bool:
        return self._machine.monotonic() < self.safe_until

    @property
    def kept(self) -> bool:
        """Is it by promises alone that nobody takes over now?"""
        return not self.connected and self.by_promise

    @property
    def by_promise(self) -> bool:
        """Has everyone who could take over promised not to now?"""
        return self._machine.monotonic() < self._promised

    def promised(self, until: float) -> None:
        """Every host that could take over has promised not to before then (failsafe)."""
        if not self.safe:
            return  # too late: what it was to keep may be taken, and the watchdog be disarmed, by now
        self._promised = max(self._promised, until)
        self._guard.promise(self.safe_until)

    def look(self) -> None:
        """A service became `automatic`, or is so no more: said at once. Before it is, nothing proves this host dead,
        should it die, and nobody takes over."""
        if self._options.watchdog:
            self._due.set()

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
            self.revision, self._deadline = 0, 0.0
            self._asks.changed()
            await self._machine.sleep(1.0)

    async def expire(self) -> None:
        """Have all services looked at as soon as it is not safe any more, whatever keeps the renewal. For ever."""
        while True:
            left = self.safe_until - self._machine.monotonic()
            await self._machine.sleep(max(left, 0.0) + 0.001 if left > 0 else EXPIRED)
            if left > 0 and not self.safe:
                self._asks.changed()

    async def _begin(self) -> None:
        """A new lease and, in one transaction, the key on it; records of this host's own deaths go, being history."""
        machine = self._machine
        guards = self._asks.guarded()
        # One that a predecessor left and that is overdue is not petted before this session stands, nor is it promised.
        watchdog = await self._guard.arm() if guards and not self._guard.overdue else 0.0
        sent = machine.monotonic()
        self._lease = await self._store.grant(self._options.lease)
        session = Session(
            host=machine.host,
            boot_id=machine.boot_id,
            version=self._options.version,
            lease=self._options.lease,
            since=stamp(machine.utc()),
            **self._words(watchdog),
        )
        self._saying(session)
        # Compared, so that an earlier attempt whose answer was lost cannot put the key on its own lease later.
        standing = await self._store.get(session_key(machine.host))
        still = Txn({session_key(machine.host): standing.revision if standing else 0})
        past = self._past(await self._store.list(death_key(machine.host, "")))
        revision = await self._store.commit(past.plus(still).plus(self._word(session)))
        if revision is None:
            raise StoreError("this host's session or the records of its deaths changed meanwhile")
        self._session, self.revision = session, revision
        self._said(session)
        await self._keep_guard(sent)
        self.begun = revision
        self._confirmed(sent)
        logger.info("session begun, lease {:g} s, watchdog {:g} s", self._options.lease, self._session.watchdog)
        self._asks.changed()

    def _word(self, session: Session) -> Txn:
        """The session's key, and beside it what is left of it when that is gone."""
        host = self._machine.host
        return Txn({}, {session_key(host): (session.line(), self._lease), word_key(host): (session.line(), 0)})

    def _past(self, deaths: Listing) -> Txn:
        """Take the records of this host's deaths away. One of this very incarnation stays until nothing is held that
        another host may be taking: it must not be taken for alive before. Raises StoreError."""
        own = death_key(self._machine.host, self._machine.boot_id)
        if any(entry.key == own and not self._asks.empty(parse(Death, entry.value)) for entry in deaths.entries):
            raise StoreError("this host was declared dead while it ran; it first puts down all that it holds")
        if any(entry.key == own for entry in deaths.entries):
            self._asks.gives_up()
        unchanged = {entry.key: entry.revision for entry in deaths.entries}
        return Txn({own: 0, **unchanged}, {}, tuple(unchanged))

    def _confirmed(self, sent: float) -> None:
        self.renewed = sent
        self._deadline = sent + self._options.safe_for
        self._guard.promise(self.safe_until)

    async def _renew(self) -> None:
        """A third of the lease between renewals; a failed one is tried again at once."""
        machine, lease = self._machine, self._options.lease
        while True:
            await self._until_due(max(0.0, self.renewed + lease / 3 - machine.monotonic()))
            sent = machine.monotonic()
            try:
                await self._store.keep_alive(self._lease)
                await self._check_key()
                was_connected = self.connected
                await self._keep_guard(sent)
            except LeaseLost:
                raise
            except StoreError as e:
                logger.warning("the session could not be renewed: {}", e)
                if not self.connected:
                    self._asks.changed()
                await machine.sleep(0.5)
                continue
            self._confirmed(sent)
            if not was_connected:
                self._asks.changed()

    async def _until_due(self, seconds: float) -> None:
        """Or until there is something to say."""
        naps = [asyncio.ensure_future(self._machine.sleep(seconds)), asyncio.ensure_future(self._due.wait())]
        try:
            done, _ = await asyncio.wait(naps, return_when=asyncio.FIRST_COMPLETED)
            for nap in done:
                nap.result()
        finally:
            for nap in naps:
                nap.cancel()
        self._due.clear()

    async def _check_key(self) -> None:
        """A lease that is renewed guards nothing if the key is not on it. Raises LeaseLost, StoreError."""
        entry = await self._store.get(session_key(self._machine.host))
        if entry is None or entry.revision != self.revision:
            raise LeaseLost("the session's key is no longer ours")

    async def _keep_guard(self, sent: float) -> None:
        """What the session says of the watchdog, made true: armed before it says so, disarmed after it does not.

        It is petted by this renewal before it is armed, so that the guard does not disarm it meanwhile.
        """
        self._guard.promise(max(sent + self._options.safe_for, self._promised))
        if self._asks.guarded():
            await self._say(await self._guard.arm())
        else:
            await self._say(0.0)
            await self._guard.disarm()

    async def _say(self, watchdog: float) -> None:
        """Change the session's value, if it is new. Raises StoreError."""
        assert self._session is not None
        key = session_key(self._machine.host)
        session = self._session.model_copy(update=self._words(watchdog))
        if session == self._session:
            return
        self._saying(session)
        revision = await self._store.commit(Txn({key: self.revision}).plus(self._word(session)))
        if revision is None:
            raise LeaseLost("the session's key is no longer ours")
        self._session, self.revision = session, revision
        self._said(session)

    def _words(self, watchdog: float) -> dict[str, Any]:
        trouble = (self._guard.trouble,) if self._guard.trouble else ()
        guarded = self._asks.guarded()
        self.counted = frozenset(guarded)
        return {
            "watchdog": watchdog,
            "guards": guarded if watchdog else (),
            "promisers": self._asks.promisers(),
            "lacks": (*trouble, *self._asks.lacks()),
        }

    def _saying(self, session: Session) -> None:
        """Until it is confirmed, the earlier word may stand, or this one."""
        self._note(self.promisers | set(session.promisers), self.guards | set(session.guards))

    def _said(self, session: Session) -> None:
        self._note(frozenset(session.promisers), frozenset(session.guards))

    def _note(self, promisers: frozenset[str], guards: frozenset[str]) -> None:
        for path, names, before in ((PROMISERS, promisers, self.promisers), (GUARDS, guards, self.guards)):
            if names != before:
                self._machine.write(path, json.dumps(sorted(names)))
        self.promisers, self.guards = promisers, guards

    def _noted(self, path: str) -> frozenset[str]:
        try:
            return frozenset(str(name) for name in json.loads(self._machine.read(path) or "[]"))
        except (ValueError, TypeError):
            return frozenset()

    async def end(self) -> None:
        """Say that this agent has gone on purpose. What it owns stays its own: the owner keys are not leased.

        The watchdog is disarmed between saying 0 and revoking; where etcd cannot be told it stays armed, unless nothing
        is held: then only a new agent can keep this host from being reset.
        """
        try:
            async with asyncio.timeout(3):
                if self._session is not None and self.revision and self._session.watchdog:
                    await self._say(0.0)
                    await self._guard.disarm()
                if self._lease:
                    await self._store.revoke(self._lease)
        except (StoreError, TimeoutError) as e:
            logger.info("the session ends with its lease instead: {}", e)
            if self._guard.armed and self._asks.empty(None):
                await self._guard.disarm()
        if self._guard.armed:
            logger.warning(
                "the watchdog stays armed: this host is reset in {:g} s without an agent", self._guard.seconds
            )
