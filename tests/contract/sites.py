"""The two places where the same tests run: a simulated etcd on virtual time, and three real members on loopback."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Protocol, cast

from reconciler.etcd import Etcd
from reconciler.sim.clock import simulate
from reconciler.sim.store import SimEtcd
from reconciler.store import Change, Store
from tests.contract.members import Members

PATIENCE = 60.0  # seconds: far more than anything here takes, on a busy machine


class Site(Protocol):
    """Where a test runs. `prefix`: the keys of this test; `endpoints`: what the members are called."""

    prefix: str
    endpoints: list[str]

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """To its end, then close its clients."""

    def client(self, first: int = 0) -> Store:
        """`first`: the member that it talks to while that one answers."""

    async def compact(self, revision: int) -> None: ...

    def leader(self) -> int: ...

    def kill(self, member: int) -> None: ...

    def stop(self, member: int) -> None: ...

    def up(self, member: int) -> None: ...


class Simulated:
    """A cluster of its own for each test."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._etcd: SimEtcd | None = None
        self.endpoints = ["member1", "member2", "member3"]

    @property
    def etcd(self) -> SimEtcd:
        self._etcd = self._etcd or SimEtcd(1, self.endpoints)
        return self._etcd

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        simulate(story)

    def client(self, first: int = 0) -> Store:
        return self.etcd.client("desk", first)

    async def compact(self, revision: int) -> None:
        self.etcd.compact(revision)

    def leader(self) -> int:
        return self.endpoints.index(self.etcd.leader or "")

    def kill(self, member: int) -> None:
        self.etcd.member(self.endpoints[member], "killed")

    def stop(self, member: int) -> None:
        self.etcd.member(self.endpoints[member], "stopped")

    def up(self, member: int) -> None:
        self.etcd.member(self.endpoints[member], "up")


class Real:
    """Three members that all tests share."""

    def __init__(self, prefix: str, members: Members) -> None:
        self.prefix, self.endpoints, self._members = prefix, members.endpoints, members
        self.leader, self.kill, self.stop, self.up = members.leader, members.kill, members.stop, members.up
        self._clients: list[Etcd] = []

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        async def closing() -> None:
            try:
                await story
            finally:
                await asyncio.gather(*(client.close() for client in self._clients))

        asyncio.run(closing())

    def client(self, first: int = 0) -> Store:
        self._clients.append(Etcd([*self.endpoints[first:], *self.endpoints[:first]], client="contract"))
        return self._clients[-1]

    async def compact(self, revision: int) -> None:
        await asyncio.to_thread(self._members.ctl, "compact", str(revision))


def story(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test as a coroutine that its site runs: on virtual time, or on a loop of its own."""

    @functools.wraps(test)
    def run(site: Site, **more: Any) -> None:
        site.run(test(site, **more))

    return run


async def watched(
    store: Store, prefix: str, after: int, enough: Callable[[list[Change]], bool], within: float = PATIENCE
) -> list[Change]:
    """All changes from there on until they are enough. Raises TimeoutError."""
    found: list[Change] = []
    stream = cast(AsyncGenerator[tuple[Change, ...]], store.watch(prefix, after))
    try:
        async with asyncio.timeout(within):
            async for changes in stream:
                found += changes
                if found and enough(found):
                    return found
    finally:
        await stream.aclose()
    raise AssertionError("a watch never ends by itself")


def now() -> float:
    """Seconds on the site's clock."""
    return asyncio.get_running_loop().time()
