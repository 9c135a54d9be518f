"""Disks: a DRBD resource per disk, Primary on the active host alone. DRBD 8.4 and 9 (drbdsetup-events2(8)).

Promoted side by side, and put back where one of them cannot: a service's disks go together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from resources.kind import Condition, Kind, Role, Service, Stage, Step
from resources.machine import Machine, MachineError, Unavailable
from resources.words import DiskField, disks

PATIENCE = 10.0  # seconds for drbdsetup to say what is
HANDLER_PATIENCE = 45.0  # a promotion without the peer waits for the fence-peer handler
NO_SUCH = ("No such resource", "not defined", "unknown resource", "Unknown resource")


@dataclass(frozen=True)
class Peer:
    """The other host's copy, as this host knows it. `out_of_sync` in KiB."""

    name: str
    connection: str = "StandAlone"
    role: str = "Unknown"
    disk: str = "DUnknown"
    replication: str = "Off"
    out_of_sync: int = 0


@dataclass(frozen=True)
class Disk:
    """A DRBD resource on this host; `size` in KiB, `suspended` as DRBD says it ("no", "fencing", "user", …)."""

    role: str = "Unknown"
    disk: str = "Diskless"
    minor: int = -1
    size: int = 0
    suspended: str = "no"
    peers: tuple[Peer, ...] = ()


def parse(text: str, resource: str, volume: int) -> Disk | None:
    """What `drbdsetup events2 --now --statistics` printed -> the disk; None when it is not configured here."""
    found: Disk | None = None
    peers: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or words[0] != "exists":
            continue
        said = dict(word.partition(":")[::2] for word in words[2:])
        if said.get("name") != resource or said.get("volume", str(volume)) != str(volume):
            continue
        match words[1]:
            case "resource":
                found = Disk(role=said.get("role", "Unknown"), suspended=said.get("suspended", "no"))
            case "device" if found is not None:
                found = _with_device(found, said)
            case "connection":
                peers[_peer(said)] = {"connection": said.get("connection", ""), "role": said.get("role", "Unknown")}
            case "peer-device":
                peers.setdefault(_peer(said), {}).update(_copy(said))
    if found is None:
        return None
    listed = tuple(Peer(name, **facts) for name, facts in sorted(peers.items()))
    return Disk(found.role, found.disk, found.minor, found.size, found.suspended, listed)


def _with_device(disk: Disk, said: Mapping[str, str]) -> Disk:
    return Disk(disk.role, said.get("disk", "Diskless"), _int(said, "minor", -1), _int(said, "size"), disk.suspended)


def _peer(said: Mapping[str, str]) -> str:
    return said.get("conn-name", said.get("peer-node-id", "peer"))


def _copy(said: Mapping[str, str]) -> dict[str, Any]:
    return {
        "disk": said.get("peer-disk", "DUnknown"),
        "replication": said.get("replication", "Off"),
        "out_of_sync": _int(said, "out-of-sync"),
    }


def _int(said: Mapping[str, str], word: str, otherwise: int = 0) -> int:
    text = said.get(word, "")
    return int(text) if text.isdecimal() else otherwise


def said_by(text: str) -> str:
    """The lines of drbdadm that tell why, as one clause: without the command it ran and without its usage."""
    noise = ("Command ", "Try ", "additional info from kernel:", "Usage", "Normally")
    lines = [line.strip() for line in text.splitlines()]
    useful = [line for line in lines if line and not line.startswith(noise)]
    return "; ".join(useful[:3]) or "it gave no reason"


@dataclass(frozen=True)
class _Switch(Step):
    resource: str

    async def _drbdadm(self, machine: Machine, role: str) -> None:
        done = await machine.run("drbdadm", role, self.resource, timeout=self.timeout - 1)
        if done.status:
            raise MachineError(f"DRBD refuses to make {self.resource} {role}: {said_by(done.err or done.out)}")


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
        await self._drbdadm(machine, "secondary")


