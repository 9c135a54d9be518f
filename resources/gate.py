"""Gates: what must be so before a move begins, seen from the host that would take over. The switch answers, …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Machine
from resources.words import Ip, Port


class Endpoint(Model):
    """A TCP port of another machine."""

    address: Ip
    port: Port


class GateField(Model):
    """One of: ping of addresses, a TCP port that accepts, a URL that answers. `attempts`: seconds to wait for an answer,
    once each, until there is one; `need`: how many of the pinged addresses must answer."""

    ping: Annotated[tuple[Ip, ...] | None, Field(min_length=1)] = None
    tcp: Endpoint | None = None
    http: Annotated[str | None, Field(pattern=r"^https?://[^\s]+$")] = None
    attempts: Annotated[tuple[Annotated[float, Field(gt=0, le=60)], ...], Field(min_length=1)] = (5, 10, 30)
    need: Literal["all", "any"] | Annotated[int, Field(ge=1)] = "all"

    @model_validator(mode="after")
    def _one(self) -> GateField:
        if sum(way is not None for way in (self.ping, self.tcp, self.http)) != 1:
            raise ValueError("a gate is one of ping, tcp, http: write one list entry for each")
        if isinstance(self.need, int) and self.need > len(self.ping or ()):
            raise ValueError(f"need is {self.need}, and there are {len(self.ping or ())} addresses to ping")
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
    """Who answered, and who did not after all attempts."""

    answered: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


class GateKind(Kind[GateField, Answers]):
    """`gates: [{ping: [192.0.2.254], attempts: [5, 10, 30]}]`"""

    name = "gate"
    for_target = True
    patience = 120.0
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "gates": (Annotated[tuple[GateField, ...], Field(description="what must be so before a move begins")], ())
    }

    def parts(self, service: Service) -> Sequence[GateField]:
        return tuple(service.get("gates"))

    def key(self, spec: GateField) -> str:
        return str(spec)

    def stage(self, spec: GateField) -> Stage:
        return Stage.CHECK

    async def observe(self, spec: GateField, machine: Machine) -> Answers:
        targets = spec.ping if spec.ping is not None else (str(spec).partition(" ")[2],)
        answered: list[str] = []
        for target in targets:
            if len(answered) < spec.needed and await _answers(spec, target, machine):
                answered.append(target)
        return Answers(tuple(answered), tuple(target for target in targets if target not in answered))

    def plan(self, spec: GateField, role: Role, seen: Answers) -> list[Step]:
        return []

    def conditions(self, spec: GateField, role: Role, seen: Answers) -> list[Condition]:
        return []

    def says(self, spec: GateField, seen: Answers) -> str:
        return "passed" if len(seen.answered) >= spec.needed else f"no answer from {', '.join(seen.silent)}"

    def obstacles(self, spec: GateField, seen: Answers) -> list[str]:
        if len(seen.answered) >= spec.needed:
            return []
        times = f"asked {len(spec.attempts)} times" if len(spec.attempts) > 1 else "asked once"
        return [f"gate {spec} is shut: no answer from {', '.join(seen.silent)} ({times})"]


async def _answers(spec: GateField, target: str, machine: Machine) -> bool:
    for seconds in spec.attempts:
        if spec.tcp is not None:
            answered = await machine.tcp(spec.tcp.address, spec.tcp.port, seconds)
        elif spec.http is not None:
            answered = 200 <= await machine.http(spec.http, seconds) < 400
        else:
            answered = await machine.ping(target, seconds)
        if answered:
            return True
    return False
