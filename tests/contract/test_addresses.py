"""An address that another machine has too: the same happens on a simulated host and in real namespaces (root)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from resources.address import Add, AddressKind, AddressSpec, Announce, Remove
from resources.kind import Role, Step
from resources.machine import Address, InUse
from tests.contract.lans import OURS, RIVAL, WRONG, Lan, RealLan, SimulatedLan, story, told

KIND = AddressKind()
BOTH = pytest.mark.parametrize("address", ["192.0.2.10/24", "2001:db8::10/64"], ids=["v4", "v6"])
SOON = 0.1  # seconds


@pytest.fixture(params=["sim", "kernel"])
def lan(request: pytest.FixtureRequest) -> Iterator[Lan]:
    if request.param == "sim":
        yield SimulatedLan()
        return
    if os.geteuid() != 0:
        pytest.skip("network namespaces are root's")
    real = RealLan()
    yield real
    real.end()


def spec_of(address: str) -> AddressSpec:
    return AddressSpec(address=address, domain="lan")


def ip_of(address: str) -> str:
    return address.partition("/")[0]


async def seen(lan: Lan, address: str) -> tuple[Address, ...]:
    return await KIND.observe(spec_of(address), lan.machine)


async def planned(lan: Lan, address: str) -> list[Step]:
    return KIND.plan(spec_of(address), Role.ACTIVE, await seen(lan, address))


async def added(lan: Lan, address: str) -> None:
    """And looked at: from then on claims of others are heard."""
    await Add("", spec_of(address)).run(lan.machine)
    assert await planned(lan, address) == []


def kinds(steps: list[Step]) -> list[type[Step]]:
    return [type(step) for step in steps]


@BOTH
@story
async def test_it_is_announced_and_again_until_it_goes(lan: Lan, address: str) -> None:
    ip = ip_of(address)
    lan.mislead(ip)
    await added(lan, address)
    assert lan.learned(ip) == OURS
    lan.mislead(ip)
    await asyncio.sleep(0.7)
    assert lan.learned(ip) == WRONG
    await asyncio.sleep(0.6)
    assert lan.learned(ip) == OURS
    await Remove("", spec_of(address), "eth0", address).run(lan.machine)
    lan.mislead(ip)
    await asyncio.sleep(2.5)
    assert lan.learned(ip) == WRONG


@BOTH
@story
async def test_it_is_not_added_while_another_machine_has_it(lan: Lan, address: str) -> None:
    ip = ip_of(address)
    await lan.take(ip, aloud=False)
    with pytest.raises(InUse, match=f"{ip} is in use by {RIVAL} on eth0: find that machine"):
        await Add("", spec_of(address)).run(lan.machine)
    assert await seen(lan, address) == ()
    await lan.give_back(ip)
    await added(lan, address)


@BOTH
@story
async def test_one_that_another_machine_takes_aloud_is_seen_at_once(lan: Lan, address: str) -> None:
    await added(lan, address)
    async with told(lan) as heard:
        await lan.take(ip_of(address), aloud=True)
        assert await heard.after() < SOON
    found = await seen(lan, address)
    assert [one.reason for one in KIND.conditions(spec_of(address), Role.ACTIVE, found)] == [
        f"address {address} is in use by {RIVAL} on eth0: find that machine, by the port at which the switch knows it, "
        "and take the address from it"
    ]
    assert kinds(KIND.plan(spec_of(address), Role.ACTIVE, found)) == [Remove]
    assert kinds(await planned(lan, address)) == [Remove], "another look sees the same"


@BOTH
@story
async def test_one_that_another_machine_takes_without_a_word_is_found_by_a_look(lan: Lan, address: str) -> None:
    await Add("", spec_of(address)).run(lan.machine)
    await lan.take(ip_of(address), aloud=False)
    async with told(lan) as heard:
        assert await planned(lan, address) == [], "it asks, and does not wait"
        assert await heard.after() < SOON
    assert kinds(await planned(lan, address)) == [Remove]


@BOTH
@story
async def test_a_claim_that_nobody_answers_for_takes_nothing_down(lan: Lan, address: str) -> None:
    ip = ip_of(address)
    await added(lan, address)
    await lan.claim(ip)
    await asyncio.sleep(0.2)
    asking = asyncio.create_task(planned(lan, address))
    await asyncio.sleep(0.05)
    await lan.claim(ip)  # said again, and no answer to what is asked
    steps = await asking
    assert kinds(steps) == [Announce]
    assert steps[0].reason == f"{RIVAL} said that it has it, and does not answer for it"
    lan.mislead(ip)
    for step in steps:
        await step.run(lan.machine)
    assert lan.learned(ip) == OURS
    assert await planned(lan, address) == []


@BOTH
@story
async def test_what_neighbours_say_all_day_wakes_nobody(lan: Lan, address: str) -> None:
    await added(lan, address)
    async with told(lan) as heard:
        await lan.chatter(ip_of(address))
        assert not heard
