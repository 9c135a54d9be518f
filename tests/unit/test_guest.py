"""Guests: a service in another's container, which it neither starts nor stops; where that does not run it cannot be."""

from __future__ import annotations

import asyncio

import pytest

from resources.guest import PATIENCE, Await, GuestKind, GuestSpec
from resources.kind import Role, Stage
from resources.machine import Container, MachineError
from tests.unit.support import bring, hosts, machine, simulated

KIND, SPEC = GuestKind(), GuestSpec(domain="nfs", of="dns")
RUNS, STOPPED = Container(True, True, 7, "1"), Container(True, False)
WHY = "container nfs does not run here: service dns keeps it (hactl status dns)"


def test_it_comes_where_a_container_comes() -> None:
    assert (KIND.stage(SPEC), KIND.key(SPEC), KIND.topics(SPEC)) == (Stage.CONTAINER, "dns", frozenset({"domain/nfs"}))


@pytest.mark.parametrize("role", list(Role))
def test_where_the_container_runs_there_is_nothing_to_do(role: Role) -> None:
    assert KIND.plan(SPEC, role, RUNS) == []
    assert KIND.conditions(SPEC, role, RUNS) == []
    assert KIND.obstacles(SPEC, RUNS) == []
    assert KIND.held(SPEC, RUNS) == ""


def test_it_is_never_started_or_stopped_only_waited_for() -> None:
    (step,) = KIND.plan(SPEC, Role.ACTIVE, STOPPED)
    assert isinstance(step, Await)
    assert [one.reason for one in KIND.conditions(SPEC, Role.ACTIVE, STOPPED)] == [WHY]
    for role in (Role.STANDBY, Role.ABSENT):
        assert KIND.plan(SPEC, role, STOPPED) == []
        assert KIND.conditions(SPEC, role, STOPPED) == []


def test_where_it_does_not_run_the_guest_cannot_come() -> None:
    assert KIND.obstacles(SPEC, STOPPED) == [WHY]
    assert KIND.obstacles(SPEC, Container(False, False)) == [WHY]


@simulated
async def test_once_it_runs_the_guest_comes_up() -> None:
    host = hosts().hosts["hosta"]
    asyncio.get_running_loop().call_later(3, host.start_domain, "nfs")
    assert [str(step) for step in await bring(KIND, SPEC, Role.ACTIVE, machine(host))] == [
        "wait for container nfs of dns"
    ]


@simulated
async def test_one_that_never_runs_is_not_waited_for_for_ever() -> None:
    hands = machine(hosts().hosts["hosta"])
    began = hands.monotonic()
    with pytest.raises(MachineError, match="service dns keeps it"):
        await Await("", "nfs", "dns").run(hands)
    assert hands.monotonic() - began < PATIENCE + 5
