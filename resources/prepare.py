"""Prepare: programs run in the container before its units start, once at each bring-up (`git pull` of a configuration).

That it ran is noted under /run of the host, with the container's run: another run of it, or a bring-up after it was put
down, prepares anew; a unit that fails is started again without it. The program is started by the container's systemd,
as an exec check is: never on the host, never through a shell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo

from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Machine, MachineError, Unavailable
from resources.words import once

DIRECTORY = "/run/hactl/prepared"
LONGEST = 600.0  # seconds
RUNS = ("ActiveState=active", "ActiveState=reloading", "ActiveState=activating", "ActiveState=deactivating")


class PrepareField(Model):
    """`exec`: a program and its arguments. `timeout` in seconds. `required`: the units do not start where it fails;
    otherwise they start with what is there."""

    exec: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: Annotated[float, Field(gt=0, le=LONGEST)] = 60
    required: bool = False

    def __str__(self) -> str:
        return " ".join(self.exec)


def _only_in_a_container(listed: tuple[PrepareField, ...], service: ValidationInfo) -> tuple[PrepareField, ...]:
    """Who may write specs must not thereby be root on the hosts."""
    contained = service.data.get("container", ...) is not None  # not there: it has a problem of its own
    if listed and not contained:
        raise ValueError("prepare runs in a container, and this service has none: give it a container")
    return listed


class PrepareSpec(PrepareField):
    """`units`: those that it comes before."""

    domain: str
    units: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """The file that says that it ran; two services of one container have their own."""
        digest = hashlib.sha256(json.dumps([self.units, self.exec]).encode()).hexdigest()
        return f"{DIRECTORY}/{self.domain}/{digest[:16]}"


@dataclass(frozen=True)
class PrepareSeen:
    """`noted`: is there a note of it, `ran`: in this run of the container; `failed`: why it failed then; `late`: its
    units run, so that it is too late for it."""

    noted: bool = False
    ran: bool = False
    failed: str = ""
    late: bool = False


@dataclass(frozen=True)
class Prepare(Step):
    """Run it. What fails and is not required is noted as well: it is not tried again in this bring-up."""

    spec: PrepareSpec
    exclusive = True
    timeout = LONGEST + 10

    def __str__(self) -> str:
        return f"prepare with {self.spec}"

    @property
    def done(self) -> str:
        return f"prepared with {self.spec}"

    @property
    def optional(self) -> bool:
        return not self.spec.required

    async def run(self, machine: Machine) -> None:
        run = (await machine.container(self.spec.domain)).id
        failed = await _failed(machine, self.spec)
        if not failed or self.optional:
            machine.write(self.spec.note, json.dumps({"container": run, "failed": failed}))
        if failed:
            raise MachineError(failed)


async def _failed(machine: Machine, spec: PrepareSpec) -> str:
    """Run it; why it failed, or ""."""
    try:
        done = await machine.run(*spec.exec, timeout=spec.timeout, domain=spec.domain)
    except MachineError as e:
        return str(e)
    return f"{spec.exec[0]} exited {done.status}{f': {done.said}' if done.said else ''}" if done.status else ""


@dataclass(frozen=True)
class Forget(Step):
    """The next bring-up prepares anew."""

    spec: PrepareSpec
    down = True

    def __str__(self) -> str:
        return f"forget that {self.spec} ran"

    @property
    def done(self) -> str:
        return f"{self.spec} is for the next start"

    async def run(self, machine: Machine) -> None:
        machine.remove(self.spec.note)


class PrepareKind(Kind[PrepareSpec, PrepareSeen]):
    """`prepare: [{exec: [git, -C, /etc/dhcp, pull], timeout: 60, required: false}]`"""

    name = "prepare"
    rivals = "what starts the container again, a cleaner of /run"
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "prepare": (
            Annotated[
                tuple[PrepareField, ...],
                AfterValidator(once(str)),
                AfterValidator(_only_in_a_container),
                Field(description="programs run in the container before its units, in this order, at each bring-up"),
            ],
            (),
        )
    }

    def parts(self, service: Service) -> Sequence[PrepareSpec]:
        if service.domain is None:
            return ()
        units = tuple(map(str, service.get("units")))
        listed = service.get("prepare")
        return tuple(PrepareSpec(**one.model_dump(), domain=service.domain, units=units) for one in listed)

    def key(self, spec: PrepareSpec) -> str:
        return str(spec)

    def stage(self, spec: PrepareSpec) -> Stage:
        return Stage.PREPARE

    async def observe(self, spec: PrepareSpec, machine: Machine) -> PrepareSeen:
        text = machine.read(spec.note)
        container = await machine.container(spec.domain)
        if not container.running:
            return PrepareSeen(noted=text is not None)
        run, failed = _noted(text)
        if run == container.id:
            return PrepareSeen(noted=True, ran=True, failed=failed)
        return PrepareSeen(noted=text is not None, late=await _late(spec, machine))

    def plan(self, spec: PrepareSpec, role: Role, seen: PrepareSeen) -> list[Step]:
        if role is not Role.ACTIVE:
            return [Forget("this host is not to run it", spec)] if seen.noted else []
        return [] if seen.ran or seen.late else [Prepare("its units are about to start", spec)]

    def conditions(self, spec: PrepareSpec, role: Role, seen: PrepareSeen) -> list[Condition]:
        if role is not Role.ACTIVE or seen.late:
            return []
        if not seen.ran:
            return [Condition(f"prepare {spec} has not run")]
        return [Condition(f"started without {spec}: {seen.failed}", broken=False)] if seen.failed else []

    def wants(self, spec: PrepareSpec, role: Role) -> str:
        return "run before its units" if role is Role.ACTIVE else "not run"

    def says(self, spec: PrepareSpec, seen: PrepareSeen) -> str:
        if seen.ran:
            return f"failed, and it was started without: {seen.failed}" if seen.failed else "ran"
        return "not run: its units ran already" if seen.late else "not run"


def _noted(text: str | None) -> tuple[str | None, str]:
    """(the run of the container, why it failed) of a note; what is none counts for nothing."""
    try:
        match json.loads(text or ""):
            case {"container": str(run), "failed": str(failed)}:
                return run, failed
    except ValueError:
        pass
    return None, ""


async def _late(spec: PrepareSpec, machine: Machine) -> bool:
    """Does one of its units run?"""
    for unit in spec.units:
        done = await machine.run("systemctl", "show", "--property=ActiveState", unit, timeout=10, domain=spec.domain)
        if done.status:
            raise Unavailable(f"systemd in {spec.domain} does not answer: {done.said}")
        if any(line in RUNS for line in done.out.splitlines()):
            return True
    return False
