"""Counts: what has happened since this agent began, for `reconciler.metrics`. Nothing is decided by them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # seconds


class Counts:
    """`events`: how many, by service and kind of event; `seconds`: of all passes together."""

    def __init__(self) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        self.seconds = 0.0
        self._passes = [0] * (len(BOUNDS) + 1)

    def passed(self, seconds: float) -> None:
        """A pass has ended, which took so long."""
        self.seconds += seconds
        self._passes[bisect_left(BOUNDS, seconds)] += 1

    def passes(self) -> Iterator[tuple[str, int]]:
        """(bound, how many took at most so long), the last bound "+Inf"."""
        return zip((*map(str, BOUNDS), "+Inf"), accumulate(self._passes), strict=True)

    def forget(self, service: str) -> None:
        """It is gone."""
        for key in [key for key in self.events if key[0] == service]:
            del self.events[key]
