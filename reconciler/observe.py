"""Observe: every part of a service, read side by side -> one Snapshot.

Second in the flow: spec → observe → plan → act → status. Reads only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resources.kind import AnyPart, Pending, Stage, Unknown
from resources.machine import Machine, MachineError


@dataclass(frozen=True)
class Snapshot:
    """All observations of one service on one host at one moment, by part id; `parts` in the order they come up."""

    parts: tuple[AnyPart, ...]
    seen: Mapping[str, Any]

    def known(self) -> Iterator[tuple[AnyPart, Any]]:
        """The parts that could be read."""
        for part in self.parts:
            if not isinstance(self.seen[part.id], Unknown):
                yield part, self.seen[part.id]

    def unknown(self) -> Iterator[tuple[AnyPart, Unknown]]:
        """The parts that could not."""
        for part in self.parts:
            if isinstance(found := self.seen[part.id], Unknown):
                yield part, found

    def held(self) -> list[str]:
        """What exclusive things this host holds. What cannot be read counts as held, but for checks and gates."""
        known = [said for part, seen in self.known() if (said := part.kind.held(part.spec, seen))]
        unknown = [(part, found) for part, found in self.unknown() if part.stage is not Stage.CHECK]
        return known + [found.clause(part.id) for part, found in unknown]

    def holds(self) -> bool:
        """Is anything exclusive seen to be held? What cannot be read proves nothing either way."""
        return any(part.kind.held(part.spec, seen) for part, seen in self.known())

    def obstacles(self, *, alone: bool = False) -> list[str]:
        """Why this host could not take the service over now; `alone`: without the last owner's copies. A check is asked
        of no target, and while a gate has not answered there is nothing to say: see `pending`."""
        known = [said for part, seen in self.known() for said in part.kind.obstacles(part.spec, seen, alone=alone)]
        return known + self.unreadable()

    def unreadable(self) -> list[str]:
        """What should be known by now and is not."""
        return [found.clause(part.id) for part, found in self.unknown() if not isinstance(found, Pending)]

    def pending(self) -> Iterator[AnyPart]:
        """The parts that are asked in the background, or would be, and have not answered yet."""
        for part, found in self.unknown():
            if isinstance(found, Pending):
                yield part


async def observe(parts: tuple[AnyPart, ...], machine: Machine) -> Snapshot:
    """Read all parts side by side."""
    found = await asyncio.gather(*(_read(part, machine) for part in parts))
    return Snapshot(parts, {part.id: seen for part, seen in zip(parts, found, strict=True)})


async def again(before: Snapshot, parts: tuple[AnyPart, ...], machine: Machine) -> Snapshot:
    """Read some of its parts anew; the others stay as they were."""
    fresh = await observe(parts, machine)
    return Snapshot(before.parts, {**before.seen, **fresh.seen})


async def _read(part: AnyPart, machine: Machine) -> Any:
    try:
        async with asyncio.timeout(part.kind.patience):
            return await part.kind.observe(part.spec, machine)
    except MachineError as e:
        return Unknown(str(e))
    except TimeoutError:
        return Unknown(f"no answer within {part.kind.patience:.0f} s")
