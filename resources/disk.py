"""Disks: a DRBD resource per disk, Primary on the active host alone. DRBD 8.4 and 9 (drbdsetup-events2(8)).

Promoted side by side, and put back where one of them cannot: a service's disks go together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from resources.drbd import Copy, Disk, Peer, Volume, parse, said_by
from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Machine, MachineError, Unavailable
from resources.words import DiskField, disks, once

PATIENCE = 10.0  # seconds for drbdsetup to say what is
HANDLER_PATIENCE = 45.0  # a promotion without the peer waits for the fence-peer handler
HANDSHAKE = 20.0  # seconds for a copy to hear from its peer what it lacks
ROLES = ("primary", "secondary")
HELD_OPEN = "held open"  # DRBD's word for a device that is busy
NO_SUCH = ("No such resource", "not defined", "unknown resource", "Unknown resource")


class DiskSpec(Model):
    """A resource is promoted with all of its volumes; `volumes`: those that the service uses."""

    resource: str
    volumes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class _Switch(Step):
    resource: str

    async def _drbdadm(self, machine: Machine, verb: str, *options: str) -> None:
        done = await machine.run("drbdadm", verb, *options, self.resource, timeout=self.timeout - 1)
        if done.status:
            wanted = f"make {self.resource} {verb}" if verb in ROLES else f"{verb} {self.resource}"
            raise MachineError(f"DRBD refuses to {wanted}: {said_by(done.err or done.out)}")


CURRENT = ("UpToDate", "Consistent")  # a copy that may be promoted; Consistent once its peer is known to be outdated


@dataclass(frozen=True)
class Promote(_Switch):
    """drbdadm primary."""

    exclusive = True
    timeout = HANDLER_PATIENCE

    def __str__(self) -> str:
        return f"promote disk {self.resource}"

    @property
    def done(self) -> str:
        return f"disk {self.resource} promoted"

    async def run(self, machine: Machine) -> None:
        await self._drbdadm(machine, "primary")

    def undo(self) -> Step:
        return Demote("another disk of the service could not be promoted", self.resource)


@dataclass(frozen=True)
class Demote(_Switch):
    """drbdadm secondary."""

    down = True

    def __str__(self) -> str:
        return f"demote disk {self.resource}"

    @property
    def done(self) -> str:
        return f"disk {self.resource} demoted"

    async def run(self, machine: Machine) -> None:
        try:
            await self._drbdadm(machine, "secondary")
        except MachineError as e:
            if HELD_OPEN not in str(e):
                raise
            raise MachineError(f"{e}; {await self._users(machine)}") from e

    async def _users(self, machine: Machine) -> str:
        """Who keeps it from going: the refusal is told even where they cannot be found."""
        try:
            devices = await machine.run("drbdadm", "sh-dev", self.resource, timeout=PATIENCE)
            numbers = [await machine.device_number(device) for device in devices.out.split()]
            found = [user for number in numbers if number for user in await machine.users(number)]
        except MachineError as e:
            return f"who holds it could not be found: {e}"
        named = ", ".join(str(user) for user in found[:5])
        return f"held by {named}" if named else "no process holds it: a mount, a loop or a mapped device may (lsblk)"


@dataclass(frozen=True)
class Resume(_Switch):
    """Held I/O goes on (drbdadm resume-io): DRBD asks its handler only once."""

    exclusive = True

    def __str__(self) -> str:
        return f"resume the I/O of disk {self.resource}"

    @property
    def done(self) -> str:
        return f"I/O of disk {self.resource} goes on"

    async def run(self, machine: Machine) -> None:
        await self._drbdadm(machine, "resume-io")


@dataclass(frozen=True)
class GiveUp(_Switch):
    """The held writers get I/O errors, not a byte is written; then it can be unmounted and demoted, without a reset."""

    down = True

    def __str__(self) -> str:
        return f"give up the held I/O of disk {self.resource}"

    @property
    def done(self) -> str:
        return f"held I/O of disk {self.resource} given up"

    async def run(self, machine: Machine) -> None:
        await self._drbdadm(machine, "disconnect")
        await self._drbdadm(machine, "detach", "--force")
        await self._drbdadm(machine, "resume-io")


@dataclass(frozen=True)
class Attach(_Switch):
    """What was given up or detached takes part again (drbdadm adjust); DRBD resyncs what it lacks."""

    def __str__(self) -> str:
        return f"attach disk {self.resource}"

    @property
    def done(self) -> str:
        return f"disk {self.resource} attached"

    async def run(self, machine: Machine) -> None:
        await self._drbdadm(machine, "adjust")


@dataclass(frozen=True)
class Reconnect(_Switch):
    """A handshake that hangs is begun anew: DRBD 8.4, where a new generation of the data began on the other side then,
    stays there for ever, and the copy outdated. One that goes on is left alone."""

    timeout = HANDSHAKE + 40

    def __str__(self) -> str:
        return f"see the handshake of disk {self.resource} through"

    @property
    def done(self) -> str:
        return f"handshake of disk {self.resource} over, or begun anew"

    async def run(self, machine: Machine) -> None:
        until = machine.monotonic() + HANDSHAKE
        while (seen := await _look(self.resource, machine)) and seen.asks:
            if machine.monotonic() >= until:
                try:
                    await self._drbdadm(machine, "disconnect")
                finally:  # given up half way, too: nobody else would connect it again
                    await self._drbdadm(machine, "connect")
                return
            await machine.sleep(2)


class DiskKind(Kind[DiskSpec, Disk | None]):
    """`disks: [{resource: nfs-home, mount: /export/home}]`"""

    name = "disk"
    rivals = "another cluster manager such as pacemaker, drbdadm by hand, DRBD's auto-promote"
    side_by_side = True
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "disks": (
            Annotated[
                tuple[DiskField, ...],
                AfterValidator(once(lambda disk: f"volume {disk.volume} of {disk.resource}")),
                AfterValidator(once(lambda disk: disk.mount)),
                Field(description="DRBD resources, which move together or not at all"),
            ],
            (),
        )
    }

    def parts(self, service: Service) -> Sequence[DiskSpec]:
        """One a resource: its volumes have one role between them."""
        volumes: dict[str, list[int]] = {}
        for disk in disks(service):
            volumes.setdefault(disk.resource, []).append(disk.volume)
        return tuple(DiskSpec(resource=name, volumes=tuple(sorted(used))) for name, used in volumes.items())

    def key(self, spec: DiskSpec) -> str:
        return spec.resource

    def stage(self, spec: DiskSpec) -> Stage:
        return Stage.DISK

    async def observe(self, spec: DiskSpec, machine: Machine) -> Disk | None:
        return await _look(spec.resource, machine)

    def plan(self, spec: DiskSpec, role: Role, seen: Disk | None) -> list[Step]:
        if seen is None:
            return []
        if role is Role.ACTIVE:
            # DRBD would promote a copy that is still being resynced, and serve it from the peer: until that is lost.
            behind = any(volume.disk not in CURRENT for volume in seen.volumes)
            if seen.role != "Primary":
                return [] if behind else [Promote(f"it is {seen.role}", spec.resource)]
            # Served by a peer meanwhile. DRBD itself refuses to attach older data to a Primary that no peer serves.
            return [Attach("it has no disk under it here", spec.resource)] if _detached(seen) else []
        if seen.role == "Primary":
            return [Demote("this host is not to be its primary", spec.resource)]
        return _refresh(spec, seen) if role is Role.STANDBY else []

    def conditions(self, spec: DiskSpec, role: Role, seen: Disk | None) -> list[Condition]:
        if seen is None:
            return [Condition(_not_configured(spec), broken=role is Role.ACTIVE)]
        if role is not Role.ACTIVE:
            if seen.role == "Primary":
                return [Condition(f"disk {spec.resource} is Primary here")]
            bare = role is Role.STANDBY and _detached(seen)
            return [Condition(f"disk {spec.resource} is Diskless here", broken=False)] if bare else []
        if seen.role != "Primary":
            behind = [
                f" and {volume.disk}{_resync(seen, volume)}" for volume in seen.volumes if volume.disk not in CURRENT
            ]
            return [Condition(f"disk {spec.resource} is {seen.role}{''.join(behind[:1])} here")]
        if seen.suspended != "no":
            return [Condition(f"disk {spec.resource} holds all I/O ({seen.suspended})")]
        missing = [Condition(reason) for reason in _missing(spec, seen)]
        alone = [Condition(reason, broken=False) for reason in _links(spec, seen.peers)]
        return [*missing, *_worn(spec, seen), *alone, *_thin(spec, seen)]

    def wants(self, spec: DiskSpec, role: Role) -> str:
        return "Primary, UpToDate" if role is Role.ACTIVE else "Secondary"

    def says(self, spec: DiskSpec, seen: Disk | None) -> str:
        if seen is None:
            return "not configured"
        mine = "/".join(volume.disk for volume in seen.volumes) or "no volume"
        held = "" if seen.suspended == "no" else f", I/O held ({seen.suspended})"
        links = [
            "/".join([f"{peer.called.removeprefix('its ')} {peer.connection}", *(copy.disk for copy in peer.copies)])
            for peer in seen.peers
        ]
        return f"{seen.role}, {mine}{held}" + (f"; {', '.join(links)}" if links else "")

    def held(self, spec: DiskSpec, seen: Disk | None) -> str:
        return f"disk {spec.resource} is Primary" if seen is not None and seen.role == "Primary" else ""

    def obstacles(self, spec: DiskSpec, seen: Disk | None, *, alone: bool = False) -> list[str]:
        if seen is None:
            return [_not_configured(spec)]
        # Without its peer DRBD only knows a copy to be Consistent: that it lacks nothing, the marks in etcd say.
        good = ("UpToDate", "Consistent") if alone else ("UpToDate",)
        behind = [
            f"{_called(spec, seen, volume.number)} is {volume.disk}{_resync(seen, volume)}"
            for volume in seen.volumes
            if volume.disk not in good
        ]
        lonely = [f"{_called(spec, seen, volume.number)} has no quorum" for volume in seen.volumes if not volume.quorum]
        # Of several peers the one that has it now matters: whoever else is away does not make this copy older.
        primary = tuple(peer for peer in seen.peers if peer.role == "Primary")
        links = [] if alone else _links(spec, primary or seen.peers)
        return [*_missing(spec, seen), *behind, *lonely] or links

    def held_up(self, spec: DiskSpec, seen: Disk | None) -> bool:
        return seen is not None and seen.role == "Primary" and "fencing" in seen.suspended

    def current(self, spec: DiskSpec, seen: Disk | None) -> bool:
        """A peer that is meant to have no disk has no copy that could be stale."""
        if seen is None or seen.role != "Primary" or not seen.peers:
            return False
        copies = [copy for peer in seen.peers if peer.connection == "Connected" for copy in peer.copies]
        there = len(copies) == len(seen.peers) * len(seen.volumes)
        return there and all(copy.disk == "UpToDate" or copy.client for copy in copies)

    def go_on(self, spec: DiskSpec, seen: Disk | None) -> list[Step]:
        return [Resume("its peer's copy is marked outdated", spec.resource)]

    def give_up(self, spec: DiskSpec, seen: Disk | None) -> list[Step]:
        return [GiveUp("another host owns the service, so this can never be written", spec.resource)]

    def topics(self, spec: DiskSpec) -> frozenset[str]:
        return frozenset({f"disk/{spec.resource}"})


async def _look(resource: str, machine: Machine) -> Disk | None:
    done = await machine.run("drbdsetup", "events2", "--now", "--statistics", resource, timeout=PATIENCE)
    if done.status and not any(said in done.err for said in NO_SUCH):
        raise Unavailable(f"drbdsetup does not say how disk {resource} is: {said_by(done.err or done.out)}")
    return parse(done.out, resource)


def _not_configured(spec: DiskSpec) -> str:
    return f"disk {spec.resource} is not up on this host (drbdadm up {spec.resource})"


def _refresh(spec: DiskSpec, disk: Disk) -> list[Step]:
    """What a standby's copy needs to become current again."""
    if _detached(disk):
        return [Attach("it has no disk under it here", spec.resource)]
    return [Reconnect("it asks its peer what it lacks", spec.resource)] if disk.asks else []


