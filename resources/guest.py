"""Guests: a service in another's container (`container: {of: dns}`), which that service alone starts and stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resources import machine as world
from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Machine, MachineError

PATIENCE = 60.0  # seconds: after a boot, the container of the other service is just being started
LOOKS = 0.5  # seconds between looks


class GuestSpec(Model):
    """The container `domain` of the service `of`."""

    domain: str
    of: str


@dataclass(frozen=True)
class Await(Step):
    """Until it runs. Nothing of the guest may be brought up before."""

    domain: str
    of: str
    timeout = PATIENCE + 5

    def __str__(self) -> str:
        return f"wait for container {self.domain} of {self.of}"

    @property
    def done(self) -> str:
        return f"container {self.domain} of {self.of} runs"

    async def run(self, machine: Machine) -> None:
        ends = machine.monotonic() + PATIENCE
        while not (await machine.container(self.domain)).running:
            if machine.monotonic() > ends:
                raise MachineError(_does_not_run(self.domain, self.of))
            await machine.sleep(LOOKS)


class GuestKind(Kind[GuestSpec, world.Container]):
    """`container: {of: dns}`"""

    name = "guest"
    rivals = "virsh, the service that keeps the container"

    def parts(self, service: Service) -> Sequence[GuestSpec]:
        if service.container is None or service.container.of is None or service.domain is None:
            return ()
        return (GuestSpec(domain=service.domain, of=service.container.of),)

    def key(self, spec: GuestSpec) -> str:
        return spec.of

    def stage(self, spec: GuestSpec) -> Stage:
        return Stage.CONTAINER

    async def observe(self, spec: GuestSpec, machine: Machine) -> world.Container:
        return await machine.container(spec.domain)

    def plan(self, spec: GuestSpec, role: Role, seen: world.Container) -> list[Step]:
        waits = role is Role.ACTIVE and not seen.running
        return [Await("it is another service's to start", spec.domain, spec.of)] if waits else []

    def conditions(self, spec: GuestSpec, role: Role, seen: world.Container) -> list[Condition]:
        waits = role is Role.ACTIVE and not seen.running
        return [Condition(_does_not_run(spec.domain, spec.of))] if waits else []

    def wants(self, spec: GuestSpec, role: Role) -> str:
        return "running" if role is Role.ACTIVE else "as its service has it"

    def says(self, spec: GuestSpec, seen: world.Container) -> str:
        return f"container {spec.domain} {'running' if seen.running else 'stopped' if seen.defined else 'not defined'}"

    def held(self, spec: GuestSpec, seen: world.Container) -> str:
        """Of an earlier run, an address or a mount of the guest may be left where nobody else sees it."""
        return f"processes of an earlier run of container {spec.domain} are left" if seen.orphans else ""

    def obstacles(self, spec: GuestSpec, seen: world.Container, *, alone: bool = False) -> list[str]:
        return [] if seen.running else [_does_not_run(spec.domain, spec.of)]

    def topics(self, spec: GuestSpec) -> frozenset[str]:
        return frozenset({f"domain/{spec.domain}"})


def _does_not_run(domain: str, of: str) -> str:
    return f"container {domain} does not run here: service {of} keeps it (hactl status {of})"
