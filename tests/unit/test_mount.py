"""Mounts: in the container or on the host, outer ones first, and whoever holds one is ended or named."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Host, World
from resources.kind import Role, Stage
from resources.machine import MachineError, Mounted, Process
from resources.mount import Mount, MountKind, MountSeen, MountSpec, Unmount
from tests.unit.support import bring, hosts, machine, parts, simulated, texts

KIND = MountKind()


def spec(target: str = "/export/home", **changes: Any) -> MountSpec:
    facts: dict[str, Any] = {"resource": "nfs-home", "volume": 0, "fstype": "ext4", "options": (), "domain": "nfs"}
    return MountSpec(target=target, **{**facts, **changes})


def mounted(device: str = "147:1", *, readonly: bool = False, target: str = "/export/home") -> Mounted:
    return Mounted(target, device, "ext4", "/dev/drbd1", readonly)


def seen(*there: Mounted) -> MountSeen:
    return MountSeen(there, "147:1" if there else None)


def primary() -> tuple[World, Host, SimMachine]:
    """hosta is the primary of nfs-home, its container runs."""
    world = hosts("nfs-home")
    host = world.hosts["hosta"]
    world.disks["nfs-home"].copies["hosta"].role = "Primary"
    host.start_domain("nfs")
    return world, host, machine(host)


# -- what is to be done ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "role", "steps"),
    [
        (seen(), Role.ACTIVE, ["mount /export/home"]),
        (seen(mounted()), Role.ACTIVE, []),
        (seen(mounted("8:1")), Role.ACTIVE, ["mount /export/home"]),
        (seen(mounted(readonly=True)), Role.ACTIVE, ["make /export/home writable"]),
        (seen(), Role.STANDBY, []),
        (seen(mounted()), Role.STANDBY, ["unmount /export/home"]),
        (seen(mounted(), mounted("8:1")), Role.ABSENT, ["unmount /export/home"]),
        (seen(mounted("8:1")), Role.STANDBY, []),
    ],
)
def test_the_role_decides_whether_it_is_mounted(there: MountSeen, role: Role, steps: list[str]) -> None:
    assert texts(KIND.plan(spec(), role, there)) == steps


def test_a_mount_that_is_meant_to_be_read_only_is_left_so() -> None:
    assert KIND.plan(spec(options=("ro",)), Role.ACTIVE, seen(mounted(readonly=True))) == []
    assert KIND.conditions(spec(options=("ro",)), Role.ACTIVE, seen(mounted(readonly=True))) == []


@pytest.mark.parametrize(
    ("there", "role", "reason"),
    [
        (seen(), Role.ACTIVE, "/export/home is not mounted"),
        (seen(mounted("8:1")), Role.ACTIVE, "/dev/drbd1 is mounted at /export/home instead of disk nfs-home"),
        (
            seen(mounted(readonly=True)),
            Role.ACTIVE,
            "/export/home is mounted read-only: by hand, or the kernel saw an error on it (dmesg)",
        ),
        (seen(mounted()), Role.STANDBY, "/export/home is mounted"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(there: MountSeen, role: Role, reason: str) -> None:
    assert [condition.reason for condition in KIND.conditions(spec(), role, there)] == [reason]


def test_it_is_held_only_while_the_disk_itself_is_mounted() -> None:
    assert KIND.held(spec(), seen(mounted())) == "/export/home is mounted"
    assert KIND.held(spec(), seen(mounted("8:1"))) == ""
    assert KIND.held(spec(), seen()) == ""


def test_its_state_is_said_in_a_few_words() -> None:
    assert KIND.says(spec(), seen()) == "not mounted"
    assert KIND.says(spec(), seen(mounted())) == "/dev/drbd1 (ext4)"
    assert KIND.says(spec(), seen(mounted(readonly=True))) == "/dev/drbd1 (ext4, read-only)"


def test_mounting_is_the_owners_and_unmounting_takes_away() -> None:
    assert (Mount.exclusive, Mount.down) == (True, False)
    assert (Unmount.exclusive, Unmount.down) == (False, True)


def test_an_outer_mount_comes_before_what_is_below_it_however_they_are_written() -> None:
    disks = [
        {"resource": "a", "mount": "/srv/git/lfs"},
        {"resource": "b", "mount": "/srv"},
        {"resource": "c", "mount": "/srv/git"},
        {"resource": "d", "mount": "/opt"},
        {"resource": "e"},
    ]
    found = [part.spec.target for part in parts(disks=disks) if part.kind.name == "mount"]
    assert found == ["/srv", "/opt", "/srv/git", "/srv/git/lfs"]


def test_one_on_the_host_comes_before_the_container() -> None:
    disks = [{"resource": "git", "mount": "/srv/ct/git", "where": "host"}, {"resource": "home", "mount": "/home"}]
    found = {part.spec.target: part for part in parts(disks=disks) if part.kind.name == "mount"}
    assert (found["/srv/ct/git"].stage, found["/srv/ct/git"].spec.domain) == (Stage.HOST_MOUNT, None)
    assert (found["/home"].stage, found["/home"].spec.domain) == (Stage.MOUNT, "nfs")
    assert KIND.topics(found["/home"].spec) == frozenset({"mounts/nfs"})


# -- on the simulated host ---------------------------------------------------------------------------------------------


@simulated
async def test_it_goes_up_and_down_in_the_container_and_nothing_is_left_to_do() -> None:
    world, host, hands = primary()
    assert texts(await bring(KIND, spec(), Role.ACTIVE, hands)) == ["mount /export/home"]
    place = host.place("nfs")
    assert place is not None
    assert [(one.target, one.device, one.source) for one in place.mounts] == [("/export/home", "147:1", "/dev/drbd1")]
    assert host.base.mounts == []
    assert texts(await bring(KIND, spec(), Role.STANDBY, hands)) == ["unmount /export/home"]
    assert place.mounts == []
    assert world.disks["nfs-home"].copies["hosta"].role == "Primary"


@simulated
async def test_a_container_that_does_not_run_has_nothing_mounted() -> None:
    hands = machine(hosts("nfs-home").hosts["hosta"])
    assert await KIND.observe(spec(), hands) == MountSeen()


@simulated
async def test_mounting_a_secondary_says_so() -> None:
    _, host, hands = primary()
    host.world.disks["nfs-home"].copies["hosta"].role = "Secondary"
    with pytest.raises(MachineError, match="is it Primary"):
        await Mount("", spec()).run(hands)


@simulated
async def test_who_holds_it_is_ended() -> None:
    _, host, hands = primary()
    await bring(KIND, spec(), Role.ACTIVE, hands)
    place = host.place("nfs")
    assert place is not None
    place.holders["/export/home"] = [Process(4711, "bash", "S"), Process(4712, "vi", "S")]
    await bring(KIND, spec(), Role.STANDBY, hands)
    assert place.mounts == []
    assert place.holders["/export/home"] == []


@simulated
async def test_a_process_that_cannot_be_ended_is_named() -> None:
    class Unkillable(SimMachine):
        def kill(self, pid: int) -> None:
            """In uninterruptible sleep: the signal waits."""

    _, host, hands = primary()
    await bring(KIND, spec(), Role.ACTIVE, hands)
    place = host.place("nfs")
    assert place is not None
    place.holders["/export/home"] = [Process(4711, "rsync", "D", "drbd_al_begin_io")]
    with pytest.raises(MachineError, match=r"stays busy: held by rsync \(4711, in drbd_al_begin_io\)"):
        await Unmount("", spec()).run(Unkillable(host, "test", lambda _: None))


@simulated
async def test_a_disk_that_drbd_does_not_know_is_named() -> None:
    _, host, hands = primary()
    host.mount(host.base, mounted(target="/export/home"))
    with pytest.raises(MachineError, match="drbdadm knows no device of disk other"):
        await KIND.observe(spec(resource="other", domain=None), hands)


# -- why it is read-only -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noted", "cause"),
    [
        ("0\n", ""),
        ("1\n", "the kernel has noted an error on the filesystem of disk nfs-home (dmesg; e2fsck)"),
        ("3\n", "the kernel has noted 3 errors on the filesystem of disk nfs-home (dmesg; e2fsck)"),
        ("nonsense", ""),
        (None, ""),
    ],
)
@simulated
async def test_what_the_kernel_has_noted_is_the_cause_and_nothing_else(noted: str | None, cause: str) -> None:
    _, host, hands = primary()
    await bring(KIND, spec(), Role.ACTIVE, hands)
    host.files["/sys/dev/block/147:1/uevent"] = "MAJOR=147\nMINOR=1\nDEVNAME=drbd1\nDEVTYPE=disk\n"
    if noted is not None:
        host.files["/sys/fs/ext4/drbd1/errors_count"] = noted
    place = host.domains["nfs"].place
    assert place is not None
    host.remount(place, "/export/home", readonly=True)
    (found,) = KIND.conditions(spec(), Role.ACTIVE, await KIND.observe(spec(), hands))
    assert found.cause == cause
    assert found.reason.startswith("/export/home is mounted read-only")
    assert ("by hand, or" in found.reason) == (not cause)
