"""/proc: which process is which, mount tables, who holds a filesystem (proc(5))."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import stat
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

from resources.machine import Mounted, Process

PROC = Path("/proc")
_OCTAL = re.compile(r"\\([0-7]{3})")


def read(path: Path) -> str:
    """ "" for a process that is gone meanwhile."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name, which may contain anything; [] when it is gone."""
    return fields(PROC / str(pid))


def fields(entry: Path) -> list[str]:
    """The same of a process's or a thread's directory."""
    return read(entry / "stat").rpartition(")")[2].split()


def threads(pid: int) -> list[Path]:
    """The directories of its threads that live; a zombie has none."""
    with contextlib.suppress(OSError):
        found = sorted((PROC / str(pid) / "task").iterdir())
        return [entry for entry in found if (fields(entry) or ["X"])[0] not in "ZX"]
    return []


def killed(thread: Path) -> bool:
    """Is a SIGKILL on its way to the thread (SigPnd, proc(5)), or does it exit already (PF_EXITING, linux/sched.h)?"""
    words = fields(thread)
    pending = re.search(r"^SigPnd:\s*([0-9a-f]+)$", read(thread / "status"), re.M)
    on_its_way = pending is not None and bool(int(pending[1], 16) >> (signal.SIGKILL - 1) & 1)
    return on_its_way or (len(words) > 6 and bool(int(words[6]) & 4))


def addresses(pid: int) -> frozenset[str]:
    """The IPs of its network namespace (fib_trie's local ones, if_inet6); none where that is the host's own, which are
    there without it. The host's own namespace is this process's."""
    entry = PROC / str(pid)
    with contextlib.suppress(OSError):
        if (entry / "ns" / "net").stat().st_ino == (PROC / "self" / "ns" / "net").stat().st_ino:
            return frozenset()
    return parse_addresses(read(entry / "net" / "fib_trie"), read(entry / "net" / "if_inet6"))


def parse_addresses(fib_trie: str, if_inet6: str) -> frozenset[str]:
    """/proc/PID/net/fib_trie and if_inet6 -> the IPs, as ipaddress writes them."""
    leaves = (leaf.partition("\n") for leaf in fib_trie.split("|-- ")[1:])
    v4 = [ip.strip() for ip, _, routes in leaves if "/32 host LOCAL" in routes]
    v6 = [str(IPv6Address(int(line.split()[0], 16))) for line in if_inet6.splitlines() if line.strip()]
    return frozenset([*v4, *v6])


def started(pid: int) -> str:
    """When it began, in clock ticks: with the PID, this process and no other. "" when it is gone or a zombie."""
    fields = stat_fields(pid)
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def parent(pid: int) -> int:
    """0 when it is gone."""
    fields = stat_fields(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def children(pid: int) -> list[int]:
    """Its children, oldest first."""
    return [int(word) for word in read(PROC / str(pid) / "task" / str(pid) / "children").split()]


def command(pid: int) -> str:
    """The name of its program, 15 characters at most."""
    return read(PROC / str(pid) / "comm").strip()


def parse_mounts(text: str) -> tuple[Mounted, ...]:
    """mountinfo -> the mounts, in the kernel's order. Lines that are none are passed over."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if not separator or len(fields) < 6 or len(kinds) < 3:
            continue
        readonly = "ro" in fields[5].split(",") or "ro" in kinds[2].split(",")
        found.append(Mounted(_plain(fields[4]), fields[2], kinds[0], _plain(kinds[1]), readonly))
    return tuple(found)


def _plain(text: str) -> str:
    """Spaces and the like are written in octal."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def mounts(pid: int | str) -> tuple[Mounted, ...]:
    """The mount table that the process sees."""
    return parse_mounts(read(PROC / str(pid) / "mountinfo"))


def holders(device: str) -> tuple[Process, ...]:
    """Processes with a file, directory, root or map on the filesystem by that device number (major:minor), or with the
    device itself open."""
    major, _, minor = device.partition(":")
    number = os.makedev(int(major), int(minor))
    found = []
    for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal()):
        if pid != os.getpid() and _uses(PROC / str(pid), number):
            found.append(process(pid))
    return tuple(found)


def process(pid: int) -> Process:
    """As the operator is shown it."""
    state = (stat_fields(pid) or ["X"])[0]
    waits = read(PROC / str(pid) / "wchan") if state == "D" else ""
    return Process(pid, command(pid) or "?", state, waits)


def _uses(entry: Path, device: int) -> bool:
    if any(_is_on(link, device) for link in _links(entry)):
        return True
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}"
    return any(line.split(" ", 5)[3] == wanted for line in read(entry / "maps").splitlines() if line.count(" ") > 4)


def _links(entry: Path) -> Iterator[Path]:
    yield from (entry / name for name in ("cwd", "root", "exe"))
    with contextlib.suppress(OSError):
        yield from sorted((entry / "fd").iterdir())


def _is_on(link: Path, device: int) -> bool:
    """Is that file on the device, or the device itself?"""
    try:
        found = link.stat()
    except OSError:
        return False
    return found.st_dev == device or (stat.S_ISBLK(found.st_mode) and found.st_rdev == device)
