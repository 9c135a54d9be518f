"""Probes: the checks and gates of one service, asked in the background, each at its own pace (`resources.probed`).

No pass waits for a check that hangs or a gate that is silent: it takes what has been judged by then, and is told when
that has changed. Checks are asked while this host is active and all the rest is up, gates while it could be a target.
What is not asked any more is forgotten: after a bring-up, a restart or in a new epoch no old answer counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from reconciler.observe import Snapshot, observe
from reconciler.ownership import Verdict, View
from reconciler.status import rest_is_up
from resources.kind import AnyPart, Pending, Role
from resources.machine import Machine, MachineError
from resources.probed import Looks, Pace, Probed

PROMPT = 0.5  # seconds that a pass waits for first answers: Ready then comes with the pass that brought it up
SOON = 0.5  # seconds between looks until there is a judgement
SLACK = 3.0  # seconds beyond its wait until a look is ended from here: by then a program has been ended by the Machine
ENDS = 5.0  # seconds that a look may take to be gone once it was ended


class Spawn(Protocol):
    """Makes a task of the agent's, which ends with it; what it raises ends the agent."""

    def __call__(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]: ...


@dataclass
class Probe:
    """One part that is asked: all that was found since it began."""

    kind: Probed[Any, Any]
    part: AnyPart
    begun: float  # monotonic
    looks: Looks[Any] = field(default_factory=Looks)
    at: float = 0.0  # monotonic: when the last look ended
    failed_at: float = float("-inf")  # monotonic: when one ended that failed and was counted
    unasked: str = ""  # why the last look could not be made
    answered: asyncio.Event = field(default_factory=asyncio.Event)  # a look has ended
    taken: tuple[object, ...] | None = None  # its verdict, as the last pass took it; None: the pass that began it will

    @property
    def pace(self) -> Pace:
        return self.kind.pace(self.part.spec)

    def judged(self, now: float) -> Any:
        """What a snapshot is to say of it: an observation, or Pending."""
        if self._stale(now) or (self.looks.seen is None and self.unasked):
            return Pending(self.unasked)
        return self.kind.judged(self.part.spec, self.looks)

    def verdict(self, now: float) -> tuple[object, ...]:
        """What a pass must know of at once. What is down and stays so is told less and less often."""
        return self._stale(now), self.looks.up, self.looks.seen, self.looks.times(self.pace).bit_length()

    def _stale(self, now: float) -> bool:
        return self.looks.up is not None and now >= self.at + self.pace.lasts

    def ended(self, seen: Any, now: float) -> None:
        """A look has found this."""
        passed = self.kind.passed(self.part.spec, seen)
        if not passed and now - self.failed_at < 0.9 * self.pace.again:
            self.at, self.unasked = now, ""  # one failure, looked at twice
            return
        self.failed_at = self.failed_at if passed else now
        self.looks = self.looks.after(seen, self.pace, passed=passed)
        self.at, self.unasked = now, ""

    def rests(self) -> float:
        """Seconds until the next look."""
        if self.looks.up is None:
            return min(SOON, self.pace.again)
        well = self.looks.up and not self.looks.failed and not self.unasked
        return self.pace.interval if well else self.pace.again


