"""Addresses: where clients find the service, whatever spelling the kernel gives back, one host at a time."""

from __future__ import annotations

import asyncio

import pytest

from resources.address import DUPLICATE, WAY_OUT, Add, AddressKind, AddressSpec, Announce, Remove
from resources.kind import Role
from resources.machine import Address, InUse, MachineError
from tests.unit.support import bring, hosts, machine, parts, simulated, texts

KIND = AddressKind()
V4 = AddressSpec(address="192.0.2.10/24", domain="nfs")
RIVAL = "52:54:00:00:00:09"
V6 = AddressSpec(address="2001:DB8:0:0::10/64", domain="nfs")


def has(address: str, interface: str = "eth0", *flags: str) -> Address:
    return Address(interface, address, frozenset(flags))


def in_use(address: str, *flags: str) -> Address:
    """Another machine claims it; with DUPLICATE it was asked, too."""
    return Address("eth0", address, frozenset(flags), RIVAL)


@pytest.mark.parametrize(
    ("spec", "seen", "role", "steps"),
    [
        (V4, (), Role.ACTIVE, ["add 192.0.2.10/24 to eth0"]),
        (V4, (has("192.0.2.10/24"),), Role.ACTIVE, []),
        (
            V4,
            (has("192.0.2.10/32"),),
            Role.ACTIVE,
            ["remove 192.0.2.10/32 from eth0", "add 192.0.2.10/24 to eth0"],
        ),
        (
            V4,
            (has("192.0.2.10/24", "eth1"),),
            Role.ACTIVE,
            ["remove 192.0.2.10/24 from eth1", "add 192.0.2.10/24 to eth0"],
        ),
        (V4, (has("192.0.2.10/24"), has("192.0.2.10/24", "eth1")), Role.ACTIVE, ["remove 192.0.2.10/24 from eth1"]),
        (V6, (has("2001:db8::10/64"),), Role.ACTIVE, []),
        (V6, (has("2001:0DB8::0010/64"),), Role.ACTIVE, []),
        (V6, (has("2001:db8::10/64", "eth0", "tentative"),), Role.ACTIVE, []),
        (
            V6,
            (has("2001:db8::10/64", "eth0", "dadfailed", "tentative"),),
            Role.ACTIVE,
            ["remove 2001:db8::10/64 from eth0", "add 2001:db8::10/64 to eth0"],
        ),
        (V4, (in_use("192.0.2.10/24", DUPLICATE),), Role.ACTIVE, ["remove 192.0.2.10/24 from eth0"]),
        (V6, (in_use("2001:db8::10/64", DUPLICATE, "dadfailed"),), Role.ACTIVE, ["remove 2001:db8::10/64 from eth0"]),
        (V4, (in_use("192.0.2.10/24"),), Role.ACTIVE, ["announce 192.0.2.10/24 on eth0"]),
        (V4, (in_use("192.0.2.10/24"),), Role.STANDBY, ["remove 192.0.2.10/24 from eth0"]),
        (V4, (has("192.0.2.10/24"),), Role.STANDBY, ["remove 192.0.2.10/24 from eth0"]),
        (
            V4,
            (has("192.0.2.10/24"), has("192.0.2.10/32", "eth1")),
            Role.ABSENT,
            ["remove 192.0.2.10/24 from eth0", "remove 192.0.2.10/32 from eth1"],
        ),
        (V6, (has("2001:0DB8::0010/64"),), Role.STANDBY, ["remove 2001:0DB8::0010/64 from eth0"]),
        (V4, (), Role.STANDBY, []),
    ],
)
def test_the_role_decides_where_it_is(
    spec: AddressSpec, seen: tuple[Address, ...], role: Role, steps: list[str]
) -> None:
    assert texts(KIND.plan(spec, role, seen)) == steps


