"""Engines: what decides by itself where its primary is, Patroni; the service's addresses follow it.

    engine: {patroni: 8008}                    the port of its REST API in the container
    engine: {patroni: 8008, role: replica}     the addresses of a healthy replica, where there is one

Asked in the background on each of the service's hosts, of Patroni's REST API (its documentation, "Patroni REST API":
/primary answers 200 where it holds the leader's lock, /replica where it is a healthy one). The names of Patroni's
members are those of the hosts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from resources.kind import Condition, Fit, Model, Role, Service, Stage, Step
from resources.machine import Machine, MachineError, Unavailable
from resources.probed import Pace, Probed
from resources.words import Port

INTERVAL, AGAIN = 1.0, 1.0  # seconds between looks
WAIT = 5.0  # seconds for an answer
SILENT = 3  # looks in a row without an answer: one that is merely slow changes nothing
LASTS = 40.0  # seconds that an answer counts
SWITCHES = 60.0  # seconds that Patroni may take to switch over
LAG = "16MB"  # a replica that is further behind is not healthy


class EngineField(Model):
    """Which engine, and which of its members the service follows."""

    patroni: Annotated[Port, Field(description="of its REST API, on the container's loopback")]
    role: Literal["primary", "replica"] = "primary"


class EngineSpec(EngineField):
    """With where it runs."""

    domain: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.patroni}"


@dataclass(frozen=True)
class Member:
    """Patroni here. `role`: primary (it holds the leader's lock), replica (a healthy one), or ""; then why, as a
    clause about Patroni; `paused`: nobody takes over from it by itself; `answered`: did its API? `apart`: a replica
    that takes nothing from the primary, which is away, or from whose past it has gone astray and is to be rewound."""

    role: str
    why: str = ""
    paused: bool = False
    answered: bool = True
    apart: bool = False


@dataclass(frozen=True)
class SwitchOver(Step):
    """Ask Patroni for a planned switchover. It waits until the other is the primary, or says why not."""

    url: str
    domain: str | None
    here: str
    to: str
    exclusive = True
    timeout = SWITCHES + 5

    def __str__(self) -> str:
        return f"ask Patroni to switch over to {self.to}"

    @property
    def done(self) -> str:
        return f"Patroni has switched over to {self.to}"

    async def run(self, machine: Machine) -> None:
        order = json.dumps({"leader": self.here, "candidate": self.to})
        status, text = await machine.fetch(f"{self.url}/switchover", SWITCHES, self.domain, post=order)
        if not status:
            raise Unavailable(f"its API does not answer on {self.url}")
        if status != 200:
            raise MachineError(f"it refuses: {text.strip() or status}")


class EngineKind(Probed[EngineSpec, Member]):
    """`engine: {patroni: 8008}`"""

    name = "engine"
    rivals = "patronictl, an admin"
    always = True
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "engine": (
            Annotated[
                EngineField | None, Field(description="of mode: follows, what decides by itself where its primary is")
            ],
            None,
        )
    }

    def parts(self, service: Service) -> Sequence[EngineSpec]:
        field: EngineField | None = getattr(service, "engine", None)
        return () if field is None else (EngineSpec(**field.model_dump(), domain=service.domain),)

    def key(self, spec: EngineSpec) -> str:
        return "patroni"

    def stage(self, spec: EngineSpec) -> Stage:
        return Stage.CHECK

    def pace(self, spec: EngineSpec) -> Pace:
        return Pace(INTERVAL, AGAIN, (WAIT,), lasts=LASTS, fall=SILENT)

    async def ask(self, spec: EngineSpec, machine: Machine, wait: float) -> Member:
        """One that cannot be asked, since its container does not run, leads nowhere."""
        try:
            return await self._ask(spec, machine, wait)
        except Unavailable as e:
            return Member("", f"cannot be asked: {e}", answered=False)

    async def _ask(self, spec: EngineSpec, machine: Machine, wait: float) -> Member:
        status, text = await machine.fetch(f"{spec.url}/primary", wait, spec.domain)
        if not status:
            return self.hung(spec, wait)
        said = _object(text)
        paused = said.get("pause") is True
        if status == 200:
            return Member("primary", paused=paused)
        if said.get("role") == "replica" and said.get("state") == "running":
            status, text = await machine.fetch(f"{spec.url}/replica?lag={LAG}", wait, spec.domain)
            said = _object(text)
            if said.get("role") != "replica":
                raise MachineError("Patroni is just changing its role")
            if status != 200:
                return Member("", f"is a replica more than {LAG} behind, or one that is not to be used", paused)
            return Member("replica", paused=paused, apart=not said.get("replication_state"))
        return Member("", f"is {said.get('state') or 'in an unknown state'}", paused)

    def hung(self, spec: EngineSpec, wait: float) -> Member:
        return Member("", f"does not answer on port {spec.patroni}", answered=False)

    def passed(self, spec: EngineSpec, seen: Member) -> bool:
        return seen.answered

    def fit(self, spec: EngineSpec, seen: Member) -> Fit:
        if seen.role == spec.role:
            return Fit.FULLY
        return Fit.INSTEAD if seen.role == "primary" else Fit.NOT

    def switch(self, spec: EngineSpec, seen: Member, here: str, to: str) -> Step | None:
        if spec.role != "primary" or seen.role != "primary":
            return None
        return SwitchOver(f"{to} is to be the primary", spec.url, spec.domain, here, to)

    def plan(self, spec: EngineSpec, role: Role, seen: Member) -> list[Step]:
        return []

    def conditions(self, spec: EngineSpec, role: Role, seen: Member) -> list[Condition]:
        if role is not Role.ACTIVE:
            return []
        fit = self.fit(spec, seen)
        if fit is Fit.NOT:
            return [Condition(f"Patroni here {_is(seen)}, not the {spec.role}")]
        notes = ["it is at the primary: there is no healthy replica"] if fit is Fit.INSTEAD else []
        notes += ["Patroni is paused: nobody takes over by itself (patronictl resume)"] if seen.paused else []
        return [Condition(note, broken=False) for note in notes]

    def wants(self, spec: EngineSpec, role: Role) -> str:
        return spec.role if role is Role.ACTIVE else "primary or replica"

    def says(self, spec: EngineSpec, seen: Member) -> str:
        return (seen.role or seen.why) + (", paused" if seen.paused else "")

    def obstacles(self, spec: EngineSpec, seen: Member, *, alone: bool = False) -> list[str]:
        """A planned switchover makes a healthy replica the primary; and the primary can answer reads."""
        if seen.apart:
            return ["Patroni here is a replica that takes nothing from the primary: not yet, or it is to be rewound"]
        return [] if seen.role else [f"Patroni here {seen.why}"]


def _is(seen: Member) -> str:
    return f"is a {seen.role}" if seen.role else seen.why


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
