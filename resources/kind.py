"""What every resource kind is: Kind, Step, Role, Stage, Condition, and the part of a service's spec they all know.

A service is taken apart into *parts*, each with an id such as `disk/nfs-home`; a kind makes its parts from the
service's spec, observes each, and says what steps lead from what was seen to the role this host has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from resources.machine import Machine


class Role(StrEnum):
    """What this host owes a service."""

    ACTIVE = "active"
    STANDBY = "standby"  # warm: its container runs, nothing exclusive is held
    ABSENT = "absent"  # nothing of it at all


class Stage(IntEnum):
    """The order in which a service comes up; it goes down in the reverse. Steps of one stage go side by side
    where their kind says so."""

    DISK = 10
    HOST_MOUNT = 20
    CONTAINER = 30
    MOUNT = 40
    PREPARE = 45
    UNIT = 50
    ADDRESS = 60
    CHECK = 70


class Model(BaseModel):
    """Base of everything a user writes: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


@dataclass(frozen=True)
class Unknown:
    """Could not be read just now. Never taken for "not there": nothing is planned for it, and it counts as held."""

    reason: str

    def clause(self, part_id: str) -> str:
        """For the operator: `disk/nfs-home cannot be read: drbdsetup is missing`."""
        return f"{part_id} cannot be read: {self.reason}"


@dataclass(frozen=True)
class Pending(Unknown):
    """Asked in the background (`resources.probed`), and nothing that counts was answered yet; `reason`: what the last
    look found, "" where there was none. Neither as it should be nor wrong: not Ready, and no drift."""

    reason: str = ""

    def clause(self, part_id: str) -> str:
        return f"{part_id} has not answered yet" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Condition:
    """Something about a part that is not as its role wants it; `reason` is a clause for the operator:
    `address 192.0.2.10/24 is missing on eth0`. `broken` is False for what merely takes its time; `cause`: if known."""

    reason: str
    broken: bool = True
    cause: str = ""


class Fit(IntEnum):
    """How what an engine of its own is here fits a service that follows it."""

    NOT = 0
    INSTEAD = 1  # where no other is left
    FULLY = 2


@dataclass(frozen=True)
class Step(ABC):
    """One small, idempotent action. Frozen: comparable and printable.

    `reason` says why it is needed, `__str__` what it does, in the words of a log line: `promote nfs-home`,
    `done` the same when it is over: `nfs-home promoted`.
    """

    reason: str

    exclusive: ClassVar[bool] = False  # only the owner may run it
    down: ClassVar[bool] = False  # takes something away: runs before, and in reverse stage order
    timeout: ClassVar[float] = 30.0

    @abstractmethod
    def __str__(self) -> str: ...

    @property
    @abstractmethod
    def done(self) -> str:
        """What is true once it has run."""

    @abstractmethod
    async def run(self, machine: Machine) -> None:
        """Do it; fine when it is done already. Raises MachineError."""

    @property
    def optional(self) -> bool:
        """Where it fails, that is told, and the steps after it run all the same."""
        return False

    def undo(self) -> Step | None:
        """What puts this back when another of its stage fails, or None: disks go together or not at all."""
        return None


S = TypeVar("S", bound=Model)
Seen = TypeVar("Seen")


