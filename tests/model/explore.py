"""Every state that can be reached, breadth first, so that the first bad one has the shortest trace.

A model is three plain functions on immutable, hashable states: `moves(state)` yields (what happens, next state),
`wrong(state)` says which rule a state breaks, or "", and `show(state)` is one line for people.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Model(Generic[S]):
    """`start`: the first state."""

    start: S
    moves: Callable[[S], Iterable[tuple[str, S]]]
    wrong: Callable[[S], str]
    show: Callable[[S], str]


@dataclass(frozen=True)
class Result:
    """`states` were seen, `steps` taken between them, the farthest `depth` from the start. `wrong`: the rule that is
    broken at the end of `trace`, "" when all is well; `left`: states not looked at, for want of room."""

    states: int
    steps: int
    depth: int
    wrong: str = ""
    trace: tuple[str, ...] = ()
    left: int = 0

    def __str__(self) -> str:
        said = f"{self.states} states, {self.steps} steps, depth {self.depth}"
        if self.left:
            said += f", {self.left} states left unexplored"
        return said if not self.wrong else "\n".join((f"{self.wrong} ({said})", *self.trace))


def explore(model: Model[S], most: int = 50_000_000) -> Result:
    """Until a rule is broken, or all is seen, or `most` states were. Nothing here is garbage: not collecting it takes
    half the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        return _explore(model, most)
    finally:
        if collects:
            gc.enable()


def _explore(model: Model[S], most: int) -> Result:
    before: dict[S, S | None] = {model.start: None}
    steps = depth = 0
    layer = [model.start]
    while layer:
        following: list[S] = []
        for at, state in enumerate(layer):
            if len(before) > most:
                return Result(len(before), steps, depth, left=len(layer) - at + len(following))
            for _, new in model.moves(state):
                steps += 1
                if new in before:
                    continue
                before[new] = state
                if wrong := model.wrong(new):
                    trace = tuple(_trace(model, before, new))
                    return Result(len(before), steps, depth + 1, wrong, trace)
                following.append(new)
        depth += bool(following)
        layer = following
    return Result(len(before), steps, depth)


def _trace(model: Model[S], before: dict[S, S | None], end: S) -> Iterator[str]:
    """What happened, a line each. Labels are found again rather than kept: most states are in no trace."""
    path = [end]
    while (previous := before[path[-1]]) is not None:
        path.append(previous)
    path.reverse()
    yield f"{'':>4} {'at the start':<64} {model.show(path[0])}"
    for number, (state, new) in enumerate(pairwise(path), start=1):
        label = next(label for label, following in model.moves(state) if following == new)
        yield f"{number:>3}. {label:<64} {model.show(new)}"
