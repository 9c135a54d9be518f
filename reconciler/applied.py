"""What was applied: the specs of each service that this host acted on, so that what is dropped from them is put down.

Kept under /run: a reboot forgets it, as it forgets the resources.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from typing import Any

from reconciler.guests import placed
from reconciler.spec import SpecError, parse_service
from resources.kind import AnyPart, Stage, take_apart
from resources.machine import Machine
from resources.registry import KINDS

DIRECTORY = "/run/hactl/applied"
SETTLED = "/run/hactl/settled"


@lru_cache(maxsize=4096)  # more than a host has services: else each pass would read its spec anew
def parts_of(text: str, domain: str | None) -> tuple[AnyPart, ...]:
    """Of a service's spec as it stands in etcd, in the order in which they come up. `domain`: of a guest, the container
    that it lives in. Raises SpecError."""
    return take_apart(placed(parse_service(text), domain).spec, KINDS)


Applying = tuple[str, str | None]  # a spec as it stands in etcd, and the domain where its parts live


class Applied:
    """One file a service: a JSON list of [spec as in etcd, domain], the last one first; and one with the epoch in which
    it was Ready here, so that an agent that is started again knows an old move from one that has not succeeded yet."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[str, list[Applying]] = {}

    def note(self, name: str, text: str, domain: str | None = None, *, keep: bool = False) -> None:
        """Before anything is brought up by this spec. `keep`: what earlier ones brought up is not all down yet."""
        before = self._applied(name)
        now = (text, domain)
        applied = [now, *(one for one in before if keep and one != now)]
        if applied != before:
            self._machine.write(f"{DIRECTORY}/{name}.json", json.dumps(applied))
            self._known[name] = applied

    def forget(self, name: str) -> None:
        """The service is gone from this host."""
        self._machine.remove(f"{DIRECTORY}/{name}.json")
        self._machine.remove(f"{SETTLED}/{name}")
        self._known.pop(name, None)

    def settle(self, name: str, epoch: int) -> None:
        """The service has been Ready here in this epoch."""
        self._machine.write(f"{SETTLED}/{name}", str(epoch))

    def unsettle(self, name: str) -> None:
        """It is not to be Ready here any more."""
        self._machine.remove(f"{SETTLED}/{name}")

    def settled(self, name: str, epoch: int) -> bool:
        """Has it?"""
        return self._machine.read(f"{SETTLED}/{name}") == str(epoch)

    def dropped(self, name: str, parts: tuple[AnyPart, ...]) -> tuple[AnyPart, ...]:
        """The parts that were applied and are not in the spec any more. A check or a gate is nothing to put down."""
        kept = {part.id for part in parts}
        found: dict[str, AnyPart] = {}
        for text, domain in self._applied(name):
            for part in self._parts(text, domain):
                if part.id not in kept and part.stage is not Stage.CHECK:
                    found.setdefault(part.id, part)
        return tuple(found.values())

    def _parts(self, text: str, domain: str | None) -> tuple[AnyPart, ...]:
        with suppress(SpecError):  # written by another version; what it brought up is found by its kinds or a human
            return parts_of(text, domain)
        return ()

    def _applied(self, name: str) -> list[Applying]:
        if name not in self._known:
            self._known[name] = _listed(self._machine.read(f"{DIRECTORY}/{name}.json") or "[]")
        return self._known[name]


def _listed(text: str) -> list[Applying]:
    """What is none is left out; a spec alone, as an earlier version wrote it, is of its own container."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [_entry(one) for one in found if _is_entry(one)] if isinstance(found, list) else []


def _is_entry(one: Any) -> bool:
    return isinstance(one, str) or (isinstance(one, list) and len(one) == 2 and isinstance(one[0], str))


def _entry(one: Any) -> Applying:
    return (one, None) if isinstance(one, str) else (one[0], None if one[1] is None else str(one[1]))