def _detached(disk: Disk) -> bool:
    return any(volume.disk == "Diskless" for volume in disk.volumes)


def _missing(spec: DiskSpec, disk: Disk) -> list[str]:
    there = {volume.number for volume in disk.volumes}
    return [
        f"disk {spec.resource} has no volume {number} on this host (drbdadm adjust {spec.resource})"
        for number in spec.volumes
        if number not in there
    ]


def _called(spec: DiskSpec, disk: Disk, number: int) -> str:
    """The volume is named where there are several."""
    return f"disk {spec.resource}" + (f" volume {number}" if len(disk.volumes) > 1 else "")


def _worn(spec: DiskSpec, disk: Disk) -> list[Condition]:
    """Volumes whose data is not here: served by a peer, or not at all."""
    found = []
    for volume in disk.volumes:
        if volume.disk == "UpToDate":
            continue
        peer = next((peer.called for peer, copy in _copies(disk, volume) if copy.disk == "UpToDate"), "")
        served = f"served by {peer}" if peer else "and no peer serves it"
        reason = f"{_called(spec, disk, volume.number)} is {volume.disk} here, {served}"
        found.append(Condition(reason, broken=not peer))
    return found


def _thin(spec: DiskSpec, disk: Disk) -> list[Condition]:
    """Peers that are connected and have no current copy: nobody could take over."""
    return [
        Condition(f"the copy of disk {spec.resource} on {peer.called} is {copy.disk}", broken=False)
        for peer in disk.peers
        for copy in peer.copies
        if peer.connection == "Connected" and copy.disk != "UpToDate" and not copy.client
    ]


