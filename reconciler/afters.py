"""After: the bring-up of a service waits until others are Ready on some host, for a time, then goes on all the same.

It is for a quiet start after a power cut, never for safety: what this host knows may be old, and nothing is ever held
up for longer than `within`, nor by services that wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reconciler.mirror import Mirror
from reconciler.observe import Snapshot
from reconciler.ownership import View
from reconciler.plan import asked
from reconciler.publish import Publisher
from reconciler.records import Status
from reconciler.spec import SpecError
from reconciler.teller import Teller
from resources.kind import Role
from resources.machine import Machine


class Afters:
    """Of one service. `waits` before its steps."""

    def __init__(self, name: str, machine: Machine, mirror: Mirror, publisher: Publisher, teller: Teller) -> None:
        self._name, self._machine, self._mirror = name, machine, mirror
        self._publisher, self._tell = publisher, teller
        self._told: set[tuple[float, str]] = set()  # without which it went on, in which bring-up

    def waits(self, view: View, since: float, epoch: int, *, most: float = float("inf")) -> str:
        """Why nothing is brought up yet, as a clause, or "". `since`: monotonic, when the bring-up began; `most`:
        seconds that may be waited at all."""
        waited = self._machine.monotonic() - since
        missing = [one for one in view.manifest.spec.after if not self._is_ready(one.service)]
        missing = [one for one in missing if not leads_back(self._name, one.service, self._after)]
        patience = {one.service: min(one.within, most) for one in missing}
        for service, seconds in patience.items():
            if waited < seconds:
                return f"waits for {service} to be Ready, {seconds:g} s at most"
        for service, seconds in patience.items():
            if (since, service) not in self._told:
                self._told.add((since, service))
                self._tell.decision(f"starts without {service}", epoch, f"it was not Ready within {seconds:g} s")
        return ""

    def _is_ready(self, service: str) -> bool:
        """On some host, as far as this one knows: by its own word since its agent began, by those of others alive."""
        if _ready(self._publisher.said(service)):
            return True
        view = self._view(service)
        others = [host for host in view.sessions if host != self._machine.host] if view is not None else []
        return view is not None and any(_ready(view.statuses.get(host)) for host in others)

    def _after(self, service: str) -> list[str]:
        view = self._view(service)
        return [one.service for one in view.manifest.spec.after] if view is not None else []

    def _view(self, service: str) -> View | None:
        try:
            return self._mirror.view(service)
        except SpecError:
            return None


def _ready(status: Status | None) -> bool:
    return status is not None and (status.role, status.state) == (Role.ACTIVE, "Ready")


def held_back(snapshot: Snapshot, dropped: frozenset[str]) -> frozenset[str]:
    """What is not brought up while it waits: all but what a standby brings up too, a warm container."""
    warm = {part.id for part, _, steps in asked(snapshot, Role.STANDBY, dropped) if any(not one.down for one in steps)}
    return frozenset(part.id for part in snapshot.parts) - warm


def leads_back(name: str, first: str, after: Callable[[str], Iterable[str]]) -> bool:
    """Does a service that `name` waits for wait for `name` in the end?"""
    seen: set[str] = set()
    ahead = [first]
    while ahead:
        one = ahead.pop()
        if one == name:
            return True
        if one not in seen:
            seen.add(one)
            ahead += after(one)
    return False
