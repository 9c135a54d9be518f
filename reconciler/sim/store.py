"""The simulated etcd on virtual time: members that fail, requests and replies on their way, clients that are Stores.

A request that was sent arrives whatever becomes of its sender; at a stopped member it waits until that goes on. A
client tries one member after another as the real one does (`reconciler.etcd.members`), and what it sends again is
applied once: callers see what the real Store lets them see, an outcome that stays unknown included.

Faults: `member` (killed, stopped, up), `reach` (a host's LAN), `deafen` (a client's replies are lost), `slow`, `lag`,
`loss`, `break_watches`, `compact`. The same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, TypeVar

from reconciler.sim.keys import Keys
from reconciler.store import Change, Entry, Listing, StoreError, StoreUnreachable, Txn

T = TypeVar("T")
State = Literal["up", "stopped", "killed"]

TRIP = 0.001  # seconds to a member or back, between half and one and a half times as long
ATTEMPT, TOTAL = 1.0, 10.0  # seconds of one try at one member, doubled each round, and of a call
HEARTBEAT, SILENCE = 2.0, 5.0  # seconds between a watch's signs of life, and until it is given up without one
ELECTION = (1.0, 2.5)  # seconds without a leader
EXPIRES_LATE = 0.5  # seconds: leases are looked at twice a second


class SimEtcd:
    """The cluster. `on_commit` is called after each change of its keys."""

    def __init__(self, seed: int, members: Sequence[str] = ("member1", "member2", "member3")) -> None:
        self.keys = Keys()
        self.on_commit: Callable[[], None] = lambda: None
        self.slow = 0.0  # seconds more for each request, half of them on the way back
        self.lag = 0.01  # seconds that a watch may be behind, at most
        self.loss = 0.0  # chance that a reply is lost
        self.streams = 0  # counts what breaks all open watches
        self.woken: list[asyncio.Event] = []
        self.chance = random.Random(f"{seed}/etcd")
        self._seed, self._clients, self._leases = seed, 0, 0
        self._states: dict[str, State] = dict.fromkeys(members, "up")
        self._held: dict[str, list[Callable[[], None]]] = {name: [] for name in members}
        self._cut: set[str] = set()
        self._deaf: set[str] = set()
        self._leader: str | None = members[0]
        self._election: asyncio.TimerHandle | None = None

    def client(self, name: str, first: int | None = None) -> SimStore:
        """A Store for a process on that host. `first`: the member it tries first, by default any."""
        self._clients += 1
        return SimStore(self, name, f"{self._seed}/{name}/{self._clients}", first)

    def value(self, key: str) -> str | None:
        """What stands there now, for the rules: no call, no time."""
        found = self.keys.entries.get(key)
        return found.value if found else None

    # -- faults ------------------------------------------------------------------------------------------------------

    def reach(self, host: str, up: bool) -> None:
        """Its LAN: the clients on it, and the member that it runs, are cut off or back."""
        (self._cut.discard if up else self._cut.add)(host)
        self._look()

    def member(self, name: str, state: State) -> None:
        """Killed: connections are refused; stopped: silent, and what arrives meanwhile is done once it is up."""
        self._states[name] = state
        held, self._held[name] = (self._held[name], []) if state != "stopped" else ([], self._held[name])
        self._look()
        if state == "up":
            for arrive in held:
                arrive()

    def deafen(self, client: str, deaf: bool = True) -> None:
        """What it asks for is done, and no reply reaches it."""
        (self._deaf.add if deaf else self._deaf.discard)(client)
        self._wake()

    def break_watches(self) -> None:
        """All that are open now, without a word; they are taken up again."""
        self.streams += 1
        self._wake()

    def compact(self, revision: int | None = None) -> None:
        """Up to then, or to now."""
        self.keys.compact(self.keys.revision if revision is None else revision)

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(self._states)

    @property
    def leader(self) -> str | None:
        """None during an election and without a quorum."""
        return self._leader

    def _healthy(self) -> list[str]:
        return [name for name, state in self._states.items() if state == "up" and name not in self._cut]

    def _look(self) -> None:
        """Is there a leader, or must one be elected?"""
        healthy = self._healthy()
        quorum = len(healthy) > len(self._states) // 2
        if not quorum or self._leader not in healthy:
            self._leader = None
        if not quorum and self._election is not None:
            self._election.cancel()
            self._election = None
        if quorum and self._leader is None and self._election is None:
            self._election = asyncio.get_running_loop().call_later(self.chance.uniform(*ELECTION), self._elect)
        self._wake()

    def _elect(self) -> None:
        self._election = None
        self._leader = self.chance.choice(self._healthy())
        self.keys.renew_all(asyncio.get_running_loop().time())
        self._wake()

    # -- what clients meet -------------------------------------------------------------------------------------------

    def hears(self, client: str) -> bool:
        """Do replies get through to it?"""
        return client not in self._cut and client not in self._deaf

    def refuses(self, client: str, member: str) -> bool:
        """A killed member's host answers at once that nobody listens."""
        return self._states[member] == "killed" and client not in self._cut and member not in self._cut

    def serves(self, client: str, member: str) -> bool:
        """Would a request be done there now?"""
        return client not in self._cut and member in self._healthy() and self._leader is not None

    def arrives(self, client: str, member: str, request: Callable[[], None]) -> None:
        """A request is there: done, held while the member is stopped, or lost."""
        if self._states[member] == "stopped" and client not in self._cut:
            self._held[member].append(lambda: self.arrives(client, member, request))
        elif self.serves(client, member):
            request()

    def changes(self, doing: Callable[[], T]) -> T:
        """Do something that may change keys; watches and rules hear of it."""
        before = self.keys.revision
        done = doing()
        if self.keys.revision != before:
            self._wake()
            self.on_commit()
        return done

    def _wake(self) -> None:
        for event in self.woken:
            event.set()

    # -- leases ------------------------------------------------------------------------------------------------------

    def new_lease(self) -> int:
        """A number; `grant` makes it one."""
        self._leases += 1
        return self._leases

    def grant(self, lease: int, ttl: float) -> int:
        if lease not in self.keys.leases:
            now = asyncio.get_running_loop().time()
            self._expire_at(lease, self.keys.grant(lease, ttl, now).ends)
        return lease

    def _expire_at(self, lease: int, ends: float) -> None:
        late = self.chance.random() * EXPIRES_LATE
        asyncio.get_running_loop().call_at(ends + late, self._expire, lease)

    def _expire(self, lease: int) -> None:
        """Only a leader ends leases; it may have been renewed meanwhile."""
        found, now = self.keys.leases.get(lease), asyncio.get_running_loop().time()
        if found is None:
            return
        if self._leader is None or found.ends > now:
            self._expire_at(lease, max(found.ends, now + EXPIRES_LATE))
        else:
            self.changes(lambda: self.keys.end(lease))