class DiskKind(Kind[DiskField, Disk | None]):
    """`disks: [{resource: nfs-home, mount: /export/home}]`"""

    name = "disk"
    side_by_side = True
    fields: ClassVar[Mapping[str, tuple[Any, Any]]] = {
        "disks": (
            Annotated[tuple[DiskField, ...], Field(description="DRBD resources, which move together or not at all")],
            (),
        )
    }

    def parts(self, service: Service) -> Sequence[DiskField]:
        return disks(service)

    def key(self, spec: DiskField) -> str:
        return spec.resource

    def stage(self, spec: DiskField) -> Stage:
        return Stage.DISK

    async def observe(self, spec: DiskField, machine: Machine) -> Disk | None:
        argv = ("drbdsetup", "events2", "--now", "--statistics", spec.resource)
        done = await machine.run(*argv, timeout=PATIENCE)
        if done.status and not any(said in done.err for said in NO_SUCH):
            raise Unavailable(f"drbdsetup does not say how disk {spec.resource} is: {said_by(done.err or done.out)}")
        return parse(done.out, spec.resource, spec.volume)

    def plan(self, spec: DiskField, role: Role, seen: Disk | None) -> list[Step]:
        if seen is None:
            return []
        if role is Role.ACTIVE:
            return [] if seen.role == "Primary" else [Promote(f"it is {seen.role}", spec.resource)]
        return [Demote("this host is not to be its primary", spec.resource)] if seen.role == "Primary" else []

    def conditions(self, spec: DiskField, role: Role, seen: Disk | None) -> list[Condition]:
        if seen is None:
            return [Condition(_not_configured(spec), broken=role is Role.ACTIVE)]
        if role is not Role.ACTIVE:
            return [Condition(f"disk {spec.resource} is Primary here")] if seen.role == "Primary" else []
        if seen.role != "Primary":
            return [Condition(f"disk {spec.resource} is {seen.role} here")]
        if seen.suspended != "no":
            return [Condition(f"disk {spec.resource} holds all I/O ({seen.suspended})")]
        alone = [Condition(reason, broken=False) for reason in _links(spec, seen)]
        worn = Condition(f"disk {spec.resource} is {seen.disk} here, served by its peer", broken=False)
        return alone if seen.disk == "UpToDate" else [worn, *alone]

    def says(self, spec: DiskField, seen: Disk | None) -> str:
        if seen is None:
            return "not configured"
        links = ", ".join(f"{peer.name} {peer.connection}/{peer.disk}" for peer in seen.peers)
        held = "" if seen.suspended == "no" else f", I/O held ({seen.suspended})"
        return f"{seen.role}, {seen.disk}{held}" + (f"; {links}" if links else "")

    def held(self, spec: DiskField, seen: Disk | None) -> str:
        return f"disk {spec.resource} is Primary" if seen is not None and seen.role == "Primary" else ""

    def obstacles(self, spec: DiskField, seen: Disk | None) -> list[str]:
        if seen is None:
            return [_not_configured(spec)]
        if seen.disk != "UpToDate":
            return [f"disk {spec.resource} is {seen.disk}{_resync(seen)}"]
        return _links(spec, seen)

    def topics(self, spec: DiskField) -> frozenset[str]:
        return frozenset({f"disk/{spec.resource}"})


def _not_configured(spec: DiskField) -> str:
    return f"disk {spec.resource} is not up on this host (drbdadm up {spec.resource})"


def _resync(disk: Disk) -> str:
    """` (resync 63 %)` while one runs."""
    behind = max((peer.out_of_sync for peer in disk.peers if "Sync" in peer.replication), default=0)
    return f" (resync {100 * (1 - behind / disk.size):.0f} %)" if behind and disk.size else ""


def _links(spec: DiskField, disk: Disk) -> list[str]:
    """What is wrong between this host's copy and the other's."""
    found = []
    for peer in disk.peers:
        if peer.connection == "StandAlone":
            found.append(
                f"disk {spec.resource} has given up its peer (StandAlone): disconnected by hand, or a split brain"
            )
        elif peer.connection != "Connected":
            found.append(f"disk {spec.resource} is not connected to its peer ({peer.connection}): is the link up?")
        elif peer.replication == "SyncTarget":
            found.append(f"disk {spec.resource} is being resynced{_resync(disk)}")
    return found
