#!/usr/bin/env python3
"""What a host holds, ten times a second: runs on hosta and hostb, standard library only.

    sampler.py LOG      for ever; one JSON object a line: {"at": wall clock seconds, "holds": ["disk nfs-home", …]}

Reads only /proc: DRBD's roles from /proc/drbd (8.4); of every container its addresses, its NFS server and what it has
mounted of DRBD from /proc/<init>: so it costs little and cannot itself disturb what it looks at. Each line is on the
disk before the next look: a power cut leaves all but the last. It goes on where a log ends.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
import time
from pathlib import Path

PERIOD = 0.1
PROC = Path("/proc")
IGNORED = ("127.", "::1", "fe80:", "169.254.")
NFS = f":{2049:04X} "
DRBD = 147  # the major number of its devices


def text(path: Path) -> str:
    """A process may end while it is read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def inits() -> list[Path]:
    """The containers' first processes: children of a libvirt_lxc."""
    found = []
    for status in PROC.glob("[0-9]*/status"):
        parent = re.search(r"^PPid:\t(\d+)$", text(status), re.M)
        if parent and text(PROC / parent[1] / "comm").strip() == "libvirt_lxc":
            found.append(status.parent)
    return found


def primaries(names: dict[str, str]) -> list[str]:
    """disk NAME for every resource that is Primary here."""
    rows = re.findall(r"^ *(\d+): cs:\S+ ro:Primary/", text(PROC / "drbd"), re.M)
    return [f"disk {names.get(minor, minor)}" for minor in rows]


def addresses(init: Path) -> list[str]:
    """The container's addresses but for its loopback and link-local ones."""
    four = re.findall(r"\|-- (\S+)\n +/32 host LOCAL", text(init / "net/fib_trie"))
    six = [str(ipaddress.IPv6Address(int(line[:32], 16))) for line in text(init / "net/if_inet6").splitlines()]
    return [f"address {one}" for one in sorted({*four, *six}) if not one.startswith(IGNORED)]


def mounts(init: Path, names: dict[str, str]) -> list[str]:
    """mount NAME for every DRBD resource that is mounted in the container."""
    minors = re.findall(rf"^\d+ \d+ {DRBD}:(\d+) ", text(init / "mountinfo"), re.M)
    return [f"mount {names.get(minor, minor)}" for minor in sorted(set(minors))]


def servers(init: Path) -> list[str]:
    """Does the container's NFS server listen?"""
    listening = [line for line in text(init / "net/tcp").splitlines() if NFS in line and " 0A " in line]
    return ["unit nfs-server"] if listening else []


def names_by_minor() -> dict[str, str]:
    """{"1": "nfs-home"} from udev's links."""
    return {
        str(link.resolve()).removeprefix("/dev/drbd"): link.parent.name for link in Path("/dev/drbd/by-res").glob("*/*")
    }


def main() -> None:
    log, found, looked, names = Path(sys.argv[1]), inits(), time.monotonic(), names_by_minor()
    with log.open("a") as out:
        print(file=out)  # ends a line that a power cut has cut short
        while True:
            began = time.monotonic()
            if began - looked > 1:  # a container that was started since
                found, looked, names = inits(), began, names_by_minor()
            at = time.time()
            holds = primaries(names)
            for init in found:
                holds += addresses(init) + mounts(init, names) + servers(init)
            print(json.dumps({"at": round(at, 3), "holds": holds}), file=out, flush=True)
            os.fdatasync(out.fileno())
            time.sleep(max(0, PERIOD - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
