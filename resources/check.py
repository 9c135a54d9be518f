"""Checks: does the service answer? Asked from within its container, in the background; they change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from resources.kind import Condition, Model, Pending, Role, Service, Stage, Step
from resources.machine import Machine, TimedOut, Unavailable
from resources.probed import Looks, Pace, Probed
from resources.words import Port, once

AGAIN = 2.0  # seconds between looks while one fails
PATIENCE = (5.0, 10.0, 30.0)  # seconds that looks in a row may take; then it is down
GRACE = 60.0  # seconds that an answer lasts beyond its interval: longer than a look may wait


@dataclass(frozen=True)
class Program:
    """One that is known by name: what it is called with, `usual` in place of `arguments` that a spec gives."""

    before: tuple[str, ...]
    usual: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def argv(self, arguments: tuple[str, ...] | None) -> tuple[str, ...]:
        return (*self.before, *(self.usual if arguments is None else arguments), *self.after)


# Each exits 0 when the service answers, by its manual page. What they are and who has them: docs/checks.md.
PROGRAMS: Mapping[str, Program] = {
    "dns": Program(("dig", "@127.0.0.1", "+time=3", "+tries=1", "+short"), (".", "SOA")),
    "ldap": Program(
        ("ldapsearch", "-x", "-LLL", "-s", "base", "-b", ""), ("-H", "ldap://127.0.0.1"), ("namingContexts",)
    ),
    "nfs": Program(("rpcinfo", "-a", "127.0.0.1.8.1", "-T", "tcp", "100003"), ("4",)),
    "pg_isready": Program(("pg_isready",)),
    "ssh": Program(("ssh-keyscan", "-T", "3"), (), ("127.0.0.1",)),
}


class CheckField(Model):
    """One of: a TCP port that accepts, a URL that answers 2xx or 3xx, a program that exits 0 (`exec`), or one that is
    known by its name (`ask`, with `arguments` of its own). Asked every `interval` seconds, within the container.

    By default looks in a row that fail wait 5, 10 and 30 seconds for an answer, and with the third it is down.
    `timeout`: seconds that each waits instead; `fall`: how many must fail; `rise`: how many must pass until it is up.
    """

    tcp: Port | None = None
    http: Annotated[str | None, Field(pattern=r"^https?://[^\s]+$")] = None
    exec: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None
    ask: Literal["dns", "ldap", "nfs", "pg_isready", "ssh"] | None = None
    arguments: tuple[str, ...] | None = None
    interval: Annotated[float, Field(ge=1, le=3600)] = 10
    timeout: Annotated[float | None, Field(gt=0, le=50)] = None
    rise: Annotated[int, Field(ge=1, le=20)] = 1
    fall: Annotated[int | None, Field(ge=1, le=100)] = None

    @model_validator(mode="after")
    def _one(self) -> CheckField:
        if sum(way is not None for way in (self.tcp, self.http, self.exec, self.ask)) != 1:
            raise ValueError("a check is one of tcp, http, exec, ask: write one list entry for each")
        if self.arguments is not None and self.ask is None:
            raise ValueError("arguments are for ask; write those of a program of your own into exec")
        return self

    @property
    def argv(self) -> tuple[str, ...]:
        """Of the program that is run in the container; () where none is."""
        return PROGRAMS[self.ask].argv(self.arguments) if self.ask is not None else self.exec or ()

    def __str__(self) -> str:
        if self.tcp is not None:
            return f"tcp {self.tcp}"
        if self.http is not None:
            return f"http {self.http}"
        if self.ask is not None:
            return " ".join(("ask", self.ask, *(self.arguments or ())))
        return f"exec {' '.join(self.exec or ())}"


def _nothing_runs_on_the_host(checks: tuple[CheckField, ...], service: ValidationInfo) -> tuple[CheckField, ...]:
    """Who may write specs must not thereby be root on the hosts: a program is run in a container or not at all."""
    contained = service.data.get("container", ...) is not None  # not there: it has a problem of its own
    for check in checks:
        if not contained and check.argv:
            raise ValueError(f"{_way(check)} {NO_CONTAINER}: use tcp or http, or give it a container")
    return checks


NO_CONTAINER = "runs in a container, and this service has none"


def _way(check: CheckField) -> str:
    return "exec" if check.exec is not None else "ask"


class CheckSpec(CheckField):
    """`domain` None: on the host itself."""

    domain: str | None = None


@dataclass(frozen=True)
class Answer:
    """`wrong` is why it is down, "" while it is up; `failed` of the last `of` looks failed; `times`: how often over it
    is down (`Looks.times`)."""

    wrong: str = ""
    failed: int = 0
    of: int = 0
    times: int = 0


class CheckKind(Probed[CheckSpec, Answer]):
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

    def pace(self, spec: CheckSpec) -> Pace:
        waits = PATIENCE if spec.timeout is None else (spec.timeout,)
        fall = len(PATIENCE) if spec.fall is None else spec.fall
        return Pace(
            spec.interval, min(AGAIN, spec.interval), waits, lasts=spec.interval + GRACE, rise=spec.rise, fall=fall
        )

    async def ask(self, spec: CheckSpec, machine: Machine, wait: float) -> Answer:
        if spec.tcp is not None:
            accepted = await machine.tcp("127.0.0.1", spec.tcp, wait, spec.domain)
            return Answer("" if accepted else f"nothing accepts on TCP port {spec.tcp}")
        if spec.http is not None:
            status = await machine.http(spec.http, wait, spec.domain)
            return Answer("" if 200 <= status < 400 else f"{spec.http} answers {status or 'nothing'}")
        return await _run(spec, machine, wait)

    def hung(self, spec: CheckSpec, wait: float) -> Answer:
        return Answer(f"{spec} did not answer within {wait:.0f} s")

    def passed(self, spec: CheckSpec, seen: Answer) -> bool:
        return not seen.wrong

    def judged(self, spec: CheckSpec, looks: Looks[Answer]) -> Answer | Pending:
        seen = super().judged(spec, looks)
        if isinstance(seen, Pending):
            return seen
        return replace(seen, failed=looks.last.count(False), of=len(looks.last), times=looks.times(self.pace(spec)))

    def times_down(self, spec: CheckSpec, seen: Answer) -> int:
        return seen.times

    def plan(self, spec: CheckSpec, role: Role, seen: Answer) -> list[Step]:
        return []

    def conditions(self, spec: CheckSpec, role: Role, seen: Answer) -> list[Condition]:
        return [Condition(seen.wrong)] if seen.wrong and role is Role.ACTIVE else []

    def wants(self, spec: CheckSpec, role: Role) -> str:
        return "answers"

    def says(self, spec: CheckSpec, seen: Answer) -> str:
        now_and_then = f"; failed {seen.failed} of the last {seen.of}" if seen.failed else ""
        return seen.wrong or f"answers{now_and_then}"


async def _run(spec: CheckSpec, machine: Machine, wait: float) -> Answer:
    """A hung check is a failed one, and leaves no process behind: `run` ends it. Raises MachineError where there is no
    container to ask, or nobody knows."""
    if spec.domain is None:
        return Answer(f"{_way(spec)} {NO_CONTAINER}")
    name = spec.argv[0]
    try:
        done = await machine.run(*spec.argv, timeout=wait, domain=spec.domain)
    except TimedOut as e:
        return Answer(str(e))
    except Unavailable as e:
        if not (await machine.container(spec.domain)).running:
            raise
        return Answer(str(e))
    return Answer(f"{name} exited {done.status}: {done.said[:100]}" if done.status else "")
