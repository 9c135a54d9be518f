"""The guard: petted while the session's deadline holds and not a moment longer, whoever is killed when."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.guard import NOTE, Guard
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Host
from tests.unit.support import hosts, machine, simulated

W = 10.0
DEVICE = "/dev/watchdog"


class Agent:
    """A guard at work on hosta. `kept`: is nothing held?"""

    def __init__(self, host: Host | None = None) -> None:
        self.host = host or hosts().hosts["hosta"]
        self.hands: SimMachine = machine(self.host)
        self.guard = Guard(self.hands, DEVICE, W)
        self.kept = False
        self.task = asyncio.create_task(self.guard.run(lambda _deadline: self.kept))

    def safe_for(self, seconds: float) -> None:
        self.guard.promise(self.hands.monotonic() + seconds)

    def kill(self) -> None:
        self.hands.die()
        self.task.cancel()

    @property
    def reset(self) -> bool:
        return not self.host.power


async def after(seconds: float) -> None:
    await asyncio.sleep(seconds)


@simulated
async def test_it_is_petted_until_the_deadline_and_resets_the_host_within_w_after_it() -> None:
    agent = Agent()
    assert await agent.guard.arm() == W
    agent.safe_for(30)
    await after(30)
    assert not agent.reset
    await after(W)
    assert agent.reset


@simulated
async def test_it_is_disarmed_after_the_deadline_once_nothing_is_held() -> None:
    agent = Agent()
    await agent.guard.arm()
    agent.safe_for(20)
    agent.kept = True
    await after(19)
    assert agent.guard.armed
    await after(30)
    assert not agent.guard.armed
    assert not agent.reset
    assert agent.hands.read(NOTE) is None


@simulated
async def test_a_deadline_that_is_past_pets_nothing() -> None:
    agent = Agent()
    await agent.guard.arm()
    agent.safe_for(1)
    began = agent.hands.monotonic()
    while not agent.reset and agent.hands.monotonic() < began + 2 * W:
        agent.guard.promise(began + 1)
        await after(0.25)
    assert agent.reset


@pytest.mark.parametrize("late", [0.0, 2.0, 4.4])
@simulated
async def test_a_killed_agent_makes_no_false_proof_though_linux_pets_it_once_more(late: float) -> None:
    agent = Agent()
    await agent.guard.arm()
    agent.safe_for(20)
    await after(20 + late)
    agent.kill()
    await after(W - late)
    assert agent.reset


@simulated
async def test_the_next_agent_pets_it_until_its_predecessors_deadline() -> None:
    first = Agent()
    await first.guard.arm()
    first.safe_for(20)
    await after(1)
    first.kill()
    second = Agent(first.host)
    await second.guard.take_up()
    assert second.guard.armed
    assert second.guard.noted == pytest.approx(25)
    await after(18.5)
    assert not second.reset
    await after(W)
    assert second.reset


@simulated
async def test_one_that_is_overdue_is_not_petted_by_agent_after_agent() -> None:
    agent = Agent()
    await agent.guard.arm()
    agent.safe_for(2)
    await after(3)
    for _ in range(20):
        agent.kill()
        if agent.reset:
            break
        agent = Agent(agent.host)
        await agent.guard.take_up()
        assert agent.guard.overdue
        await after(0.5)
    assert agent.reset


@simulated
async def test_one_that_is_overdue_is_disarmed_once_nothing_is_held() -> None:
    first = Agent()
    await first.guard.arm()
    first.safe_for(2)
    await after(3)
    first.kill()
    second = Agent(first.host)
    second.kept = True
    await second.guard.take_up()
    await after(60)
    assert not second.reset
    assert not second.guard.overdue


@simulated
async def test_arming_waits_for_a_disarming_under_way() -> None:
    agent = Agent()
    await agent.guard.arm()
    disarming = asyncio.create_task(agent.guard.disarm())
    await asyncio.sleep(0)
    assert await agent.guard.arm() == W
    await disarming
    assert agent.host.watchdog.seconds > 0


@simulated
async def test_a_device_that_cannot_be_used_is_told_and_guards_nothing() -> None:
    agent = Agent()
    agent.host.faults[f"watchdog {DEVICE}"] = "fail"
    assert await agent.guard.arm() == 0
    assert "watchdog" in agent.guard.trouble
    agent.host.faults.clear()
    assert await agent.guard.arm() == W
    assert agent.guard.trouble == ""


@simulated
async def test_without_a_device_nothing_is_armed() -> None:
    guard = Guard(machine(hosts().hosts["hosta"]), "", W)
    await guard.take_up()
    assert await guard.arm() == 0
    guard.promise(1e9)
    await guard.disarm()
