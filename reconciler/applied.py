"""What was applied: the last spec of each service that this host acted on, so that what is dropped from it is put down.

Kept under /run: a reboot forgets it, as it forgets the resources.
"""

from __future__ import annotations

from reconciler.spec import ServiceManifest, SpecError, parse_service
from resources.kind import AnyPart, take_apart
from resources.machine import Machine
from resources.registry import KINDS

DIRECTORY = "/run/hactl/applied"
SETTLED = "/run/hactl/settled"


class Applied:
    """One file a service, JSON as in etcd; and one with the epoch in which it was Ready here, so that an agent that is
    started again knows an old move from one that has not succeeded yet."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._known: dict[str, str] = {}

    def note(self, name: str, text: str) -> None:
        """Before anything is brought up by this spec."""
        if self._known.get(name) != text:
            self._machine.write(f"{DIRECTORY}/{name}.json", text)
            self._known[name] = text

    def forget(self, name: str) -> None:
        """The service is gone from this host."""
        self._machine.remove(f"{DIRECTORY}/{name}.json")
        self._machine.remove(f"{SETTLED}/{name}")
        self._known.pop(name, None)

    def settle(self, name: str, epoch: int) -> None:
        """The service has been Ready here in this epoch."""
        self._machine.write(f"{SETTLED}/{name}", str(epoch))

    def settled(self, name: str, epoch: int) -> bool:
        """Has it?"""
        return self._machine.read(f"{SETTLED}/{name}") == str(epoch)

    def dropped(self, name: str, parts: tuple[AnyPart, ...]) -> tuple[AnyPart, ...]:
        """The parts that were applied and are no longer in the spec."""
        manifest = self._read(name)
        if manifest is None:
            return ()
        kept = {part.id for part in parts}
        return tuple(part for part in take_apart(manifest.spec, KINDS) if part.id not in kept)

    def _read(self, name: str) -> ServiceManifest | None:
        text = self._known.get(name) or self._machine.read(f"{DIRECTORY}/{name}.json")
        if text is None:
            return None
        self._known[name] = text
        try:
            return parse_service(text)
        except SpecError:
            return None  # written by another version; what it brought up is found by its kinds or by a human