class SimStore:
    """A `Store`: one process's connection."""

    def __init__(self, etcd: SimEtcd, name: str, seed: str, first: int | None) -> None:
        self.name, self._etcd = name, etcd
        self._chance = random.Random(seed)
        self._at = self._chance.randrange(len(etcd.members)) if first is None else first
        self._lock = asyncio.Lock()
        self._count = 0  # transactions that were begun: a copy of an earlier one does nothing any more
        self._closed = False

    async def get(self, key: str) -> Entry | None:
        return await self._call(lambda: self._etcd.keys.entries.get(key))

    async def list(self, prefix: str) -> Listing:
        return await self._call(lambda: self._etcd.keys.listing(prefix))

    async def commit(self, txn: Txn) -> int | None:
        end = asyncio.get_running_loop().time() + TOTAL
        try:
            async with asyncio.timeout_at(end):
                await self._lock.acquire()
        except TimeoutError as e:
            raise StoreUnreachable(f"etcd did not answer an earlier transaction within {TOTAL:g} s") from e
        try:
            self._count += 1
            return await self._call(self._once(txn, self._count), end)
        finally:
            self._lock.release()

    def _once(self, txn: Txn, number: int) -> Callable[[], int | None]:
        """However often it arrives. What comes when the next one has begun finds the mark changed."""
        outcome: list[int | None] = []

        def apply() -> int | None:
            if not outcome:
                if number != self._count:
                    return None
                outcome.append(self._etcd.changes(lambda: self._etcd.keys.apply(txn)))
            return outcome[0]

        return apply

    async def grant(self, ttl: float) -> int:
        lease = self._etcd.new_lease()
        return await self._call(lambda: self._etcd.grant(lease, ttl))

    async def keep_alive(self, lease: int) -> float:
        loop = asyncio.get_running_loop()
        return await self._call(lambda: self._etcd.keys.renew(lease, loop.time()))

    async def revoke(self, lease: int) -> None:
        await self._call(lambda: self._etcd.changes(lambda: self._etcd.keys.end(lease)))

    async def close(self) -> None:
        self._closed = True
        self._etcd.break_watches()

    # -- calls -------------------------------------------------------------------------------------------------------

    async def _call(self, request: Callable[[], T], end: float | None = None) -> T:
        """At one member after another until one answers. Raises StoreUnreachable, or what the request raises."""
        loop, tried = asyncio.get_running_loop(), 0
        end = end or loop.time() + TOTAL
        while not self._closed and loop.time() < end:
            member = self._etcd.members[self._at]
            patience = ATTEMPT * 2.0 ** (tried // len(self._etcd.members))
            try:
                return await self._attempt(member, request, min(patience, end - loop.time()))
            except TimeoutError:
                tried += 1
                self._leave(member)
        if self._closed:
            raise StoreUnreachable("the connection to etcd was closed")
        raise StoreUnreachable(f"etcd did not answer in time; tried {', '.join(self._etcd.members)}")

    async def _attempt(self, member: str, request: Callable[[], T], patience: float) -> T:
        """Raises TimeoutError after `patience` seconds, sooner where the connection is refused."""
        if self._etcd.refuses(self.name, member):
            await asyncio.sleep(0.1)
            raise TimeoutError
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Callable[[], T]] = loop.create_future()

        def arrive() -> None:
            done = _done(request)
            lost = self._chance.random() < self._etcd.loss
            if not lost:
                loop.call_later(self._trip(), answer, done)

        def answer(done: Callable[[], T]) -> None:
            if not reply.done() and self._etcd.hears(self.name):
                reply.set_result(done)

        loop.call_later(self._trip(), self._etcd.arrives, self.name, member, arrive)
        async with asyncio.timeout(patience):
            done = await reply
        return done()

    def _trip(self) -> float:
        return TRIP * (0.5 + self._chance.random()) + self._etcd.slow / 2

    def _leave(self, member: str) -> None:
        if self._etcd.members[self._at] == member:
            self._at = (self._at + 1) % len(self._etcd.members)

    # -- watches -----------------------------------------------------------------------------------------------------

    async def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        woken, delivered = asyncio.Event(), after
        self._etcd.woken.append(woken)
        try:
            while True:
                member, stream = await self._open(delivered)
                woken.set()  # what was missed comes at once
                while await self._goes_on(member, stream, woken):
                    changes = self._etcd.keys.since(prefix, delivered)
                    if changes:
                        delivered = changes[-1].revision
                    yield changes
                self._leave(member)
        finally:
            self._etcd.woken.remove(woken)

    async def _open(self, delivered: int) -> tuple[str, int]:
        """Where, and the number of the stream. Raises Compacted, StoreUnreachable when closed."""
        while True:
            if self._closed:
                raise StoreUnreachable("the connection to etcd was closed")
            member = self._etcd.members[self._at]
            await asyncio.sleep(2 * self._trip())
            if self._flows(member):
                self._etcd.keys.check_past(delivered)
                return member, self._etcd.streams
            await asyncio.sleep(0.1 if self._etcd.refuses(self.name, member) else ATTEMPT)
            self._leave(member)

    async def _goes_on(self, member: str, stream: int, woken: asyncio.Event) -> bool:
        """Wait for something new or for a sign of life; False when the stream has broken."""
        try:
            async with asyncio.timeout(HEARTBEAT):
                await woken.wait()
        except TimeoutError:
            pass
        woken.clear()
        await asyncio.sleep(self._chance.random() * self._etcd.lag)
        if self._closed or stream != self._etcd.streams or self._etcd.refuses(self.name, member):
            return False
        return await self._silence_ends(member, woken)

    async def _silence_ends(self, member: str, woken: asyncio.Event) -> bool:
        """An election passes unnoticed; a member that is away longer is left."""
        try:
            async with asyncio.timeout(SILENCE):
                while not self._flows(member):
                    await woken.wait()
                    woken.clear()
        except TimeoutError:
            return False
        return True

    def _flows(self, member: str) -> bool:
        return self._etcd.hears(self.name) and self._etcd.serves(self.name, member)


def _done(request: Callable[[], T]) -> Callable[[], T]:
    """Do it; what its caller is to get, the error that it raised included."""
    try:
        result = request()
    except StoreError as e:
        error = e

        def fail() -> T:
            raise error

        return fail
    return lambda: result
