"""Gates: what must be so before a move begins, seen from the host that would take over. The switch answers, …

Asked in the background (`resources.probed`): a silent one holds up no pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from resources.kind import Condition, Model, Role, Service, Stage, Step
from resources.machine import Machine, MachineError
from resources.probed import Pace, Probed
from resources.words import Ip, Port, once

ENOUGH = 100.0  # seconds: after that no attempt begins, whoever has not answered is silent
LONGEST = 60.0  # seconds of an attempt
AGAIN = 5.0  # seconds between looks while it is shut
GRACE = 30.0  # seconds that an answer lasts beyond its interval: by then the next one should be here


class Endpoint(Model):
    """A TCP port of another machine."""

    address: Ip
    port: Port


def _need(value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
    """One sentence in place of one for each branch of the choice."""
    try:
        return validated(value)
    except ValidationError as e:
        raise ValueError(f"is {value!r}; it can be all, any or a number of addresses") from e


class GateField(Model):
    """One of: ping of addresses, a TCP port that accepts, a URL that answers. `attempts`: seconds to wait for an
    answer, once each, until there is one; `need`: how many of the pinged addresses must answer. Asked every `interval`
    seconds, and again as a move begins."""

    ping: Annotated[tuple[Ip, ...], Field(min_length=1), AfterValidator(once(str))] | None = None
    tcp: Endpoint | None = None
    http: Annotated[str | None, Field(pattern=r"^https?://[^\s]+$")] = None
    attempts: Annotated[tuple[Annotated[float, Field(gt=0, le=LONGEST)], ...], Field(min_length=1)] = (5, 10, 30)
    interval: Annotated[float, Field(ge=5, le=60)] = 30
    need: Annotated[Literal["all", "any"] | Annotated[int, Field(ge=1)], WrapValidator(_need)] = "all"

    @model_validator(mode="after")
    def _one(self) -> GateField:
        if sum(way is not None for way in (self.ping, self.tcp, self.http)) != 1:
            raise ValueError("a gate is one of ping, tcp, http: write one list entry for each")
        there = len(self.ping or ("one",))
        if isinstance(self.need, int) and self.need > there:
            raise ValueError(f"need is {self.need}, and there {'is' if there == 1 else 'are'} {there} to ask")
        return self

    @property
    def needed(self) -> int:
        """How many answers."""
        if isinstance(self.need, int):
            return self.need
        return 1 if self.need == "any" else len(self.ping or ("one",))

    def __str__(self) -> str:
        if self.ping is not None:
            return f"ping {', '.join(self.ping)}"
        return f"tcp {self.tcp.address} port {self.tcp.port}" if self.tcp is not None else f"http {self.http}"


@dataclass(frozen=True)
class Answers:
    """Who answered, and who did not after all attempts; `failed`: why it could not be asked."""

    answered: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    failed: str = ""


class GateKind(Probed[GateField, Answers]):
    """`gates: [{ping: [192.0.2.254], attempts: [5, 10, 30]}]`"""

    name = "gate"
    for_target = True
    patience = ENOUGH + LONGEST + 10.0
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "gates": (
            Annotated[
                tuple[GateField, ...],
                AfterValidator(once(str)),
                Field(description="what must be so before a move begins"),
            ],
            (),
        )
    }

    def parts(self, service: Service) -> Sequence[GateField]:
        return tuple(service.get("gates"))

    def key(self, spec: GateField) -> str:
        return str(spec)

    def stage(self, spec: GateField) -> Stage:
        return Stage.CHECK

    def pace(self, spec: GateField) -> Pace:
        """One look has all its attempts in it."""
        return Pace(spec.interval, AGAIN, (ENOUGH + LONGEST,), lasts=spec.interval + GRACE)

    async def ask(self, spec: GateField, machine: Machine, wait: float) -> Answers:
        """A gate that cannot be asked is shut, never unknown: nothing of the service may be held up by it."""
        targets = _targets(spec)
        answered: set[str] = set()
        failed = ""
        try:
            await _ask(spec, targets, answered, machine)
        except MachineError as e:
            failed = str(e)
        return Answers(
            tuple(target for target in targets if target in answered),
            tuple(target for target in targets if target not in answered),
            failed,
        )

    def hung(self, spec: GateField, wait: float) -> Answers:
        return Answers(silent=_targets(spec), failed=f"it was not asked to its end within {wait:.0f} s")

    def passed(self, spec: GateField, seen: Answers) -> bool:
        return len(seen.answered) >= spec.needed

    def plan(self, spec: GateField, role: Role, seen: Answers) -> list[Step]:
        return []

    def conditions(self, spec: GateField, role: Role, seen: Answers) -> list[Condition]:
        return []

    def wants(self, spec: GateField, role: Role) -> str:
        return "passed"

    def says(self, spec: GateField, seen: Answers) -> str:
        return "passed" if self.passed(spec, seen) else _shut(spec, seen)

    def obstacles(self, spec: GateField, seen: Answers, *, alone: bool = False) -> list[str]:
        if self.passed(spec, seen):
            return []
        return [f"gate {spec} is shut: {_shut(spec, seen)}"]


def _targets(spec: GateField) -> tuple[str, ...]:
    return spec.ping if spec.ping is not None else (str(spec).partition(" ")[2],)


def _shut(spec: GateField, seen: Answers) -> str:
    if seen.failed:
        return seen.failed
    times = f"asked {len(spec.attempts)} times" if len(spec.attempts) > 1 else "asked once"
    return f"no answer from {', '.join(seen.silent)} ({times})"


async def _ask(spec: GateField, targets: Sequence[str], answered: set[str], machine: Machine) -> None:
    """All with the first patience before one with the next: a dead one delays no other. Raises MachineError."""
    end = machine.monotonic() + ENOUGH
    for seconds, target in product(spec.attempts, targets):
        if len(answered) >= spec.needed or machine.monotonic() > end:
            return
        if target not in answered and await _answers(spec, target, seconds, machine):
            answered.add(target)


async def _answers(spec: GateField, target: str, seconds: float, machine: Machine) -> bool:
    if spec.tcp is not None:
        return await machine.tcp(spec.tcp.address, spec.tcp.port, seconds)
    if spec.http is not None:
        return 200 <= await machine.http(spec.http, seconds) < 400
    return await machine.ping(target, seconds)
