"""What a container leaves behind, from a tree like that of the lab's hosts; killed for real in tests/lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.linux import orphans, proc
from resources.container import ContainerKind, ContainerSpec
from resources.kind import Role
from resources.machine import Container, Process
from tests.unit.support import CAPTURED

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


@pytest.mark.parametrize(
    ("domain", "cgroup"),
    [
        ("nfs", r"machine.slice/machine-site.slice/machine-lxc\x2d7\x2dnfs.scope"),  # <partition>/machine/site
        ("nfs", r"site.slice/machine-lxc\x2d7\x2dnfs.scope"),  # <partition>/site
        ("nfs", "machine/site.partition/lxc-7-nfs.libvirt-lxc"),  # the same without machined
        ("nfs_old", r"machine.slice/machine-lxc\x2d7\x2dnfsold.scope"),
        ("a--b-", r"machine.slice/machine-lxc\x2d7\x2da\x2db.scope"),
        ("n" * 70, rf"machine.slice/machine-lxc\x2d7\x2d{'n' * 58}.scope"),
    ],
)
def test_another_partition_and_a_name_that_libvirt_made_fit(tmp_path: Path, domain: str, cgroup: str) -> None:
    (tmp_path / cgroup).mkdir(parents=True)
    (tmp_path / "system.slice" / "docker.service" / r"machine-lxc\x2d8\x2dnfs.scope").mkdir(parents=True)
    assert list(orphans.scopes(domain, tmp_path)) == [(7, tmp_path / cgroup)]


@pytest.mark.parametrize(
    ("cgroup", "domain"),
    [
        (r"0::/machine.slice/machine-lxc\x2d7\x2dnfs\x2dold.scope/libvirt/init.scope", "nfs-old"),
        ("0::/system.slice/ssh.service", ""),
    ],
)
def test_which_container_a_process_is_in(tmp_path: Path, cgroup: str, domain: str) -> None:
    (tmp_path / "34").mkdir()
    (tmp_path / "34" / "cgroup").write_text(f"{cgroup}\n")
    assert orphans.domain_of(34, tmp_path) == domain


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


# -- killed, and in D --------------------------------------------------------------------------------------------------

WAITS = Process(34, "nfsd", "D", "drbd_al_begin_io")
STUCK = Container(True, False, stuck=(WAITS,), stuck_addresses=frozenset({"127.0.0.1", "fe80::1"}))
HAD = Container(True, False, stuck=(WAITS,), stuck_addresses=frozenset({"192.0.2.10"}))
EXT4, OF_A_DISK = "1 0 254:0 / / rw - ext4 /dev/vda rw\n", "2 1 147:3 / /export rw - ext4 /dev/drbd3 rw\n"
KILLED, SPARED, EXITS = "0000000000000100", "0000000000000000", "4"


@pytest.mark.parametrize(
    ("state", "pending", "flags", "mounts", "is_stuck"),
    [
        ("D", KILLED, "0", EXT4, True),
        ("D", SPARED, EXITS, EXT4, True),
        ("D", SPARED, "0", EXT4, False),  # nobody has killed it yet
        ("S", KILLED, "0", EXT4, False),  # it is about to die
        ("D", KILLED, "0", EXT4 + OF_A_DISK, False),
        ("D", KILLED, "0", EXT4 + OF_A_DISK.replace("147:3", "0:45").replace("ext4", "btrfs"), False),
        ("D", KILLED, "0", "", False),  # unknown
        ("Z", KILLED, EXITS, EXT4, False),
    ],
)
def test_stuck_is_what_was_killed_and_waits_without_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, pending: str, flags: str, mounts: str, is_stuck: bool
) -> None:
    monkeypatch.setattr(proc, "PROC", tmp_path)
    thread = tmp_path / "34" / "task" / "34"
    thread.mkdir(parents=True)
    (thread / "stat").write_text(f"34 (nfsd) {state} 1 34 34 0 -1 {flags} 0")
    (thread / "status").write_text(f"Name:\tnfsd\nSigPnd:\t{pending}\nShdPnd:\t{SPARED}\n")
    (tmp_path / "34" / "mountinfo").write_text(mounts)
    assert orphans.stuck(34) is is_stuck


def test_a_zombie_is_no_orphan(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose threads have ended stands in cgroup.procs until the last of them is gone."""
    thread = tmp_path / "proc" / str(os.getpid()) / "task" / str(os.getpid())
    thread.mkdir(parents=True)
    (thread / "stat").write_text("34 (nfsd) Z 1")
    monkeypatch.setattr(proc, "PROC", tmp_path / "proc")
    assert orphans.left("nfs", root) == orphans.Left((), (), frozenset())


def test_the_addresses_of_a_network_namespace() -> None:
    fib_trie, if_inet6 = ((CAPTURED / name).read_text() for name in ("fib-trie.txt", "if-inet6.txt"))
    assert proc.parse_addresses(fib_trie, if_inet6) == {
        "127.0.0.1",
        "192.0.2.2",
        "::1",
        "fd00::2",
        "fe80::fc:ff:fe00:1",
    }


def test_what_is_stuck_and_holds_nothing_is_named_and_blocks_nothing() -> None:
    assert [str(step) for step in KIND.plan(SPEC, Role.ACTIVE, STUCK)] == ["start container nfs"]
    assert KIND.held(SPEC, STUCK) == ""
    running = Container(True, True, 7, "7-1", stuck=STUCK.stuck, stuck_addresses=STUCK.stuck_addresses)
    (one,) = KIND.conditions(SPEC, Role.ACTIVE, running)
    assert not one.broken
    assert one.reason == (
        "what is left of an earlier run of container nfs was killed and does not die: "
        "nfsd (34, D in drbd_al_begin_io); it holds nothing"
    )


def test_what_is_stuck_where_an_address_of_the_service_is_blocks() -> None:
    kill = KIND.plan(SPEC, Role.ACTIVE, HAD)[0]
    assert str(kill) == "end what is left of container nfs"
    assert "nfsd (34, D in drbd_al_begin_io)" in KIND.held(SPEC, HAD)
    assert [one.broken for one in KIND.conditions(SPEC, Role.STANDBY, HAD)] == [True]
