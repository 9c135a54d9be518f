"""Mounts: a disk's filesystem, in the container's mount namespace or on the host before the container starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resources.kind import Condition, Kind, Model, Role, Service, Stage, Step
from resources.machine import Busy, Machine, MachineError, Mounted, Process
from resources.words import disks

PATIENCE = 30.0  # seconds: an ext4 journal is replayed within that
LINKS = "/dev/drbd/by-res"  # RESOURCE/VOLUME, by udev
NAME = "/sys/dev/block/{}/uevent"  # DEVNAME=drbd1
NOTED = "/sys/fs/ext4/{}/errors_count"  # since e2fsck last cleared them (kernel: fs/ext4/sysfs.c)
TRIES = 20  # of an unmount that is busy, each after ending who uses it
PAUSE = 0.25  # seconds between them


class MountSpec(Model):
    """Volume `volume` of DRBD resource `resource` at `target`; `domain` None: on the host."""

    resource: str
    volume: int
    target: str
    fstype: str
    options: tuple[str, ...]
    domain: str | None

    @property
    def readonly(self) -> bool:
        return "ro" in self.options


@dataclass(frozen=True)
class MountSeen:
    """What is mounted at the target, the topmost last, and the disk's device number when anything is. `errors`: as many
    as the kernel has noted on the filesystem, asked where it has become read-only; 0: none, or it does not say."""

    there: tuple[Mounted, ...] = ()
    device: str | None = None
    errors: int = 0

    @property
    def top(self) -> Mounted | None:
        return self.there[-1] if self.there else None


@dataclass(frozen=True)
class Mount(Step):
    """Without a device node in the container (fsopen(2), move_mount(2))."""

    spec: MountSpec
    exclusive = True
    timeout = PATIENCE + 5

    def __str__(self) -> str:
        return f"mount {self.spec.target}"

    @property
    def done(self) -> str:
        return f"{self.spec.target} mounted"

    async def run(self, machine: Machine) -> None:
        spec = self.spec
        await machine.mount(
            await _device(spec, machine),
            spec.target,
            fstype=spec.fstype,
            options=spec.options,
            domain=spec.domain,
            timeout=PATIENCE,
        )


@dataclass(frozen=True)
class Unmount(Step):
    """Whoever holds it is ended: a move that was asked for does not wait for a forgotten shell."""

    spec: MountSpec
    down = True
    timeout = PATIENCE

    def __str__(self) -> str:
        return f"unmount {self.spec.target}"

    @property
    def done(self) -> str:
        return f"{self.spec.target} unmounted"

    async def run(self, machine: Machine) -> None:
        users: tuple[Process, ...] = ()
        for _ in range(TRIES):
            try:
                return await machine.unmount(self.spec.target, domain=self.spec.domain, timeout=PATIENCE)
            except Busy:
                users = await machine.holders(self.spec.target, domain=self.spec.domain)
            for process in users:
                machine.kill(process.pid)
            await machine.sleep(PAUSE)
        raise MachineError(f"{self.spec.target} stays busy: {_users(users)}")


@dataclass(frozen=True)
class MakeWritable(Step):
    """Its users keep it: the kernel's NFS server would not let go of it."""

    spec: MountSpec
    exclusive = True
    timeout = PATIENCE + 5

    def __str__(self) -> str:
        return f"make {self.spec.target} writable"

    @property
    def done(self) -> str:
        return f"{self.spec.target} made writable"

    async def run(self, machine: Machine) -> None:
        await machine.make_writable(self.spec.target, domain=self.spec.domain, timeout=PATIENCE)


def _users(processes: Sequence[Process]) -> str:
    if not processes:
        return "no process holds it, so the kernel does (an NFS export, a loop device, a mount below it?)"
    named = [f"{one.command} ({one.pid}{', in ' + one.waits if one.waits else ''})" for one in processes[:3]]
    return "held by " + ", ".join(named)


async def _device(spec: MountSpec, machine: Machine) -> str:
    """/dev/drbd1, from DRBD's own configuration: udev's links are not there when udev was not."""
    done = await machine.run("drbdadm", "sh-dev", f"{spec.resource}/{spec.volume}", timeout=10)
    if done.status or not done.out.strip():
        raise MachineError(f"drbdadm knows no device of disk {spec.resource}: is it configured on this host?")
    return done.out.split()[0]


