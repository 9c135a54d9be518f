"""Units: systemd units inside the container, started in the order in which they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Machine, MachineError, Unavailable
from resources.words import Unit, once

PROPERTIES = "LoadState,ActiveState,SubState,Result,TriggeredBy"
RUNS = ("active", "reloading")
HOLDS = (*RUNS, "activating", "deactivating")
READS = 20.0  # seconds that a look may take: a host that starts ten containers at once is slow


class UnitSpec(Model):
    """`domain` None: a unit of the host itself."""

    unit: str
    domain: str | None


@dataclass(frozen=True)
class UnitSeen:
    """`systemctl show`; all empty while the container does not run. `sockets` (or timers, paths: TriggeredBy=) start it
    again when they are touched."""

    load: str = ""
    active: str = "inactive"
    sub: str = ""
    result: str = ""
    sockets: tuple[str, ...] = ()


def parse(text: str) -> UnitSeen:
    """What `systemctl show --property=…` printed -> the unit."""
    said = dict(line.partition("=")[::2] for line in text.splitlines())
    return UnitSeen(
        said.get("LoadState", ""),
        said.get("ActiveState", "inactive"),
        said.get("SubState", ""),
        said.get("Result", ""),
        tuple(said.get("TriggeredBy", "").split()),
    )


async def _systemctl(machine: Machine, spec: UnitSpec, *argv: str, timeout: float) -> None:
    done = await machine.run("systemctl", *argv, timeout=timeout, domain=spec.domain)
    if done.status:
        lines = [line.strip() for line in done.err.splitlines() if line.strip() and not line.startswith("See ")]
        raise MachineError(f"systemctl {argv[0]} {spec.unit}: {lines[0] if lines else 'failed'}")


@dataclass(frozen=True)
class Start(Step):
    """systemctl start, and wait for the job."""

    spec: UnitSpec
    exclusive = True
    timeout = 90.0

    def __str__(self) -> str:
        return f"start {self.spec.unit}"

    @property
    def done(self) -> str:
        return f"{self.spec.unit} started"

    async def run(self, machine: Machine) -> None:
        await _systemctl(machine, self.spec, "start", self.spec.unit, timeout=self.timeout - 2)


@dataclass(frozen=True)
class Revive(Start):
    """A unit that failed too often in a row is not started by systemd until its failures are forgotten."""

    async def run(self, machine: Machine) -> None:
        await _systemctl(machine, self.spec, "reset-failed", self.spec.unit, timeout=10)
        await super().run(machine)


@dataclass(frozen=True)
class Stop(Step):
    """systemctl stop, and wait for the jobs. What would start it again goes first: a client that asks while the unit is
    being stopped must find nobody listening."""

    spec: UnitSpec
    sockets: tuple[str, ...]
    down = True
    timeout = 60.0

    def __str__(self) -> str:
        return f"stop {self.spec.unit}"

    @property
    def done(self) -> str:
        return f"{self.spec.unit} stopped"

    async def run(self, machine: Machine) -> None:
        await _systemctl(machine, self.spec, "stop", *self.sockets, self.spec.unit, timeout=self.timeout - 2)


class UnitKind(Kind[UnitSpec, UnitSeen]):
    """`units: [rpcbind.service, nfs-server.service]`"""

    name = "unit"
    contested = "it fails by itself (journalctl -u in its container), or something else manages it"
    rivals = "a unit that has Conflicts= with it, a timer, an admin"
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "units": (
            Annotated[
                tuple[Unit, ...],
                AfterValidator(once(str)),
                Field(description="in the container, started in this order"),
            ],
            (),
        )
    }

    def parts(self, service: Service) -> Sequence[UnitSpec]:
        return tuple(UnitSpec(unit=unit, domain=service.domain) for unit in service.get("units"))

    def key(self, spec: UnitSpec) -> str:
        return spec.unit

    def stage(self, spec: UnitSpec) -> Stage:
        return Stage.UNIT

    async def observe(self, spec: UnitSpec, machine: Machine) -> UnitSeen:
        if spec.domain is not None and not (await machine.container(spec.domain)).running:
            return UnitSeen()
        argv = ("systemctl", "show", f"--property={PROPERTIES}", spec.unit)
        done = await machine.run(*argv, timeout=READS, domain=spec.domain)
        if done.status:
            raise Unavailable(f"systemd in {spec.domain or 'the host'} does not answer: {done.said}")
        return parse(done.out)

    def plan(self, spec: UnitSpec, role: Role, seen: UnitSeen) -> list[Step]:
        if role is not Role.ACTIVE:
            return [Stop("this host is not to run it", spec, seen.sockets)] if seen.active in HOLDS else []
        if seen.active in RUNS:
            return []
        if seen.active == "failed":
            return [Revive(f"it has failed ({seen.result})", spec)]
        return [Start("it does not run", spec)]

    def conditions(self, spec: UnitSpec, role: Role, seen: UnitSeen) -> list[Condition]:
        if role is not Role.ACTIVE:
            return [Condition(f"{spec.unit} runs")] if seen.active in HOLDS else []
        if seen.active in RUNS:
            return []
        failed = seen.result not in ("", "success")
        why = f" ({seen.result})" if failed else ""
        cause = f"its systemd says {seen.result} (journalctl -u {spec.unit})" if failed else ""
        return [Condition(f"{spec.unit} is {seen.active}{why}", cause=cause)]

    def wants(self, spec: UnitSpec, role: Role) -> str:
        return "active" if role is Role.ACTIVE else "inactive"

    def says(self, spec: UnitSpec, seen: UnitSeen) -> str:
        return f"{seen.active} ({seen.sub})" if seen.sub else seen.active

    def held(self, spec: UnitSpec, seen: UnitSeen) -> str:
        return f"{spec.unit} runs" if seen.active in HOLDS else ""

    def obstacles(self, spec: UnitSpec, seen: UnitSeen, *, alone: bool = False) -> list[str]:
        missing = seen.load in ("not-found", "masked", "bad-setting", "error")
        where = f"in container {spec.domain}" if spec.domain else "on this host"
        return [f"{spec.unit} is {seen.load} {where}"] if missing else []

    def restart(self, spec: UnitSpec, seen: UnitSeen, why: str) -> tuple[Step, Step]:
        return Stop(why, spec, seen.sockets), Start(why, spec)

    def topics(self, spec: UnitSpec) -> frozenset[str]:
        return frozenset({f"units/{spec.domain or ''}"})
