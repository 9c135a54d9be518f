"""Containers: a libvirt-LXC domain, defined on every host. Warm on the standby, unless a disk holds its root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from resources import machine as world
from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Machine, MachineError
from resources.words import disks

START_PATIENCE = 90.0  # seconds until its init answers
GRACE = 15.0  # seconds for its init to power off


class ContainerSpec(Model):
    """`warm`: it may run on the standby. Not so where a disk that only one host has is mounted before it starts."""

    domain: str
    warm: bool = True


@dataclass(frozen=True)
class Start(Step):
    """virsh start."""

    domain: str
    timeout = START_PATIENCE + 5

    def __str__(self) -> str:
        return f"start container {self.domain}"

    @property
    def done(self) -> str:
        return f"container {self.domain} started"

    async def run(self, machine: Machine) -> None:
        await machine.start_container(self.domain, START_PATIENCE)


@dataclass(frozen=True)
class StartAlone(Start):
    """The same, where it may run on one host only."""

    exclusive = True


@dataclass(frozen=True)
class Stop(Step):
    """virsh shutdown, then destroy."""

    domain: str
    down = True
    timeout = GRACE + 30

    def __str__(self) -> str:
        return f"stop container {self.domain}"

    @property
    def done(self) -> str:
        return f"container {self.domain} stopped"

    async def run(self, machine: Machine) -> None:
        await machine.stop_container(self.domain, GRACE)


@dataclass(frozen=True)
class KillOrphans(Step):
    """Of a run whose controller is gone, through their cgroup."""

    domain: str
    down = True
    timeout = 20.0

    def __str__(self) -> str:
        return f"end what is left of container {self.domain}"

    @property
    def done(self) -> str:
        return f"what was left of container {self.domain} ended"

    async def run(self, machine: Machine) -> None:
        await machine.kill_orphans(self.domain)
        left = await machine.container(self.domain)
        if had := _had(left):
            raise MachineError(f"{_stuck(self.domain, left)}, and may still have {', '.join(had)}")


class ContainerKind(Kind[ContainerSpec, world.Container]):
    """`container: {domain: nfs}`"""

    name = "container"
    rivals = "libvirt's autostart, virsh, another tool"

    def parts(self, service: Service) -> Sequence[ContainerSpec]:
        if service.container is None or service.container.of is not None or service.domain is None:
            return ()
        warm = all(disk.where != "host" for disk in disks(service))
        return (ContainerSpec(domain=service.domain, warm=warm),)

    def key(self, spec: ContainerSpec) -> str:
        return spec.domain

    def stage(self, spec: ContainerSpec) -> Stage:
        return Stage.CONTAINER

    async def observe(self, spec: ContainerSpec, machine: Machine) -> world.Container:
        return await machine.container(spec.domain)

    def plan(self, spec: ContainerSpec, role: Role, seen: world.Container) -> list[Step]:
        wanted = _wanted(spec, role)
        kill: list[Step] = [KillOrphans("its controller is gone", spec.domain)] if _blocks(spec, seen) else []
        if wanted and not seen.running and seen.defined:
            start = Start if spec.warm else StartAlone
            return [
                *kill,
                start("it does not run" if role is Role.ACTIVE else "it waits warm on the standby", spec.domain),
            ]
        return [*kill, Stop("it is not to run on this host", spec.domain)] if seen.running and not wanted else kill

    def conditions(self, spec: ContainerSpec, role: Role, seen: world.Container) -> list[Condition]:
        if _blocks(spec, seen):
            return [Condition(_left(spec, seen), cause="its controller (libvirt_lxc) has died")]
        stuck = [Condition(f"{_stuck(spec.domain, seen)}; it holds nothing", broken=False)] if seen.stuck else []
        if not seen.defined:
            return [Condition(_undefined(spec), broken=role is Role.ACTIVE), *stuck]
        if seen.running == _wanted(spec, role):
            return stuck
        return [Condition(f"container {spec.domain} {'runs' if seen.running else 'does not run'}"), *stuck]

    def wants(self, spec: ContainerSpec, role: Role) -> str:
        return "running" if _wanted(spec, role) else "stopped"

    def says(self, spec: ContainerSpec, seen: world.Container) -> str:
        count = len(seen.orphans + seen.stuck)
        left = f", {count} processes left of an earlier run" if count else ""
        return ("running" if seen.running else "stopped" if seen.defined else "not defined") + left

    def held(self, spec: ContainerSpec, seen: world.Container) -> str:
        if _blocks(spec, seen):  # an address, a mount may be in their namespaces, where nobody else sees them
            return _left(spec, seen)
        return f"container {spec.domain} runs" if seen.running and not spec.warm else ""

    def obstacles(self, spec: ContainerSpec, seen: world.Container, *, alone: bool = False) -> list[str]:
        if not seen.defined:
            return [_undefined(spec)]
        return [f"container {spec.domain} does not run yet"] if spec.warm and not seen.running else []

    def topics(self, spec: ContainerSpec) -> frozenset[str]:
        return frozenset({f"domain/{spec.domain}"})


def _wanted(spec: ContainerSpec, role: Role) -> bool:
    return role is Role.ACTIVE or (role is Role.STANDBY and spec.warm)


def _blocks(spec: ContainerSpec, seen: world.Container) -> bool:
    """Is there something of an earlier run that can still be ended, or may hold what only one host may have?"""
    return bool(seen.orphans or _had(seen))


def _had(seen: world.Container) -> list[str]:
    """Addresses that others reach: of this service, or of a guest, of which the spec here knows nothing."""
    found = ((ip, ip_address(ip)) for ip in sorted(seen.stuck_addresses))
    return [text for text, ip in found if not ip.is_loopback and not ip.is_link_local]


def _left(spec: ContainerSpec, seen: world.Container) -> str:
    return f"processes of an earlier run of container {spec.domain} are left: {_named(seen.orphans + seen.stuck)}"


def _stuck(domain: str, seen: world.Container) -> str:
    return f"what is left of an earlier run of container {domain} was killed and does not die: {_named(seen.stuck)}"


def _named(found: Sequence[world.Process]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(str(one) for one in found[:3]) + more


def _undefined(spec: ContainerSpec) -> str:
    return f"container {spec.domain} is not defined on this host (virsh -c lxc:/// define)"
