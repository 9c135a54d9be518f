"""Programs: run without a shell, bounded in time, with nothing left behind when they take too long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from resources.machine import Finished, TimedOut, Unavailable

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
DIES = 2.0  # seconds that a killed process may take to be gone; longer only in D state


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    fds: Sequence[int] = (),
) -> Finished:
    """In a session of its own, which is killed as a whole. Raises Unavailable, TimedOut."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**ENVIRONMENT, **(environment or {})},
            start_new_session=True,
            pass_fds=tuple(fds),
        )
    except (FileNotFoundError, PermissionError) as e:
        raise Unavailable(f"{argv[0]} is missing on this host: {e.strerror}; is its package installed?") from e
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode() or None)
    except TimeoutError as e:
        raise TimedOut(f"{' '.join(argv[:3])}: no end within {timeout:.0f} s") from e
    finally:
        await _end(process)
    status = process.returncode or 0
    return Finished(status if status >= 0 else 128 - status, _text(out), _text(err))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever ended our waiting: it, and all of its session, is no more (but for what hangs in the kernel)."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DIES):
            await process.wait()


def _text(octets: bytes) -> str:
    return octets.decode(errors="replace")
