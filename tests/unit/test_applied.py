"""What was applied: a part that is dropped from a spec is known until it is down, also by the agent's successor."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.applied import Applied
from reconciler.sim.cluster import Cluster
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import World
from reconciler.spec import to_json
from resources.kind import take_apart
from resources.registry import KINDS
from tests.unit.support import hosts, machine, manifest, simulated


def text(**fields: Any) -> str:
    return to_json(manifest(**fields).model_dump(mode="json", exclude_none=True))


def dropped(applied: Applied, **fields: Any) -> list[str]:
    """The ids of what was applied and is not in this spec."""
    return [part.id for part in applied.dropped("nfs", take_apart(manifest(**fields).spec, KINDS))]


def hands() -> tuple[World, SimMachine]:
    world = hosts()
    return world, machine(world.hosts["hosta"])


ONE, TWO = {"address": "192.0.2.10/24"}, {"address": "192.0.2.20/24"}


@simulated
async def test_at_first_nothing_is_dropped() -> None:
    assert dropped(Applied(hands()[1])) == []


@simulated
async def test_what_is_no_longer_in_the_spec_is_dropped() -> None:
    applied = Applied(hands()[1])
    applied.note("nfs", text(addresses=[ONE, TWO], units=["a.service"]))
    assert dropped(applied, addresses=[TWO]) == ["unit/a.service", "address/192.0.2.10/24"]
    assert dropped(applied, addresses=[ONE, TWO], units=["a.service", "b.service"]) == []


@simulated
async def test_the_agents_successor_knows_it_and_the_next_boot_does_not() -> None:
    world, first = hands()
    Applied(first).note("nfs", text(addresses=[ONE]))
    assert dropped(Applied(machine(world.hosts["hosta"]))) == ["address/192.0.2.10/24"]
    world.power_off("hosta")
    world.power_on("hosta")
    assert dropped(Applied(machine(world.hosts["hosta"]))) == []


@simulated
async def test_what_is_dropped_is_not_forgotten_before_it_is_down() -> None:
    world, first = hands()
    applied = Applied(first)
    applied.note("nfs", text(addresses=[ONE]))
    applied.note("nfs", text(addresses=[TWO]), keep=True)
    for one in (applied, Applied(machine(world.hosts["hosta"]))):
        assert dropped(one, addresses=[TWO]) == ["address/192.0.2.10/24"]
        assert dropped(one) == ["address/192.0.2.20/24", "address/192.0.2.10/24"]
    applied.note("nfs", text(addresses=[TWO]))
    assert dropped(Applied(machine(world.hosts["hosta"])), addresses=[TWO]) == []


@simulated
async def test_noting_the_same_again_writes_nothing() -> None:
    _, first = hands()
    applied = Applied(first)
    applied.note("nfs", text())
    first.sim.files.clear()
    applied.note("nfs", text())
    assert first.sim.files == {}


@simulated
async def test_a_gate_is_nothing_to_put_down() -> None:
    applied = Applied(hands()[1])
    applied.note("nfs", text(gates=[{"ping": ["192.0.2.1"]}]))
    assert dropped(applied) == []


@simulated
async def test_a_service_that_is_gone_is_forgotten() -> None:
    _, first = hands()
    applied = Applied(first)
    applied.note("nfs", text(addresses=[ONE]))
    applied.forget("nfs")
    assert (dropped(applied), first.sim.files) == ([], {})


@simulated
async def test_what_another_version_wrote_is_left_alone() -> None:
    _, first = hands()
    for written in ("nonsense", '{"a": 1}', '["nonsense", 5, null]', "[["):
        first.write("/run/hactl/applied/nfs.json", written)
        assert dropped(Applied(first)) == []


@simulated
async def test_a_service_that_was_ready_in_its_epoch_is_known_to_have_been() -> None:
    world, first = hands()
    Applied(first).settle("nfs", 7)
    successor = Applied(machine(world.hosts["hosta"]))
    assert successor.settled("nfs", 7)
    assert not successor.settled("nfs", 8)


@pytest.mark.parametrize("agent", ["stays", "is killed"])
@simulated
async def test_an_address_that_could_not_be_removed_at_once_is_removed_in_the_end(agent: str) -> None:
    cluster = Cluster(1, [manifest(addresses=[ONE, TWO])])
    await cluster.start()
    await cluster.until_ready()
    host = cluster.world.hosts["hosta"]
    host.faults["remove-address 192.0.2.20"] = "fail"
    await cluster.apply(manifest(addresses=[ONE]))
    await cluster.run(5)
    assert cluster.world.reach("192.0.2.20")
    if agent == "is killed":
        cluster.kill("hosta")
    host.faults.clear()
    await cluster.run(60)
    assert cluster.world.reach("192.0.2.20") == []
    await cluster.until_ready()
