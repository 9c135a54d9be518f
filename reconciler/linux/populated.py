"""cgroup.events of the containers' cgroups (cgroups(7)): told when one has no process any more, or has one again.

It outlives the container's init: what is left in a cgroup without a controller is watched until the last of it is gone.
The kernel signs it with POLLPRI until the file is read again; a cgroup that is removed signs once more. Idle, it costs
two file descriptors a cgroup and no call.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _Open:
    events: int
    epoll: select.epoll


class Populated:
    """By cgroup. `changed` is called with the domain whose cgroup it is."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._open: dict[Path, _Open] = {}

    def watch(self, domain: str, cgroups: Iterable[Path]) -> None:
        """Those that are not watched yet and not gone."""
        for cgroup in cgroups:
            if cgroup not in self._open:
                with contextlib.suppress(OSError):
                    self._watch(domain, cgroup)

    def _watch(self, domain: str, cgroup: Path) -> None:
        with contextlib.ExitStack() as undo:
            events = os.open(cgroup / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, events)
            epoll = select.epoll()
            undo.callback(epoll.close)
            epoll.register(events, select.EPOLLPRI)
            if not _populated(events):  # read once: from here on a change is signed
                return
            undo.pop_all()
        self._open[cgroup] = _Open(events, epoll)
        self._loop.add_reader(epoll, self._signed, domain, cgroup)

    def _signed(self, domain: str, cgroup: Path) -> None:
        if not _populated(self._open[cgroup].events):
            self._forget(cgroup)
        self._changed(domain)

    def _forget(self, cgroup: Path) -> None:
        found = self._open.pop(cgroup)
        self._loop.remove_reader(found.epoll)
        found.epoll.close()
        os.close(found.events)

    def close(self) -> None:
        for cgroup in list(self._open):
            self._forget(cgroup)


def _populated(events: int) -> bool:
    """False for one that was removed (ENODEV), too."""
    try:
        return b"populated 1" in os.pread(events, 4096, 0)
    except OSError:
        return False
