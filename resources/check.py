"""Checks: does the service answer? Looked at from within its container; they change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Machine, TimedOut, Unavailable
from resources.words import Port, once


class CheckField(Model):
    """One of: a TCP port that accepts, a URL that answers 2xx or 3xx, a program that exits 0. `timeout` in seconds."""

    tcp: Port | None = None
    http: Annotated[str | None, Field(pattern=r"^https?://[^\s]+$")] = None
    exec: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None
    timeout: Annotated[float, Field(gt=0, le=20)] = 5

    @model_validator(mode="after")
    def _one(self) -> CheckField:
        if sum(way is not None for way in (self.tcp, self.http, self.exec)) != 1:
            raise ValueError("a check is one of tcp, http, exec: write one list entry for each")
        return self

    def __str__(self) -> str:
        if self.tcp is not None:
            return f"tcp {self.tcp}"
        return f"http {self.http}" if self.http is not None else f"exec {' '.join(self.exec or ())}"


def _nothing_runs_on_the_host(checks: tuple[CheckField, ...], service: ValidationInfo) -> tuple[CheckField, ...]:
    """Who may write specs must not thereby be root on the hosts: a program is run in a container or not at all."""
    contained = service.data.get("container", ...) is not None  # not there: it has a problem of its own
    if not contained and any(check.exec is not None for check in checks):
        raise ValueError("exec runs in a container, and this service has none: use tcp or http, or give it a container")
    return checks


class CheckSpec(CheckField):
    """`domain` None: on the host itself."""

    domain: str | None = None


@dataclass(frozen=True)
class Answer:
    """`wrong` is why it failed, "" when it did not."""

    wrong: str = ""


class CheckKind(Kind[CheckSpec, Answer]):
    """`checks: [{tcp: 2049}]`"""

    name = "check"
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "checks": (
            Annotated[
                tuple[CheckField, ...],
                AfterValidator(once(str)),
                AfterValidator(_nothing_runs_on_the_host),
                Field(description="does the service answer?"),
            ],
            (),
        )
    }

    def parts(self, service: Service) -> Sequence[CheckSpec]:
        return tuple(CheckSpec(**one.model_dump(), domain=service.domain) for one in service.get("checks"))

    def key(self, spec: CheckSpec) -> str:
        return str(spec)

    def stage(self, spec: CheckSpec) -> Stage:
        return Stage.CHECK

    async def observe(self, spec: CheckSpec, machine: Machine) -> Answer:
        if spec.domain is not None and not (await machine.container(spec.domain)).running:
            return Answer("its container does not run")
        if spec.tcp is not None:
            accepted = await machine.tcp("127.0.0.1", spec.tcp, spec.timeout, spec.domain)
            return Answer("" if accepted else f"nothing accepts on TCP port {spec.tcp}")
        if spec.http is not None:
            status = await machine.http(spec.http, spec.timeout, spec.domain)
            return Answer("" if 200 <= status < 400 else f"{spec.http} answers {status or 'nothing'}")
        return await _run(spec, machine)

    def plan(self, spec: CheckSpec, role: Role, seen: Answer) -> list[Step]:
        return []

    def conditions(self, spec: CheckSpec, role: Role, seen: Answer) -> list[Condition]:
        return [Condition(seen.wrong)] if seen.wrong and role is Role.ACTIVE else []

    def wants(self, spec: CheckSpec, role: Role) -> str:
        return "answers"

    def says(self, spec: CheckSpec, seen: Answer) -> str:
        return seen.wrong or "answers"


async def _run(spec: CheckSpec, machine: Machine) -> Answer:
    """A hung check is a failed one, and leaves no process behind: `run` ends it."""
    argv = spec.exec or ()
    if spec.domain is None:
        return Answer("exec runs in a container, and this service has none")
    try:
        done = await machine.run(*argv, timeout=spec.timeout, domain=spec.domain)
    except (TimedOut, Unavailable) as e:
        return Answer(str(e))
    return Answer(f"{argv[0]} exited {done.status}: {(done.err or done.out).strip()[:100]}" if done.status else "")
