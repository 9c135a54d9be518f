"""cgroup.events as a trigger, on a real cgroup: where this machine lets us make one."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.linux import proc
from reconciler.linux.populated import Populated


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """An empty one of this test's own."""
    mounted = [one.target for one in proc.mounts("self") if one.fstype == "cgroup2"]
    if not mounted:
        pytest.skip("cgroups are not version 2 here")
    made = Path(mounted[0]) / f"hactl-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as e:
        pytest.skip(f"no cgroup can be made here: {e}")
    yield made
    if made.exists():
        made.rmdir()


def _removed(cgroup: Path) -> None:
    cgroup.rmdir()


def _sleeper(cgroup: Path) -> subprocess.Popen[bytes]:
    cgroup.mkdir(exist_ok=True)
    process = subprocess.Popen(["sleep", "60"])
    (cgroup / "cgroup.procs").write_text(str(process.pid))
    return process


async def test_the_end_of_the_last_process_is_told_and_the_cgroup_is_forgotten(cgroup: Path) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    populated = Populated(told.put_nowait)
    process = _sleeper(cgroup)
    try:
        populated.watch("nfs", [cgroup, cgroup, cgroup / "gone"])
        await asyncio.sleep(0.1)
        assert told.empty()  # nothing while it is idle
        process.kill()
        assert await asyncio.wait_for(told.get(), 5) == "nfs"
        process.wait()
        _removed(cgroup)
        await asyncio.sleep(0.1)
        assert told.empty()
        process = _sleeper(cgroup)  # another run, by the same name
        populated.watch("nfs", [cgroup])
        process.kill()
        assert await asyncio.wait_for(told.get(), 5) == "nfs"
    finally:
        populated.close()
        process.kill()
        process.wait()
