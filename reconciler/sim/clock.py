"""Virtual time: an asyncio event loop whose clock jumps to the next timer as soon as nothing is ready to run.

Ten simulated minutes take as long as what happens in them. asyncio.sleep, asyncio.timeout and call_later work as ever;
nothing of a simulation may wait for a real file, socket or thread. The same program gives the same order of events:
the loop runs what is ready, and the timers of one moment, first in, first out.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SPINS = 200_000  # rounds of the loop at one moment of virtual time: something goes round in circles


class NothingEver(Exception):
    """Nothing is ready and no timer is set: what the simulation waits for will never happen."""


class Spinning(Exception):
    """The loop goes round and round and time stands still."""


class _NoFiles(selectors.SelectSelector):
    """Waits for no file: hands the time that the loop would sleep to `jump`."""

    def __init__(self, jump: Callable[[float | None], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._jump(timeout)
        return []


class _Timer(asyncio.TimerHandle):
    """Of two for the same moment, the one that was set first comes first."""

    __slots__ = ("key",)

    def __init__(
        self, number: int, when: float, callback: Any, args: Any, loop: asyncio.AbstractEventLoop, context: Any
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.key = (when, number)

    def __lt__(self, other: Any) -> bool:
        found: bool = self.key < other.key
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        self.rounds = 0  # at this moment of virtual time
        self._timers = 0
        super().__init__(_NoFiles(self._jump))

    def time(self) -> float:
        return self._virtual_now

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        """As BaseEventLoop's."""
        self._timers += 1
        timer = _Timer(self._timers, when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def _jump(self, timeout: float | None) -> None:
        if timeout is None:
            raise NothingEver(f"nothing will ever happen after {self._virtual_now:.3f} s")
        if timeout > 0:
            # A round up to a nanosecond: the loop must find the timer due, whatever the sum of floats has lost.
            self._virtual_now += max(timeout, 1e-9)
            self.rounds = 0
            return
        self.rounds += 1
        if self.rounds > SPINS:
            raise Spinning(f"time stands still at {self._virtual_now:.3f} s while tasks go round")


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
