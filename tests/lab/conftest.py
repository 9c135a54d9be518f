"""The lab for tests: up once for all of them, down at the end (HACTL_LAB_KEEP=1 leaves it up, for the next run)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.lab import rig

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DISKS = ("nfs-home", "nfs-state")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of the lab once more where a guest stood still: examples/lab/README.md."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=[rig.StoodStill.__name__]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with _excused(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with _excused(item):
        return (yield)


@contextmanager
def _excused(item: pytest.Item) -> Iterator[None]:
    began = time.time()
    try:
        yield
    except Exception as e:
        if not (still := rig.stood_still(began)):
            raise
        why = f"{'; '.join(still)}: so this tells nothing of hactl: {e}"
        item.config.get_terminal_writer().line(f"\n{item.name}: {why}", yellow=True)
        raise rig.StoodStill(why) from e


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is told with what the lab was like: the machine of a CI is gone when one comes to look."""
    report = yield
    if report.failed:
        report.sections.append(("the lab then", rig.seen()))
    return report


class Lab:
    """Its hosts, for tests that need no service."""

    def exec(self, host: str, *argv: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return rig.lab("exec", host, "--", *argv, stdin=stdin, check=check)

    def copy(self, source: Path | str, host: str, target: str) -> None:
        rig.lab("copy", str(source), f"{host}:{target}")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Both hosts and the witness, with examples/nfs.yaml provisioned and nothing applied."""
    up()
    yield Lab()
    if not os.environ.get("HACTL_LAB_KEEP"):
        rig.show("down")


def up() -> None:
    """Once more from nothing where it failed: a boot on a machine that is busy with something else may."""
    try:
        rig.show("up")
    except rig.LabError as e:
        print(f"once more from nothing: {e}")
        rig.show("down")
        rig.show("up")
    rig.show("provision", str(EXAMPLES / "nfs.yaml"))


@pytest.fixture
def nfs(lab: Lab) -> str:
    """The service of examples/nfs.yaml, Ready on hosta, whatever the test before has left. Its name."""
    if not as_restored():
        restore()
    return "nfs"


restored: list[str] = []  # the service's spec, once it was as the file says


def as_restored() -> bool:
    """Is all as `restore` would leave it? Asking takes a tenth of the time."""
    cables = rig.lab("status").stdout.splitlines()
    if not restored or any(" off" in line or " down" in line or "frozen" in line for line in cables):
        return False
    now = rig.status_or_none("nfs")
    if now is None or rig.hactl("get", "service", "nfs", "-o", "json", check=False).stdout != restored[0]:
        return False
    able = now["targets"].get("hostb", {}).get("ready")
    return (now["state"], now["owner"], able) == ("Ready", "hosta", True)


def restore() -> None:
    """As the files say, whatever a test left; Ready on hosta with hostb able to take over."""
    for host in rig.HOSTS:
        well(host)
    rig.on("witness", "systemctl", "start", "etcd")
    rig.apply("\n---\n".join((EXAMPLES / name).read_text() for name in ("hosts.yaml", "nfs.yaml")))
    rig.hactl("set", "nfs", "primary=hosta", "deadline=120", "failover=manual", "--anyway")
    rig.ready("nfs", "hosta")
    restored[:] = [rig.hactl("get", "service", "nfs", "-o", "json").stdout]


def well(host: str) -> None:
    """On, its cables plugged, etcd and the agent running."""
    for wire in ("lan", "replication"):
        rig.lab("link", host, wire, "up")
    power = rig.lab("power", host, "status").stdout.strip()
    if power != "on":
        rig.lab("power", host, "off")
        rig.lab("power", host, "on")
    rig.on(host, "systemctl", "start", "etcd", "hactl-agent")
