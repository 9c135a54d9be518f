"""The systemd inside a container, spoken to over its own bus socket: no program of the container runs with our rights.

`nsenter` would give a program from the container's own disk all capabilities of the host. So systemctl is the host's,
and what a spec can name (an exec check) is started by the container's systemd, confined as everything in there.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from reconciler.linux import processes, syscalls
from resources.machine import Finished, TimedOut, Unavailable

SOCKET = "run/dbus/system_bus_socket"
LINGERS = 0.5  # seconds


def answers(init: int) -> bool:
    """Is its bus there?"""
    try:
        with _bus(init):
            return True
    except Unavailable:
        return False


async def systemctl(init: int, arguments: Sequence[str], timeout: float) -> Finished:
    """The host's systemctl on the container's systemd. Raises Unavailable, TimedOut."""
    with _bus(init) as (environment, fd):
        return await processes.run(("systemctl", *arguments), timeout=timeout, environment=environment, fds=(fd,))


async def run(init: int, argv: Sequence[str], timeout: float, stdin: str) -> Finished:
    """As a transient service of the container's systemd, ended with all its children when it takes too long."""
    unit = f"hactl-{secrets.token_hex(6)}.service"
    options = ("--quiet", "--pipe", "--wait", "--collect", f"--unit={unit}", "--property=TimeoutStopSec=1")
    # Should nobody be left to end it, its systemd does.
    limited = ("systemd-run", *options, f"--property=RuntimeMaxSec={timeout + LINGERS:g}", "--", *argv)
    with _bus(init) as (environment, fd):
        try:
            done = await processes.run(limited, timeout=timeout, stdin=stdin, environment=environment, fds=(fd,))
        except TimedOut as e:
            raise TimedOut(f"{argv[0]}: no end within {timeout:.0f} s") from e
    if done.status == 203 or "No such file or directory" in done.err:
        raise Unavailable(f"{argv[0]} is missing in the container")
    return done


@contextmanager
def _bus(init: int) -> Iterator[tuple[Mapping[str, str], int]]:
    """What a program needs to reach it; links in the container cannot lead to another bus. Raises Unavailable."""
    try:
        root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = syscalls.open_in_root(root, SOCKET, os.O_PATH)
        finally:
            os.close(root)
    except OSError as e:
        raise Unavailable("the container's systemd is not there (yet): no system bus in it") from e
    try:
        yield {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path=/proc/self/fd/{fd}", "SYSTEMCTL_FORCE_BUS": "1"}, fd
    finally:
        os.close(fd)
