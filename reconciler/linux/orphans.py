"""Processes of a container whose controller (libvirt_lxc) is gone: found by the cgroup's name, ended through it.

machined names a container's scope `machine-lxc\\x2d1234\\x2dnfs.scope` (escaped as in systemd.unit(5)), libvirt without
machined `lxc-1234-nfs.libvirt-lxc`; 1234 is the controller's PID. It is below machine.slice, or below the slice or the
`.partition` that the domain's <resource><partition> names. libvirt makes the name fit for a host name
(virDomainDriverGenerateMachineName in src/hypervisor/domain_driver.c), so that two domains may share one.
One that is populated though no libvirt_lxc by that PID lives holds orphans. Zombies are in no cgroup any more, hold
nothing and are not counted.

One that was killed and waits in the kernel (D) dies when that ends, and runs nothing of its own before. It is told
apart as stuck where no filesystem of a disk is mounted in its mount namespace: nobody can end it or need wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux import proc
from resources.machine import MachineError, Mounted, Process

CGROUPS = Path("/sys/fs/cgroup")
LEAVES = (".scope", ".service", ".mount", ".socket", ".swap", ".libvirt-lxc", ".libvirt-qemu")  # no partition is below
NAME_ENDS = 64  # characters that a machine's name may have
CONTROLLER = "libvirt_lxc"
DIES = 10.0  # seconds after the kill; what is in D then stays so until what it waits for comes
LOOKS = 0.1
DRBD = "147:"  # its major number (Linux, Documentation/admin-guide/devices.txt)
_NAME = re.compile(r"^(?:machine-|_)?(lxc-(\d+)-.+)\.(?:scope|libvirt-lxc)$")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Left:
    """What earlier runs left: the fields of `Container`."""

    orphans: tuple[Process, ...]
    stuck: tuple[Process, ...]
    addresses: frozenset[str]


def scopes(domain: str, root: Path = CGROUPS) -> Iterator[tuple[int, Path]]:
    """(the controller's PID, cgroup) of every run of the domain that has left one."""
    for entry in _leaves(root):
        name = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), entry.name)
        if (found := _NAME.match(name)) and found[1] in machine_names(domain, int(found[2])):
            yield int(found[2]), entry


def domain_of(pid: int, root: Path = proc.PROC) -> str:
    """The domain that the process is in, as its cgroup names it; "" for one of the host itself."""
    for word in proc.read(root / str(pid) / "cgroup").split("/"):
        name = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), word.strip())
        if found := _NAME.match(name):
            return found[1].split("-", 2)[2]
    return ""


def machine_names(domain: str, pid: int) -> frozenset[str]:
    """What libvirt calls that run of the domain: the name as it is, as 7 and later make it fit, as those before do."""
    before = f"lxc-{pid}-"
    room = max(NAME_ENDS - len(before), 0)
    plain = re.sub(r"[^-.a-zA-Z0-9]", "", domain)
    joined = re.sub(r"([-.])[-.]+", r"\1", plain).lstrip("-.")
    single = re.sub(r"\.+", ".", plain)
    return frozenset(before + name for name in (domain, joined[:room].rstrip("-."), single[:room]))


def _leaves(place: Path) -> Iterator[Path]:
    """The cgroups that are no slice and no partition, in the order of their names."""
    entries: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(place) as found:
        entries = sorted(Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False))
    for entry in entries:
        if entry.name.endswith(LEAVES):
            yield entry
        else:
            yield from _leaves(entry)


def members(cgroup: Path) -> list[int]:
    """PIDs in it and below."""
    return [int(word) for path in sorted(cgroup.rglob("cgroup.procs")) for word in proc.read(path).split()]


def orphaned(domain: str, root: Path = CGROUPS) -> list[Path]:
    """The cgroups of the domain that are populated without a controller."""
    return [cgroup for pid, cgroup in scopes(domain, root) if not controlled(pid) and populated(cgroup)]


def controlled(pid: int) -> bool:
    """Is that PID a libvirt_lxc that lives?"""
    return bool(proc.started(pid)) and proc.command(pid) == CONTROLLER


def populated(cgroup: Path) -> bool:
    """Does a process live in it (cgroups(7))?"""
    return "populated 1" in proc.read(cgroup / "cgroup.events")


def kill_all(cgroup: Path) -> None:
    """What is in it (cgroups(7))."""
    with contextlib.suppress(OSError):
        (cgroup / "cgroup.kill").write_text("1")


def words(cgroup: Path) -> str:
    """The first few of its processes, for people."""
    return ", ".join(str(proc.process(pid)) for pid in members(cgroup)[:5])


def left(domain: str, root: Path = CGROUPS) -> Left:
    """Its processes that are left of earlier runs."""
    pids = [pid for cgroup in orphaned(domain, root) for pid in members(cgroup) if proc.threads(pid)]
    idle = [pid for pid in pids if stuck(pid)]
    return Left(
        orphans=tuple(proc.process(pid) for pid in pids if pid not in idle),
        stuck=tuple(proc.process(pid) for pid in idle),
        addresses=frozenset(ip for pid in idle for ip in proc.addresses(pid)),
    )


def stuck(pid: int) -> bool:
    """Killed, all its threads in D, and no filesystem of a disk where it is. What cannot be read counts as held."""
    threads = proc.threads(pid)
    mounted = proc.mounts(pid)
    return bool(threads and mounted) and all(map(_waits, threads)) and not any(map(_of_a_disk, mounted))


def _waits(thread: Path) -> bool:
    return proc.fields(thread)[:1] == ["D"] and proc.killed(thread)


def _of_a_disk(mounted: Mounted) -> bool:
    """By its device, or its name; btrfs shows a device number of its own, so that any of it counts."""
    return mounted.device.startswith(DRBD) or "drbd" in mounted.source or mounted.fstype == "btrfs"


async def kill(domain: str) -> None:
    """See `Machine.kill_orphans`. Raises MachineError naming those that do not die though they may hold a disk."""
    found = orphaned(domain)
    for cgroup in found:
        kill_all(cgroup)
    loop = asyncio.get_running_loop()
    ends = loop.time() + DIES
    while any(populated(cgroup) for cgroup in found):
        if loop.time() > ends:
            if not (alive := left(domain).orphans):
                return
            named = ", ".join(str(one) for one in alive[:5])
            raise MachineError(f"processes of an earlier run of container {domain} do not die: {named}")
        await asyncio.sleep(LOOKS)
