"""Which bounds the tests explore, and with which a flaw shows. All at once would be too many states: each set allows
the faults that meet in one part of the protocol; README.md says what no set has."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model import copies
from tests.model.holding import Bounds, Flaw

NONE = Bounds(cuts=0, kills=0, stops=0, starts=0, begins=0, late=0, claims=1, promises=0)


@dataclass(frozen=True)
class Set:
    """The correct protocol holds rule 1 within `bounds`; each of the flaws does not."""

    name: str
    bounds: Bounds
    flaws: tuple[Flaw, ...] = ()
    waiting: bool = False


HOLDING = (
    Set("no fault but time", NONE, (Flaw.NO_DEADLINE, Flaw.TOO_EARLY, Flaw.NOT_OBSERVED, Flaw.LATE_PET)),
    Set(
        "a session lost and begun again, and one more owner",
        NONE._replace(begins=1, claims=2),
        (Flaw.KEEPS_EPOCH, Flaw.ARMED_ONCE, Flaw.PROVEN_BLIND),
    ),
    Set("a session asked for twice", NONE._replace(begins=1), (Flaw.BEGUN_BLIND,), waiting=True),
    Set("late requests, lost replies", NONE._replace(begins=1, late=1)),
    Set("power cut twice", NONE._replace(cuts=2, begins=1)),
    Set(
        "power cut, agent killed and started",
        NONE._replace(cuts=1, kills=1, starts=1, begins=1),
        (Flaw.TAKEN_UP_LATE, Flaw.CLOSING_PETS, Flaw.DISARMED_SAFE),
    ),
    Set("agents killed twice", NONE._replace(kills=2, starts=1, begins=1)),
    Set("agent ended on purpose, and started", NONE._replace(stops=1, starts=1, begins=1), (Flaw.DISARMED_FIRST,)),
    Set("promises, a session begun again", NONE._replace(promises=1, begins=1), (Flaw.PROMISE_BROKEN,)),
    Set(
        "promises, an agent killed",
        NONE._replace(promises=1, kills=1),
        (Flaw.PROMISE_FORGOTTEN, Flaw.PROMISE_REVIVES),
    ),
)
COPIES = copies.Bounds(crashes=2, cuts=1, claims=1, writes=1)
FLAWED_COPIES = copies.Bounds(crashes=1, cuts=1, claims=1, writes=1)

# For `python -m tests.model`.
LARGE_HOLDING = (
    Set("large: late requests, two more sessions", NONE._replace(begins=2, late=1)),
    Set("large: promises, agent killed, a session begun again", NONE._replace(kills=1, promises=1, begins=1)),
    Set("large: power cut, one more owner", NONE._replace(cuts=1, begins=1, claims=2)),
)
LARGE_COPIES = copies.Bounds(crashes=2, cuts=1, claims=2, writes=2)
