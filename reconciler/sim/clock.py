"""Virtual time: an asyncio event loop whose clock jumps to the next timer as soon as nothing is ready to run.

Ten simulated minutes take as long as what happens in them. asyncio.sleep, asyncio.timeout and call_later work as ever;
nothing of a simulation may wait for a real file, socket or thread. The same program gives the same order of events:
the loop runs what is ready, and the timers of one moment, first in, first out.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SPINS = 200_000  # rounds of the loop at one moment of virtual time: something goes round in circles


class NothingEver(Exception):
    """Nothing is ready and no timer is set: what the simulation waits for will never happen."""


class Spinning(Exception):
    """The loop goes round and round and time stands still."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0. Owns its round and its timers: asyncio's ask a selector that no simulation needs, and
    compare timers in Python; a simulation is as fast as these few lines are."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        self.rounds = 0  # at this moment of virtual time
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []  # of one moment: the one set first comes first
        self._set = itertools.count()
        super().__init__()

    def time(self) -> float:
        return self._virtual_now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As BaseEventLoop's."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._set), timer))
        return timer

    def _run_once(self) -> None:
        """As BaseEventLoop's, but that time jumps where nothing is ready."""
        ready: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._jump()
        self.rounds += 1
        if self.rounds > SPINS:
            raise Spinning(f"time stands still at {self._virtual_now:.3f} s while tasks go round")
        while timers and timers[0][0] <= self._virtual_now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _jump(self) -> None:
        if not self._timers:
            raise NothingEver(f"nothing will ever happen after {self._virtual_now:.3f} s")
        if self._timers[0][0] > self._virtual_now:
            self._virtual_now = self._timers[0][0]
            self.rounds = 0


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time to its end; what is left of its tasks is cancelled then.

    Raises what it raises, NothingEver, Spinning.
    """
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.rounds = 0
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=60))
    for task in left:
        if task.done() and not task.cancelled():
            task.exception()  # seen: what mattered of it was told by the one who waited for it