@pytest.mark.parametrize(
    ("spec", "seen", "role", "reason"),
    [
        (V4, (), Role.ACTIVE, "address 192.0.2.10/24 is missing on eth0"),
        (V4, (has("192.0.2.10/24", "eth1"),), Role.ACTIVE, "address 192.0.2.10/24 is on eth1 instead of eth0"),
        (
            V4,
            (has("192.0.2.10/32"),),
            Role.ACTIVE,
            "address 192.0.2.10/32 has another prefix length than 192.0.2.10/24",
        ),
        (
            V6,
            (has("2001:db8::10/64", "eth0", "dadfailed"),),
            Role.ACTIVE,
            "address 2001:db8::10/64 is in use by another machine (duplicate address detection)",
        ),
        (
            V6,
            (has("2001:db8::10/64", "eth0", "tentative"),),
            Role.ACTIVE,
            "address 2001:db8::10/64 is being checked for duplicates",
        ),
        (
            V4,
            (in_use("192.0.2.10/24", DUPLICATE),),
            Role.ACTIVE,
            f"address 192.0.2.10/24 is in use by {RIVAL} on eth0: {WAY_OUT}",
        ),
        (
            V4,
            (in_use("192.0.2.10/24"),),
            Role.ACTIVE,
            f"address 192.0.2.10/24: {RIVAL} said that it has it, and does not answer for it",
        ),
        (V4, (has("192.0.2.10/24"),), Role.STANDBY, "address 192.0.2.10/24 is on eth0"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(
    spec: AddressSpec, seen: tuple[Address, ...], role: Role, reason: str
) -> None:
    assert [condition.reason for condition in KIND.conditions(spec, role, seen)] == [reason]


def test_its_state_is_said_in_a_few_words() -> None:
    assert KIND.says(V4, ()) == "absent"
    assert KIND.says(V4, (has("192.0.2.10/24", "eth0", "permanent"),)) == "on eth0"
    assert KIND.says(V6, (has("2001:db8::10/64", "eth0", "permanent", "tentative"),)) == "on eth0 tentative"


@pytest.mark.parametrize(
    ("spec", "seen", "cause"),
    [
        (V4, (in_use("192.0.2.10/24", DUPLICATE),), f"in use by {RIVAL}"),
        (V6, (in_use("2001:db8::10/64", DUPLICATE, "dadfailed"),), f"in use by {RIVAL}"),
        (V6, (has("2001:db8::10/64", "eth0", "dadfailed"),), "duplicate address detection"),
        (V4, (has("192.0.2.10/24", "eth1"),), ""),
        (V4, (), ""),
    ],
)
def test_a_cause_is_said_where_it_is_known(spec: AddressSpec, seen: tuple[Address, ...], cause: str) -> None:
    assert KIND.conditions(spec, Role.ACTIVE, seen)[0].cause == cause


def test_what_somebody_says_makes_no_service_unready() -> None:
    assert [one.broken for one in KIND.conditions(V4, Role.ACTIVE, (in_use("192.0.2.10/24"),))] == [False]
    assert [one.broken for one in KIND.conditions(V4, Role.ACTIVE, (in_use("192.0.2.10/24", DUPLICATE),))] == [True]


def test_it_is_held_wherever_it_is() -> None:
    assert KIND.held(V4, (has("192.0.2.10/32", "eth1"),)) == "address 192.0.2.10/32 is on eth1"
    assert KIND.held(V4, ()) == ""


def test_adding_is_the_owners_and_removing_takes_away() -> None:
    assert (Add.exclusive, Add.down) == (True, False)
    assert (Remove.exclusive, Remove.down) == (False, True)
    assert (Announce.exclusive, Announce.down) == (True, False)


def test_a_spelling_makes_no_other_part() -> None:
    found = [part.id for part in parts(addresses=[{"address": "2001:DB8:0:0::10/64"}]) if part.kind is not None]
    assert "address/2001:db8::10/64" in found
    assert KIND.topics(V4) == frozenset({"network/nfs"})


@simulated
async def test_it_comes_and_goes_and_nothing_is_left_to_do() -> None:
    world = hosts()
    host = world.hosts["hosta"]
    host.start_domain("nfs")
    hands = machine(host)
    for spec in (V4, V6):
        await bring(KIND, spec, Role.ACTIVE, hands)
        assert [(one.name, place.domain) for one, place in world.reach(spec.address.split("/")[0])] == [
            ("hosta", "nfs")
        ]
        await bring(KIND, spec, Role.STANDBY, hands)
        assert world.reach(spec.address.split("/")[0]) == []


@simulated
async def test_a_wrong_one_is_replaced() -> None:
    world = hosts()
    host = world.hosts["hosta"]
    host.start_domain("nfs")
    place = host.place("nfs")
    assert place is not None
    place.addresses.append(has("192.0.2.10/32", "eth1"))
    place.addresses.append(has("192.0.2.99/24"))
    await bring(KIND, V4, Role.ACTIVE, machine(host))
    assert sorted((one.interface, one.address) for one in place.addresses) == [
        ("eth0", "192.0.2.10/24"),
        ("eth0", "192.0.2.99/24"),
    ]


@simulated
async def test_a_stopped_container_has_none_and_is_given_none() -> None:
    hands = machine(hosts().hosts["hosta"])
    assert await KIND.observe(V4, hands) == ()
    with pytest.raises(MachineError, match="container nfs does not run"):
        await Add("", V4).run(hands)
    await Remove("", V4, "eth0", V4.address).run(hands)


@simulated
async def test_a_service_without_a_container_has_it_on_the_host() -> None:
    host = hosts().hosts["hosta"]
    spec = AddressSpec(address="192.0.2.10/24", interface="br0")
    await bring(KIND, spec, Role.ACTIVE, machine(host))
    assert [(one.interface, one.address) for one in host.base.addresses] == [("br0", "192.0.2.10/24")]


@pytest.mark.parametrize("spec", [V4, V6], ids=["v4", "v6"])
def test_one_that_failed_is_removed_and_another_pass_adds_it_once_it_is_free(spec: AddressSpec) -> None:
    @simulated
    async def story() -> None:
        world = hosts()
        host = world.hosts["hosta"]
        host.start_domain("nfs")
        hands, ip = machine(host), spec.address.split("/")[0]
        await bring(KIND, spec, Role.ACTIVE, hands)
        world.rivals[ip] = RIVAL
        world.claim(ip, RIVAL)
        for step in KIND.plan(spec, Role.ACTIVE, await KIND.observe(spec, hands)):
            await step.run(hands)
        assert world.holders_of(ip) == []
        with pytest.raises(InUse, match=f"{ip} is in use by {RIVAL} on eth0"):
            await Add("", spec).run(hands)
        assert world.holders_of(ip) == []
        del world.rivals[ip]
        await bring(KIND, spec, Role.ACTIVE, hands)

    story()


@simulated
async def test_only_who_has_it_announces_it_and_a_few_times() -> None:
    world = hosts()
    host = world.hosts["hosta"]
    host.start_domain("nfs")
    hands = machine(host)
    await bring(KIND, V4, Role.ACTIVE, hands)
    await hands.sleep(4)
    assert [round(at - world.announced[0][0]) for at, _, _ in world.announced] == [0, 1, 3]
    await bring(KIND, V4, Role.STANDBY, hands)
    await hands.sleep(10)
    assert len(world.announced) == 3


@simulated
async def test_a_host_that_stood_still_while_it_asked_adds_nothing() -> None:
    world = hosts()
    host = world.hosts["hosta"]
    host.start_domain("nfs")
    adding = asyncio.create_task(Add("", V4).run(machine(host)))
    await asyncio.sleep(0.05)
    world.freeze("hosta", True)
    await asyncio.sleep(30)
    world.freeze("hosta", False)
    with pytest.raises(MachineError, match="this host stood still while it asked"):
        await adding
    assert world.holders_of("192.0.2.10") == []
