"""The systemd inside a container, spoken to over its own bus: no program of the container runs with our rights.

`nsenter` would give a program from the container's own disk all capabilities of the host. So units are asked for and
told over D-Bus (`manager`), and what a spec can name (an exec check) is started by the container's systemd, confined
as everything in there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from reconciler.linux import manager, processes, syscalls
from reconciler.linux.manager import Manager
from resources.machine import Finished, MachineError, TimedOut, Unavailable

BUS = "run/dbus/system_bus_socket"
LINGERS = 0.5  # seconds
STOPS = 2.0  # seconds that a transient service may take to be ended: it has one to do so by itself


class Systemds:
    """One connection for each run of a container. `changed`: called with the domain when a unit changes in it."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._managers: dict[str, tuple[int, Manager]] = {}
        self._opening = asyncio.Lock()

    async def systemctl(self, domain: str, init: int, arguments: Sequence[str], timeout: float) -> Finished:
        """systemctl(1) in there: show, is-enabled, start, stop, reset-failed. Raises Unavailable, TimedOut."""
        verb, *units = [one for one in arguments if not one.startswith("-")]
        try:
            async with asyncio.timeout(timeout):
                return await (await self._manager(domain, init)).systemctl(verb, units)
        except TimeoutError as e:
            raise TimedOut(f"systemctl {verb} {' '.join(units)}: no end within {timeout:.0f} s") from e

    async def _manager(self, domain: str, init: int) -> Manager:
        async with self._opening:
            known = self._managers.get(domain)
            if known is not None and known[0] == init and known[1].open:
                return known[1]
            self.forget(domain)
            with _bus(init) as path:
                found = await manager.connect(path, lambda: self._changed(domain))
            self._managers[domain] = (init, found)
            return found

    async def run(self, domain: str, init: int, argv: Sequence[str], timeout: float, stdin: str) -> Finished:
        """As a transient service of the container's systemd, ended with all its children when it takes too long or
        nobody waits for it any more."""
        unit = _unit()
        try:
            return await _run(init, unit, argv, timeout, stdin)
        except (TimedOut, asyncio.CancelledError):
            with contextlib.suppress(MachineError):
                await self.systemctl(domain, init, ("stop", unit), STOPS)
            raise

    def forget(self, domain: str) -> None:
        """Its container has ended, or the agent."""
        if known := self._managers.pop(domain, None):
            known[1].close()

    def close(self) -> None:
        for domain in list(self._managers):
            self.forget(domain)


def answers(init: int) -> bool:
    """Is its bus there?"""
    try:
        with _bus(init):
            return True
    except Unavailable:
        return False


def _unit() -> str:
    return f"hactl-{secrets.token_hex(6)}.service"


async def _run(init: int, unit: str, argv: Sequence[str], timeout: float, stdin: str) -> Finished:
    options = ("--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}", "--property=TimeoutStopSec=1")
    # Should nobody be left to end it, its systemd does.
    limited = ("systemd-run", *options, f"--property=RuntimeMaxSec={timeout + LINGERS:g}", "--", *argv)
    with _bus(init) as path:
        environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={path}"}
        fd = int(path.rpartition("/")[2])
        try:
            done = await processes.run(limited, timeout=timeout, stdin=stdin, environment=environment, fds=(fd,))
        except TimedOut as e:
            raise TimedOut(f"{argv[0]}: no end within {timeout:.0f} s") from e
    if done.status == 203 or "No such file or directory" in done.err:
        raise Unavailable(f"{argv[0]} is missing in the container")
    return done


@contextmanager
def _bus(init: int) -> Iterator[str]:
    """A path to its system bus; links in the container cannot lead to another one. Raises Unavailable."""
    try:
        root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = syscalls.open_in_root(root, BUS, os.O_PATH)
        finally:
            os.close(root)
    except OSError as e:
        raise Unavailable("the container's systemd is not there (yet): no system bus in it") from e
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