class Asked:
    """Those parts of one service that are asked just now."""

    def __init__(self, machine: Machine, spawn: Spawn, changed: Callable[[], None]) -> None:
        self._machine, self._spawn, self._changed = machine, spawn, changed
        self._probes: dict[str, tuple[Probe, asyncio.Task[None]]] = {}
        self._since: object = None

    async def keep(self, parts: Iterable[AnyPart], since: object = None) -> None:
        """Ask these, still or from now on, and no others; all anew when `since` is another than before, and not None.
        Returns once nothing is left of looks at others."""
        wanted = {part.id: part for part in parts}
        anew = since is not None and since != self._since
        self._since = since
        gone = [id for id, (probe, _) in self._probes.items() if anew or wanted.get(id) != probe.part]
        if gone:
            await _end([self._probes.pop(id)[1] for id in gone])
        for part in (part for id, part in wanted.items() if id not in self._probes):
            assert isinstance(part.kind, Probed)
            probe = Probe(part.kind, part, self._machine.monotonic())
            self._probes[part.id] = probe, self._spawn(self._ask(probe), f"asking {part.id}")

    def end(self) -> None:
        """The service is gone."""
        for _, task in self._probes.values():
            task.cancel()
        self._probes.clear()

    async def prompt(self) -> None:
        """Wait for first answers, at most so long after they were first asked for."""
        now = self._machine.monotonic()
        first = [probe for probe, _ in self._probes.values() if not probe.answered.is_set()]
        left = max((probe.begun + PROMPT - now for probe in first), default=0.0)
        if left > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    for probe in first:
                        await probe.answered.wait()

    def judged(self, parts: Iterable[AnyPart]) -> dict[str, Any]:
        """By id, those of the parts that are asked."""
        now, found = self._machine.monotonic(), {}
        for part in parts:
            if part.id in self._probes:
                probe = self._probes[part.id][0]
                probe.taken, found[part.id] = probe.verdict(now), probe.judged(now)
        return found

    async def _ask(self, probe: Probe) -> None:
        """For ever."""
        while True:
            # An answer may come to be too old while the next is waited for.
            left = max(0.0, probe.at + probe.pace.lasts - self._machine.monotonic())
            too_old = asyncio.get_running_loop().call_later(left, self._tell, probe)
            try:
                seen = await self._look(probe)
                probe.ended(seen, self._machine.monotonic())
            except MachineError as e:
                probe.unasked = str(e)
            finally:
                too_old.cancel()
            probe.answered.set()
            self._tell(probe)
            await self._machine.sleep(probe.rests())

    def _tell(self, probe: Probe) -> None:
        """Another pass is called for, unless the last one knew it all."""
        if probe.taken is not None and probe.taken != probe.verdict(self._machine.monotonic()):
            self._changed()

    async def _look(self, probe: Probe) -> Any:
        """One that hangs has failed, and nothing of it is left. Raises MachineError."""
        spec, wait = probe.part.spec, probe.pace.wait(probe.looks.failed)
        try:
            async with asyncio.timeout(wait + SLACK):
                return await probe.kind.ask(spec, self._machine, wait)
        except TimeoutError:
            return probe.kind.hung(spec, wait)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=ENDS)


class Probes:
    """Of one service: what its worker asks in the background. `changed`: another pass is called for."""

    def __init__(self, machine: Machine, spawn: Spawn, changed: Callable[[], None]) -> None:
        self._machine = machine
        self._gates, self._engines, self._checks = (Asked(machine, spawn, changed) for _ in range(3))

    async def look(self, view: View, parts: tuple[AnyPart, ...]) -> Snapshot:
        """Read the rest, and take what checks and gates have answered. A move to this host begins with fresh answers
        of its gates: those before its spec was changed do not count."""
        here = self._machine.host
        could = _probed(parts) if here in view.manifest.spec.hosts else []
        gates = [part for part in could if part.kind.for_target]
        await self._gates.keep(gates, view.revision if view.wanted == here else None)
        await self._engines.keep([part for part in could if part.kind.always])
        rest = await observe(tuple(part for part in parts if not isinstance(part.kind, Probed)), self._machine)
        await self._gates.prompt()
        await self._engines.prompt()
        return self._whole(parts, rest)

    async def follow(self, snapshot: Snapshot, verdict: Verdict, dropped: frozenset[str]) -> Snapshot:
        """Ask its checks or do so no more, as the rest of the service is and this host's role."""
        up = verdict.role is Role.ACTIVE and rest_is_up(snapshot, dropped)
        if up is None:
            return snapshot  # a daemon that is restarted changes nothing
        await self._checks.keep(_checks(snapshot.parts) if up else (), verdict.epoch)
        await self._checks.prompt()
        return self._whole(snapshot.parts, snapshot)

    async def brought_up(self, parts: tuple[AnyPart, ...], verdict: Verdict) -> None:
        """All steps have succeeded: its checks are asked side by side with the look that follows."""
        if verdict.role is Role.ACTIVE:
            await self._checks.keep(_checks(parts), verdict.epoch)

    async def restarting(self) -> None:
        """It is about to be restarted: what its checks have answered counts no more."""
        await self._checks.keep(())

    def end(self) -> None:
        """The service is gone."""
        self._gates.end()
        self._engines.end()
        self._checks.end()

    def _whole(self, parts: tuple[AnyPart, ...], rest: Snapshot) -> Snapshot:
        asked = _probed(parts)
        answered: dict[str, Any] = {part.id: Pending() for part in asked}
        for each in (self._gates, self._engines, self._checks):
            answered |= each.judged(asked)
        return Snapshot(parts, {**rest.seen, **answered})


def _probed(parts: Iterable[AnyPart]) -> list[AnyPart]:
    return [part for part in parts if isinstance(part.kind, Probed)]


def _checks(parts: Iterable[AnyPart]) -> list[AnyPart]:
    return [part for part in _probed(parts) if not (part.kind.for_target or part.kind.always)]
