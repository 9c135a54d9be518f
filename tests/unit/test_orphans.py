"""What a container leaves behind, from a tree like that of the lab's hosts; killed for real in tests/lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.linux import orphans
from resources.container import ContainerKind, ContainerSpec
from resources.kind import Role
from resources.machine import Container, Process

KIND, SPEC = ContainerKind(), ContainerSpec(domain="nfs")
LEFT = Container(True, False, orphans=(Process(12, "systemd", "S"), Process(34, "nfsd", "D", "drbd_al_begin_io")))
DEAD = 2**22 + 1  # above any PID


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs of nfs, one of nfs-old; none of them has a controller."""
    for name, inside in (
        (rf"machine-lxc\x2d{DEAD}\x2dnfs.scope", f"{os.getpid()}\n"),
        (rf"machine-lxc\x2d{DEAD + 1}\x2dnfs\x2dold.scope", f"{os.getpid()}\n"),
        (rf"machine-lxc\x2d{DEAD + 2}\x2dnfs.scope", ""),
        (r"machine-qemu\x2d3\x2dnfs.scope", f"{os.getpid()}\n"),
    ):
        scope = tmp_path / "machine.slice" / name
        (scope / "libvirt").mkdir(parents=True)
        (scope / "cgroup.procs").write_text("")
        (scope / "libvirt" / "cgroup.procs").write_text(inside)
        (scope / "cgroup.events").write_text(f"populated {int(bool(inside))}\nfrozen 0\n")
    return tmp_path


def test_a_populated_scope_without_its_controller_holds_orphans(root: Path) -> None:
    (found,) = orphans.orphaned("nfs", root)
    assert found.name == rf"machine-lxc\x2d{DEAD}\x2dnfs.scope"
    assert orphans.members(found) == [os.getpid()]


def test_the_names_of_domains_are_not_mixed_up(root: Path) -> None:
    assert [pid for pid, _ in orphans.scopes("nfs-old", root)] == [DEAD + 1]
    assert orphans.orphaned("old", root) == []


def test_a_host_without_containers_has_none(tmp_path: Path) -> None:
    assert orphans.orphaned("nfs", tmp_path) == []


@pytest.mark.parametrize(
    ("role", "steps"),
    [
        (Role.ACTIVE, ["end what is left of container nfs", "start container nfs"]),
        (Role.STANDBY, ["end what is left of container nfs", "start container nfs"]),
        (Role.ABSENT, ["end what is left of container nfs"]),
    ],
)
def test_they_are_ended_before_it_starts(role: Role, steps: list[str]) -> None:
    assert [str(step) for step in KIND.plan(SPEC, role, LEFT)] == steps


def test_they_are_named_and_count_as_held() -> None:
    said = "processes of an earlier run of container nfs are left: systemd (12, S), nfsd (34, D in drbd_al_begin_io)"
    assert [one.reason for one in KIND.conditions(SPEC, Role.STANDBY, LEFT)] == [said]
    assert KIND.held(SPEC, LEFT) == said
