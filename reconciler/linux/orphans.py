"""Processes of a container whose controller (libvirt_lxc) is gone: found by the cgroup's name, ended through it.

machined names a container's scope `machine-lxc\\x2d1234\\x2dnfs.scope` (escaped as in systemd.unit(5)), libvirt without
machined `lxc-1234-nfs.libvirt-lxc`; 1234 is the controller's PID. One that is populated though no libvirt_lxc by that
PID lives holds orphans. Zombies are in no cgroup any more, hold nothing and are not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.linux import proc
from resources.machine import MachineError, Process

CGROUPS = Path("/sys/fs/cgroup")
PLACES = ("machine.slice", "machine")
CONTROLLER = "libvirt_lxc"
DIES = 10.0  # seconds after the kill; what is in D then stays so until what it waits for comes
LOOKS = 0.1
_NAME = re.compile(r"^(?:machine-)?lxc-(\d+)-(.+)\.(?:scope|libvirt-lxc)$")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def scopes(domain: str, root: Path = CGROUPS) -> Iterator[tuple[int, Path]]:
    """(the controller's PID, cgroup) of every run of the domain that has left one."""
    for place in PLACES:
        with contextlib.suppress(OSError):
            for entry in sorted((root / place).iterdir()):
                name = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), entry.name)
                if (found := _NAME.match(name)) and found[2] == domain:
                    yield int(found[1]), entry


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


def orphans(domain: str) -> tuple[Process, ...]:
    """Its processes that are left of earlier runs."""
    return tuple(proc.process(pid) for cgroup in orphaned(domain) for pid in members(cgroup))


async def kill(domain: str) -> None:
    """See `Machine.kill_orphans`. Raises MachineError naming those that do not die, and what they wait for."""
    found = orphaned(domain)
    for cgroup in found:
        kill_all(cgroup)
    loop = asyncio.get_running_loop()
    ends = loop.time() + DIES
    while any(populated(cgroup) for cgroup in found):
        if loop.time() > ends:
            left = ", ".join(words(cgroup) for cgroup in found)
            raise MachineError(f"processes of an earlier run of container {domain} do not die: {left}")
        await asyncio.sleep(LOOKS)
