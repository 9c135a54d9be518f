"""What is asked in the background, and what looks in a row come to: Probed, Pace, Looks. Pure.

An answer may be long in coming, so no pass waits for it: `reconciler.probes` looks at each such part at its own pace,
and a pass takes what has been judged by then.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Generic

from resources.kind import Kind, Pending, S, Seen
from resources.machine import Machine

SHOWN = 20  # looks that are remembered, for people


@dataclass(frozen=True)
class Pace:
    """How a part is looked at; all in seconds but `rise` and `fall`.

    `interval`: from the end of a look to the next, while all is well; `again`: the same after one that failed, and what
    fails within it of another counts once. `waits`: how long looks may wait for their answer, the first for all but
    those that follow one that failed; the last for all that follow. `rise` looks in a row that pass make it up, `fall`
    that fail make it down. `lasts`: an answer that is older counts no more.
    """

    interval: float
    again: float
    waits: tuple[float, ...]
    lasts: float
    rise: int = 1
    fall: int = 1

    def wait(self, failed: int) -> float:
        """Of a look after so many in a row that failed."""
        return self.waits[min(failed, len(self.waits) - 1)]


@dataclass(frozen=True)
class Looks(Generic[Seen]):
    """What looks came to so far: is it up (None: not known yet), how many in a row passed or failed, the last ones
    (True: passed), and what was seen by the one that the judgement rests on."""

    up: bool | None = None
    passed: int = 0
    failed: int = 0
    last: tuple[bool, ...] = ()
    seen: Seen | None = None

    def after(self, seen: Seen, pace: Pace, *, passed: bool) -> Looks[Seen]:
        """One more."""
        good, bad = (self.passed + 1, 0) if passed else (0, self.failed + 1)
        up = True if good >= pace.rise else False if bad >= pace.fall else self.up
        rests_on = seen if passed == (up is True) else self.seen
        return Looks(up, good, bad, (*self.last, passed)[-SHOWN:], rests_on)

    def times(self, pace: Pace) -> int:
        """How often over it is down: looks in a row that failed, in units of what it takes."""
        return self.failed // pace.fall if self.up is False else 0


class Probed(Kind[S, Seen]):
    """A kind that is asked in the background."""

    @abstractmethod
    def pace(self, spec: S) -> Pace:
        """Pure: how often, how patiently."""

    @abstractmethod
    async def ask(self, spec: S, machine: Machine, wait: float) -> Seen:
        """One look, of `wait` seconds at most. Raises MachineError: it could not be asked, which says nothing of it."""

    @abstractmethod
    def hung(self, spec: S, wait: float) -> Seen:
        """Pure: what is seen of one that did not come to its end: it has failed."""

    @abstractmethod
    def passed(self, spec: S, seen: Seen) -> bool:
        """Pure: did that look find it as it should be?"""

    def judged(self, spec: S, looks: Looks[Seen]) -> Seen | Pending:
        """Pure: what a snapshot is to say of it after these looks."""
        if looks.up is None or looks.seen is None:
            return Pending("" if looks.seen is None else self.says(spec, looks.seen))
        return looks.seen

    def times_down(self, spec: S, seen: Seen) -> int:
        """Pure: how often over it is down, for `reconciler.restarts`; 0 for what no restart could mend."""
        return 0

    async def observe(self, spec: S, machine: Machine) -> Seen:
        """A single look, the first."""
        return await self.ask(spec, machine, self.pace(spec).wait(0))