class Kind(ABC, Generic[S, Seen]):
    """One sort of thing a service is made of.

    `name` is the first half of its parts' ids; `fields` what it adds to a service's spec: name -> (type, default),
    as pydantic.create_model takes them.
    """

    name: ClassVar[str]
    side_by_side: ClassVar[bool] = False  # parts of this kind do not wait for each other
    for_target: ClassVar[bool] = False  # matters only where the service could come to: the owner does not look at it
    always: ClassVar[bool] = False  # asked in the background on each of the service's hosts, whatever its role
    patience: ClassVar[float] = 30.0  # seconds: a part that takes longer to read is unknown
    contested: ClassVar[str] = "something else manages it"  # why one that is put back again and again does not stay
    rivals: ClassVar[str] = "another tool, an admin"  # who else may manage such a part: a fight over one names them
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {}

    @abstractmethod
    def parts(self, service: Service) -> Sequence[S]:
        """This kind's parts of the service, in the order in which they come up."""

    @abstractmethod
    def key(self, spec: S) -> str:
        """The second half of the part's id, unique within the service: nfs-home, /export/home, 192.0.2.10/24."""

    @abstractmethod
    def stage(self, spec: S) -> Stage:
        """When it comes up."""

    def belongs(self, spec: S, host: str) -> bool:
        """Pure: is this part for that host? Where it is not, it is put down if it is there."""
        return True

    @abstractmethod
    async def observe(self, spec: S, machine: Machine) -> Seen:
        """Reads only. Raises MachineError (Unavailable above all): the part is Unknown then."""

    @abstractmethod
    def plan(self, spec: S, role: Role, seen: Seen) -> list[Step]:
        """Pure: the steps from what was seen to the role."""

    @abstractmethod
    def conditions(self, spec: S, role: Role, seen: Seen) -> list[Condition]:
        """Pure: what is not as the role wants it; empty when all is well."""

    @abstractmethod
    def says(self, spec: S, seen: Seen) -> str:
        """Pure: the state in a few words, for `status`: `Primary, UpToDate, connected`."""

    @abstractmethod
    def wants(self, spec: S, role: Role) -> str:
        """Pure: what the role asks for, in a few words, beside what `says` says: `Primary`, `absent`, `on eth0`."""

    def held(self, spec: S, seen: Seen) -> str:
        """Pure: what exclusive thing this host holds of it, as a clause (`nfs-home is Primary`), or ""."""
        return ""

    def obstacles(self, spec: S, seen: Seen, *, alone: bool = False) -> list[str]:
        """Pure: why this host could not take it over now; each names the thing and, where there is one, the way out.
        `alone`: the last owner is gone, so what only it could give is not asked for."""
        return []

    def restart(self, spec: S, seen: Seen, why: str) -> tuple[Step, Step] | None:
        """Pure: down and up again, of what can be restarted by itself; None for anything else."""
        return None

    def held_up(self, spec: S, seen: Seen) -> bool:
        """Pure: does it hold all I/O, having lost its peer, until somebody decides?"""
        return False

    def current(self, spec: S, seen: Seen) -> bool:
        """Pure: is every other copy of it connected and up to date, as seen from here?"""
        return False

    def go_on(self, spec: S, seen: Seen) -> list[Step]:
        """Pure: let what is held up go on. Only the owner may, and only once the other copies are marked outdated."""
        return []

    def give_up(self, spec: S, seen: Seen) -> list[Step]:
        """Pure: end what is held up without writing it: another host owns the service by now."""
        return []

    def fit(self, spec: S, seen: Seen) -> Fit | None:
        """Pure: does an engine lead here that the service follows? None: it is none."""
        return None

    def switch(self, spec: S, seen: Seen, here: str, to: str) -> Step | None:
        """Pure: ask the engine, which leads here, to go to another host."""
        return None

    def topics(self, spec: S) -> frozenset[str]:
        """Of `Machine.changes`, the ones that mean: look at this again."""
        return frozenset()


class ContainerRef(Model):
    """`{domain: NAME}`: a libvirt-LXC domain that is defined on every host of the service. `{of: SERVICE}`: that
    service's container, which it alone starts and stops."""

    domain: str | None = None
    of: Annotated[str | None, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")] = None

    @model_validator(mode="after")
    def _one(self) -> ContainerRef:
        if (self.domain is None) == (self.of is None):
            raise ValueError("a container is a domain of its own, {domain: NAME}, or another service's, {of: SERVICE}")
        return self


class Service(Model):
    """What a kind may know of the service it is a part of. `reconciler.spec` adds every kind's own fields."""

    container: ContainerRef | None = None

    def get(self, field: str) -> tuple[Any, ...]:
        """A kind's own field."""
        return tuple(getattr(self, field))

    @property
    def domain(self) -> str | None:
        """Where its parts live: the container's domain, or None for the host itself. Of a guest: reconciler.guests."""
        return self.container.domain if self.container else None


@dataclass(frozen=True)
class Part(Generic[S, Seen]):
    """A part of a service and the kind that knows it."""

    kind: Kind[S, Seen]
    spec: S

    @cached_property
    def id(self) -> str:
        return f"{self.kind.name}/{self.kind.key(self.spec)}"

    @property
    def stage(self) -> Stage:
        return self.kind.stage(self.spec)


AnyPart = Part[Any, Any]


def take_apart(service: Service, kinds: Iterable[Kind[Any, Any]]) -> tuple[AnyPart, ...]:
    """All parts of a service, in the order in which they come up (stage, then as written)."""
    parts = [Part(kind, spec) for kind in kinds for spec in kind.parts(service)]
    return tuple(sorted(parts, key=lambda part: part.stage))
