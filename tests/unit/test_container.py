"""Containers: warm on the standby, unless their root is on a disk that only one host has."""

from __future__ import annotations

import pytest

from resources.container import ContainerKind, ContainerSpec, Start, StartAlone, Stop
from resources.kind import Role
from resources.machine import Container, Unavailable
from tests.unit.support import bring, hosts, machine, parts, simulated, texts

KIND = ContainerKind()
WARM, COLD = ContainerSpec(domain="nfs"), ContainerSpec(domain="nfs", warm=False)
RUNS, STOPPED, UNDEFINED = Container(True, True, 7), Container(True, False), Container(False, False)


@pytest.mark.parametrize(
    ("spec", "seen", "role", "steps"),
    [
        (WARM, STOPPED, Role.ACTIVE, ["start container nfs"]),
        (WARM, STOPPED, Role.STANDBY, ["start container nfs"]),
        (COLD, STOPPED, Role.STANDBY, []),
        (COLD, RUNS, Role.STANDBY, ["stop container nfs"]),
        (WARM, RUNS, Role.STANDBY, []),
        (WARM, RUNS, Role.ACTIVE, []),
        (WARM, RUNS, Role.ABSENT, ["stop container nfs"]),
        (WARM, STOPPED, Role.ABSENT, []),
        (WARM, UNDEFINED, Role.ACTIVE, []),
    ],
)
def test_the_role_decides_whether_it_runs(spec: ContainerSpec, seen: Container, role: Role, steps: list[str]) -> None:
    assert texts(KIND.plan(spec, role, seen)) == steps


def test_a_warm_one_may_be_started_by_anyone_and_a_cold_one_by_the_owner_alone() -> None:
    [warm] = KIND.plan(WARM, Role.ACTIVE, STOPPED)
    [cold] = KIND.plan(COLD, Role.ACTIVE, STOPPED)
    assert (type(warm), warm.exclusive) == (Start, False)
    assert (type(cold), cold.exclusive) == (StartAlone, True)
    assert Stop.down


@pytest.mark.parametrize(
    ("spec", "seen", "role", "found"),
    [
        (WARM, RUNS, Role.ACTIVE, []),
        (WARM, STOPPED, Role.ACTIVE, [("container nfs does not run", True)]),
        (COLD, RUNS, Role.STANDBY, [("container nfs runs", True)]),
        (WARM, UNDEFINED, Role.ACTIVE, [("container nfs is not defined on this host (virsh -c lxc:/// define)", True)]),
        (
            WARM,
            UNDEFINED,
            Role.STANDBY,
            [("container nfs is not defined on this host (virsh -c lxc:/// define)", False)],
        ),
    ],
)
def test_what_is_not_as_it_should_be_is_said(
    spec: ContainerSpec, seen: Container, role: Role, found: list[tuple[str, bool]]
) -> None:
    assert [(condition.reason, condition.broken) for condition in KIND.conditions(spec, role, seen)] == found


def test_only_a_cold_one_is_held() -> None:
    assert KIND.held(COLD, RUNS) == "container nfs runs"
    assert KIND.held(WARM, RUNS) == ""


def test_why_it_could_not_be_taken_over() -> None:
    assert KIND.obstacles(WARM, STOPPED) == ["container nfs does not run yet"]
    assert KIND.obstacles(COLD, STOPPED) == []
    assert KIND.obstacles(COLD, UNDEFINED) == ["container nfs is not defined on this host (virsh -c lxc:/// define)"]
    assert [KIND.says(WARM, seen) for seen in (RUNS, STOPPED, UNDEFINED)] == ["running", "stopped", "not defined"]


def test_a_disk_that_is_mounted_before_it_starts_makes_it_cold() -> None:
    def of(where: str) -> ContainerSpec:
        disks = [{"resource": "git", "mount": "/srv/ct/git", "where": where}]
        [found] = [part.spec for part in parts(disks=disks) if part.kind.name == "container"]
        assert isinstance(found, ContainerSpec)
        return found

    assert of("host") == COLD
    assert of("container") == WARM
    assert KIND.topics(WARM) == frozenset({"domain/nfs"})
    assert [part.kind.name for part in parts(container=None)] == []


@simulated
async def test_it_starts_and_stops_and_nothing_is_left_to_do() -> None:
    host = hosts().hosts["hosta"]
    hands = machine(host)
    await bring(KIND, WARM, Role.STANDBY, hands)
    assert host.place("nfs") is not None
    assert await bring(KIND, WARM, Role.ACTIVE, hands) == []
    await bring(KIND, WARM, Role.ABSENT, hands)
    assert host.place("nfs") is None


@simulated
async def test_a_libvirtd_that_does_not_answer_leaves_it_unknown() -> None:
    host = hosts().hosts["hosta"]
    host.libvirtd = False
    with pytest.raises(Unavailable, match="libvirtd does not answer"):
        await KIND.observe(WARM, machine(host))
