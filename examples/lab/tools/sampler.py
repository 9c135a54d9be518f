#!/usr/bin/env python3
"""What a host holds, ten times a second: runs on hosta and hostb, standard library only.

    sampler.py LOG      for ever; one JSON object a line: {"at": wall clock seconds, "holds": ["disk nfs-home", …]}

Reads only /proc: DRBD's roles from /proc/drbd (8.4), and the addresses of every container's network namespace from
/proc/<init>/net, so it costs little and cannot itself disturb what it looks at.
"""

from __future__ import annotations

import ipaddress
import json
import re
import sys
import time
from pathlib import Path

PERIOD = 0.1
PROC = Path("/proc")
IGNORED = ("127.", "::1", "fe80:", "169.254.")


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


def names_by_minor() -> dict[str, str]:
    """{"1": "nfs-home"} from udev's links."""
    return {
        str(link.resolve()).removeprefix("/dev/drbd"): link.parent.name for link in Path("/dev/drbd/by-res").glob("*/*")
    }


def main() -> None:
    log, found, looked, names = Path(sys.argv[1]), inits(), time.monotonic(), names_by_minor()
    with log.open("w", buffering=1) as out:
        while True:
            began = time.monotonic()
            if began - looked > 1:  # a container that was started since
                found, looked, names = inits(), began, names_by_minor()
            holds = primaries(names) + [one for init in found for one in addresses(init)]
            print(json.dumps({"at": round(time.time(), 3), "holds": holds}), file=out)
            time.sleep(max(0, PERIOD - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
