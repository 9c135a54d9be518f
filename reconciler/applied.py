"""What was applied: the specs of each service that this host acted on, so that what is dropped from them is put down.

Kept under /run: a reboot forgets it, as it forgets the resources.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache

from reconciler.spec import SpecError, parse_service
from resources.kind import AnyPart, take_apart
from resources.machine import Machine
from resources.registry import KINDS

DIRECTORY = "/run/hactl/applied"
SETTLED = "/run/hactl/settled"


@lru_cache(maxsize=4096)  # more than a host has services: else each pass would read its spec anew
def parts_of(text: str) -> tuple[AnyPart, ...]:
    """Of a service's spec as it stands in etcd, in the order in which they come up. Raises SpecError."""
    return take_apart(parse_service(text).spec, KINDS)


class Applied:
    """One file a service: a JSON list of specs as in etcd, the last one first; and one with the epoch in which it was
    Ready here, so that an agent that is started again knows an old move from one that has not succeeded yet."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[str, list[str]] = {}

    def note(self, name: str, text: str, *, keep: bool = False) -> None:
        """Before anything is brought up by this spec. `keep`: what earlier ones brought up is not all down yet."""
        before = self._texts(name)
        texts = [text, *(one for one in before if keep and one != text)]
        if texts != before:
            self._machine.write(f"{DIRECTORY}/{name}.json", json.dumps(texts))
            self._known[name] = texts

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
        """The parts that were applied and are no longer in the spec. Of a gate there is nothing to put down."""
        kept = {part.id for part in parts}
        found: dict[str, AnyPart] = {}
        for text in self._texts(name):
            for part in self._parts(text):
                if part.id not in kept and not part.kind.for_target:
                    found.setdefault(part.id, part)
        return tuple(found.values())

    def _parts(self, text: str) -> tuple[AnyPart, ...]:
        with suppress(SpecError):  # written by another version; what it brought up is found by its kinds or a human
            return parts_of(text)
        return ()

    def _texts(self, name: str) -> list[str]:
        if name not in self._known:
            self._known[name] = _listed(self._machine.read(f"{DIRECTORY}/{name}.json") or "[]")
        return self._known[name]


def _listed(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
