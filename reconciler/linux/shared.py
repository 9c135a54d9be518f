"""A look that many ask for at once, and that a program answers for all of them: one process, not one for each.

A disk's look is one: `drbdsetup` takes as long for all disks as for one, and nearly all of that to begin (a sixth of a
second in the lab, of the second in which an address is put right).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Await `look()`: what `begin` found, begun after the asking. One runs at a time; who asks meanwhile waits for the
    next one, since what runs may have looked too early. Raises what `begin` raises, to all that wait for it."""

    def __init__(self, begin: Callable[[], Awaitable[T]]) -> None:
        self._begin = begin
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def look(self) -> T:
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        return await asyncio.shield(self._next)  # the others still want it

    async def _after(self, before: asyncio.Task[T] | None) -> T:
        if before is not None:
            await asyncio.wait({before})
        self._running, self._next = self._next, None
        return await self._begin()

    def close(self) -> None:
        for task in (self._running, self._next):
            if task is not None:
                task.cancel()