class MountKind(Kind[MountSpec, MountSeen]):
    """`disks: [{…, mount: /export/home, where: container}]`"""

    name = "mount"
    rivals = "autofs, a systemd mount unit, an admin"
    side_by_side = False  # one below another must come after it

    def parts(self, service: Service) -> Sequence[MountSpec]:
        """Outer ones first, whatever the order in which they are written: an outer one would hide what is below it."""
        written = [
            MountSpec(
                resource=disk.resource,
                volume=disk.volume,
                target=disk.mount,
                fstype=disk.fstype,
                options=disk.options,
                domain=service.domain if disk.where == "container" else None,
            )
            for disk in disks(service)
            if disk.mount is not None
        ]
        return tuple(sorted(written, key=lambda spec: spec.target.rstrip("/").count("/")))

    def key(self, spec: MountSpec) -> str:
        return spec.target

    def stage(self, spec: MountSpec) -> Stage:
        return Stage.HOST_MOUNT if spec.domain is None else Stage.MOUNT

    async def observe(self, spec: MountSpec, machine: Machine) -> MountSeen:
        there = tuple(mounted for mounted in await machine.mounts(spec.domain) if mounted.target == spec.target)
        if not there:
            return MountSeen()
        # Asking drbdadm takes a process. Where udev's link leads to what is mounted, there is nothing to ask.
        linked = await machine.device_number(f"{LINKS}/{spec.resource}/{spec.volume}")
        if linked != there[-1].device:
            linked = await machine.device_number(await _device(spec, machine))
        return MountSeen(there, linked, _errors(spec, there[-1], machine))

    def plan(self, spec: MountSpec, role: Role, seen: MountSeen) -> list[Step]:
        if role is not Role.ACTIVE:
            return [Unmount("this host is not to have it", spec)] if _holds(seen) else []
        match seen.top:
            case None:
                return [Mount("it is not mounted", spec)]
            case top if top.device != seen.device:
                return [Mount(f"{top.source} is mounted there instead", spec)]
            case top if top.readonly and not spec.readonly:
                return [MakeWritable("it has become read-only", spec)]
        return []

    def conditions(self, spec: MountSpec, role: Role, seen: MountSeen) -> list[Condition]:
        if role is not Role.ACTIVE:
            return [Condition(f"{spec.target} is mounted")] if _holds(seen) else []
        match seen.top:
            case None:
                return [Condition(f"{spec.target} is not mounted")]
            case top if top.device != seen.device:
                return [Condition(f"{top.source} is mounted at {spec.target} instead of disk {spec.resource}")]
            case top if top.readonly and not spec.readonly:
                return [_readonly(spec, seen)]
        return []

    def wants(self, spec: MountSpec, role: Role) -> str:
        return f"disk {spec.resource} mounted" if role is Role.ACTIVE else "not mounted"

    def says(self, spec: MountSpec, seen: MountSeen) -> str:
        if seen.top is None:
            return "not mounted"
        return f"{seen.top.source} ({seen.top.fstype}{', read-only' if seen.top.readonly else ''})"

    def held(self, spec: MountSpec, seen: MountSeen) -> str:
        return f"{spec.target} is mounted" if _holds(seen) else ""

    def topics(self, spec: MountSpec) -> frozenset[str]:
        return frozenset({f"mounts/{spec.domain or ''}"})


def _errors(spec: MountSpec, top: Mounted, machine: Machine) -> int:
    """What ext4 has noted of its own filesystem; other filesystems tell nobody but dmesg."""
    if not top.readonly or spec.readonly or top.fstype != "ext4":
        return 0
    lines = (machine.read(NAME.format(top.device)) or "").splitlines()
    name = next((line.removeprefix("DEVNAME=") for line in lines if line.startswith("DEVNAME=")), "")
    noted = (machine.read(NOTED.format(name)) or "").strip() if name else ""
    return int(noted) if noted.isdecimal() else 0


def _readonly(spec: MountSpec, seen: MountSeen) -> Condition:
    """A count stays until the filesystem is checked, so it is told as what it is: what the kernel has noted."""
    if not seen.errors:
        return Condition(f"{spec.target} is mounted read-only: by hand, or the kernel saw an error on it (dmesg)")
    errors = "an error" if seen.errors == 1 else f"{seen.errors} errors"
    cause = f"the kernel has noted {errors} on the filesystem of disk {spec.resource} (dmesg; e2fsck)"
    return Condition(f"{spec.target} is mounted read-only", cause=cause)


def _holds(seen: MountSeen) -> bool:
    """Only the disk itself: what else is mounted there is not the service's."""
    return any(mounted.device == seen.device for mounted in seen.there)
