"""Prepare: once at each bring-up, in the container, before the units; a failure ends it only where it is required."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.observe import Snapshot
from reconciler.plan import plan
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Host
from reconciler.spec import SpecError
from resources.kind import Part, Role, Stage
from resources.machine import MachineError
from resources.prepare import DIRECTORY, Prepare, PrepareKind, PrepareSeen, PrepareSpec
from resources.unit import UnitKind, UnitSeen, UnitSpec
from tests.unit.support import bring, hosts, machine, manifest, parts, simulated, texts

KIND = PrepareKind()
PULL = ("git", "-C", "/etc/dhcp", "pull")


def spec(**fields: Any) -> PrepareSpec:
    return PrepareSpec(**{"exec": PULL, "domain": "nfs", "units": ("dhcpd.service",), **fields})


def running() -> tuple[Host, SimMachine]:
    host = hosts().hosts["hosta"]
    host.start_domain("nfs")
    return host, machine(host)


def set_unit(host: Host, active: str) -> None:
    place = host.place("nfs")
    assert place is not None
    host.set_unit(place, "dhcpd.service", active, "running")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"prepare": [{"exec": []}]}, "at least 1 item"),
        ({"prepare": [{"exec": ["a"], "timeout": 601}]}, "less than or equal to 600"),
        ({"prepare": [{"exec": ["a", "b"]}, {"exec": ["a", "b"]}]}, "lists a b twice"),
        ({"prepare": [{"exec": ["a"]}], "container": None}, "prepare runs in a container, and this service has none"),
        ({"prepare": [{"exec": "git pull"}]}, "valid tuple"),
    ],
)
def test_what_it_cannot_be_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        manifest(**fields)
    assert sentence in str(caught.value)


def test_it_comes_between_mounts_and_units_in_the_order_in_which_it_is_written() -> None:
    found = parts(
        prepare=[{"exec": ["b"]}, {"exec": ["a"]}], units=["u.service"], disks=[{"resource": "r", "mount": "/m"}]
    )
    assert [part.id for part in found] == [
        *("disk/r", "container/nfs", "mount//m", "prepare/b", "prepare/a", "unit/u.service"),
    ]
    assert Stage.MOUNT < Stage.PREPARE < Stage.UNIT


@simulated
async def test_it_runs_once_until_it_is_put_down() -> None:
    host, hands = running()
    assert texts(await bring(KIND, spec(), Role.ACTIVE, hands)) == ["prepare with git -C /etc/dhcp pull"]
    assert await bring(KIND, spec(), Role.ACTIVE, hands) == []
    set_unit(host, "failed")
    assert await bring(KIND, spec(), Role.ACTIVE, hands) == []
    assert texts(await bring(KIND, spec(), Role.STANDBY, hands)) == ["forget that git -C /etc/dhcp pull ran"]
    assert not [path for path in host.files if path.startswith(DIRECTORY)]
    assert len(await bring(KIND, spec(), Role.ACTIVE, hands)) == 1


@simulated
async def test_another_run_of_the_container_prepares_anew() -> None:
    host, hands = running()
    await bring(KIND, spec(), Role.ACTIVE, hands)
    host.stop_domain("nfs")
    assert texts(KIND.plan(spec(), Role.ACTIVE, await KIND.observe(spec(), hands))) == [
        "prepare with git -C /etc/dhcp pull"
    ]
    host.start_domain("nfs")
    assert len(await bring(KIND, spec(), Role.ACTIVE, hands)) == 1


@simulated
async def test_not_under_units_that_run() -> None:
    host, hands = running()
    set_unit(host, "active")
    assert await bring(KIND, spec(), Role.ACTIVE, hands) == []
    assert KIND.says(spec(), await KIND.observe(spec(), hands)) == "not run: its units ran already"


@simulated
async def test_a_failure_is_known_and_not_tried_again() -> None:
    host, hands = running()
    host.faults["git"] = "fail"
    (step,) = KIND.plan(spec(), Role.ACTIVE, await KIND.observe(spec(), hands))
    assert step.optional
    with pytest.raises(MachineError, match="git exited 1: fatal: unable to access the repository"):
        await step.run(hands)
    seen = await KIND.observe(spec(), hands)
    assert KIND.plan(spec(), Role.ACTIVE, seen) == []
    (condition,) = KIND.conditions(spec(), Role.ACTIVE, seen)
    assert condition.reason.startswith("started without git -C /etc/dhcp pull: git exited 1")
    assert not condition.broken


@simulated
async def test_a_required_one_is_tried_until_it_succeeds() -> None:
    host, hands = running()
    host.faults["git"] = "fail"
    (step,) = KIND.plan(spec(required=True), Role.ACTIVE, await KIND.observe(spec(required=True), hands))
    assert not step.optional
    with pytest.raises(MachineError):
        await step.run(hands)
    seen = await KIND.observe(spec(required=True), hands)
    assert [one.broken for one in KIND.conditions(spec(required=True), Role.ACTIVE, seen)] == [True]
    host.faults.clear()
    assert len(await bring(KIND, spec(required=True), Role.ACTIVE, hands)) == 1


@simulated
async def test_it_never_runs_where_the_container_does_not() -> None:
    hands = machine(hosts().hosts["hosta"])
    with pytest.raises(MachineError, match="does not run"):
        await Prepare("", spec(required=True)).run(hands)


@simulated
async def test_two_services_of_one_container_have_notes_of_their_own() -> None:
    _, hands = running()
    await bring(KIND, spec(), Role.ACTIVE, hands)
    assert len(await bring(KIND, spec(units=("tftpd.service",)), Role.ACTIVE, hands)) == 1


def test_of_a_note_that_is_none_nothing_is_believed() -> None:
    for text in ("", "{", "[]", '{"container": 1}', '{"container": "1"}'):

        @simulated
        async def look(text: str = text) -> None:
            host, hands = running()
            host.files[spec().note] = text
            assert len(await bring(KIND, spec(), Role.ACTIVE, hands)) == 1

        look()


def test_a_plan_has_it_before_the_units() -> None:
    unit = Part(UnitKind(), UnitSpec(unit="dhcpd.service", domain="nfs"))
    part = Part(KIND, spec())
    snapshot = Snapshot((part, unit), {part.id: PrepareSeen(noted=True, ran=False), unit.id: UnitSeen("loaded")})
    assert texts(list(plan(snapshot, Role.ACTIVE).steps)) == [
        "prepare with git -C /etc/dhcp pull",
        "start dhcpd.service",
    ]
