"""Fencing: the power of a host is off only when its fence agent says so twice; secrets are nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.fencing import SECRETS, answers, cut_power
from reconciler.sim.world import World
from reconciler.spec import Fencing
from resources.machine import Finished, MachineError
from tests.unit.support import hosts, machine, simulated


def fencing(**options: str) -> Fencing:
    return Fencing(agent="fence_sim", options={"plug": "hosta", **options}, secret="hosta-bmc")


def world() -> World:
    """hostb may switch hosta's power; so far as this world knows, that is simply off then."""
    there = hosts()
    there.hosts["hostb"].files[f"{SECRETS}/hosta-bmc"] = "password=secret of hosta\n"
    return there


async def cut(there: World, **options: str) -> str:
    return await cut_power(machine(there.hosts["hostb"]), "hosta", fencing(**options))


@simulated
async def test_the_power_is_off() -> None:
    there = world()
    assert await cut(there) == "fence_sim confirmed that its power is off"
    assert not there.hosts["hosta"].power
    assert await cut(there) == "fence_sim confirmed that its power is off"


@simulated
async def test_it_answers_and_nothing_is_done() -> None:
    there = world()
    assert await answers(machine(there.hosts["hostb"]), "hosta", fencing()) == ""
    assert there.hosts["hosta"].power
    there.hosts["hosta"].bmc = False
    assert await answers(machine(there.hosts["hostb"]), "hosta", fencing()) == "fence_sim: Connection timed out"


class Says(type(machine(hosts().hosts["hostb"]))):  # type: ignore[misc]
    """Its fence agent says what it is told to, by action; other programs are as ever."""

    said: dict[str, Finished]

    async def run(self, *argv: str, timeout: float, domain: str | None = None, stdin: str = "") -> Any:
        if argv[0].startswith("fence_"):
            return self.said[stdin.splitlines()[0].removeprefix("action=")]
        return await super().run(*argv, timeout=timeout, domain=domain, stdin=stdin)


@pytest.mark.parametrize(
    ("off", "status", "why"),
    [
        (Finished(1, "", "Failed: Unable to power off\n"), Finished(2, "", ""), "could not cut the power of hosta"),
        (Finished(0, "", ""), Finished(0, "Status: ON\n", ""), "says that it is not off"),
        (Finished(0, "", ""), Finished(1, "", "Connection timed out\n"), "says that it is not off: Connection timed"),
    ],
)
@simulated
async def test_whatever_is_not_surely_off_is_no_proof(off: Finished, status: Finished, why: str) -> None:
    there = world()
    hands = Says(there.hosts["hostb"], "test", lambda _operation: None)
    hands.said = {"off": off, "status": status}
    with pytest.raises(MachineError, match=why):
        await cut_power(hands, "hosta", fencing())


@simulated
async def test_an_option_cannot_say_what_is_done() -> None:
    there = world()
    there.hosts["hostb"].files[f"{SECRETS}/hosta-bmc"] = "password=secret of hosta\naction=on\n"
    with pytest.raises(MachineError, match="is not allowed: action"):
        await cut(there)
    there = world()
    with pytest.raises(MachineError, match="is not allowed"):
        await cut(there, ip="192.0.2.1\naction=on")
    assert there.hosts["hosta"].power


@simulated
async def test_a_secret_that_is_missing_or_wrong_is_told() -> None:
    there = hosts()
    with pytest.raises(MachineError, match=f"{SECRETS}/hosta-bmc"):
        await cut(there)
    there.hosts["hostb"].files[f"{SECRETS}/hosta-bmc"] = "password=wrong\n"
    with pytest.raises(MachineError, match="Login failed"):
        await cut(there)
    assert there.hosts["hosta"].power