def _copies(disk: Disk, volume: Volume) -> list[tuple[Peer, Copy]]:
    return [(peer, copy) for peer in disk.peers for copy in peer.copies if copy.volume == volume.number]


def _resync(disk: Disk, volume: Volume) -> str:
    """` (resync 63 %)` while one runs, or what comes before it and may hang (`Reconnect`)."""
    if disk.asks:
        return " (asks its peer what it lacks)"
    running = [copy.out_of_sync for _, copy in _copies(disk, volume) if "Sync" in copy.replication]
    behind = max(running, default=0)
    return f" (resync {100 * (1 - behind / volume.size):.0f} %)" if behind and volume.size else ""


def _links(spec: DiskSpec, peers: Sequence[Peer]) -> list[str]:
    """What is wrong between this host's copy and the others'."""
    found = []
    for peer in peers:
        if peer.connection == "StandAlone":
            found.append(
                f"disk {spec.resource} has given up {peer.called} (StandAlone): disconnected by hand, or a split brain"
            )
        elif peer.connection != "Connected":
            found.append(f"disk {spec.resource} is not connected to {peer.called} ({peer.connection}): is the link up?")
        elif any(copy.replication == "SyncTarget" for copy in peer.copies):
            found.append(f"disk {spec.resource} is being resynced from {peer.called}")
    return found
