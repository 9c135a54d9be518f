"""Observe: all parts side by side, and what cannot be read is unknown: never "not there", and counted as held."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reconciler.observe import observe
from reconciler.sim.machine import SimMachine
from resources.kind import Unknown
from resources.machine import Address, Container
from tests.unit.support import hosts, machine, parts, simulated

FIELDS: dict[str, Any] = {
    "disks": [{"resource": "nfs-home", "mount": "/export/home"}],
    "units": ["nfs-server.service"],
    "addresses": [{"address": "192.0.2.10/24"}, {"address": "2001:db8::10/64"}],
}


@simulated
async def test_every_part_is_read_in_the_order_in_which_they_come_up() -> None:
    found = await observe(parts(**FIELDS), machine(hosts("nfs-home").hosts["hosta"]))
    assert [part.id for part in found.parts] == [
        "disk/nfs-home",
        "container/nfs",
        "mount//export/home",
        "unit/nfs-server.service",
        "address/192.0.2.10/24",
        "address/2001:db8::10/64",
    ]
    assert list(found.unknown()) == []
    assert (found.held(), found.holds()) == ([], False)
    assert found.obstacles() == ["container nfs does not run yet"]


class Slow(SimMachine):
    """Each question takes ten seconds."""

    async def container(self, domain: str) -> Container:
        await self.sleep(10)
        return await super().container(domain)

    async def addresses(self, domain: str | None) -> tuple[Address, ...]:
        await self.sleep(10)
        return await super().addresses(domain)


@simulated
async def test_parts_are_read_side_by_side() -> None:
    hands = Slow(hosts("nfs-home").hosts["hosta"], "test", lambda _: None)
    began = hands.monotonic()
    await observe(parts(**FIELDS), hands)
    assert hands.monotonic() - began < 11


@simulated
async def test_what_a_daemon_does_not_tell_is_unknown_and_counts_as_held() -> None:
    host = hosts("nfs-home").hosts["hosta"]
    host.libvirtd = False
    found = await observe(parts(**FIELDS), machine(host))
    unknown = {part.id for part, _ in found.unknown()}
    assert unknown == {part.id for part in found.parts} - {"disk/nfs-home"}
    assert "disk/nfs-home" in {part.id for part, _ in found.known()}
    assert not found.holds(), "what cannot be read proves nothing"
    assert len(found.held()) == len(found.obstacles()) == 5
    assert found.held()[0] == ("container/nfs cannot be read: libvirtd does not answer (systemctl status libvirtd)")


@simulated
async def test_a_question_that_is_never_answered_is_given_up() -> None:
    class Hung(SimMachine):
        async def addresses(self, domain: str | None) -> tuple[Address, ...]:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    hands = Hung(hosts("nfs-home").hosts["hosta"], "test", lambda _: None)
    began = hands.monotonic()
    found = await observe(parts(**FIELDS), hands)
    assert hands.monotonic() - began == pytest.approx(30)
    assert found.seen["address/192.0.2.10/24"] == Unknown("no answer within 30 s")
    assert found.seen["container/nfs"] == Container(defined=True, running=False)


@simulated
async def test_a_fault_of_this_program_is_not_taken_for_unknown() -> None:
    class Faulty(SimMachine):
        async def addresses(self, domain: str | None) -> tuple[Address, ...]:
            raise KeyError("a fault in this program")

    with pytest.raises(KeyError):
        await observe(parts(**FIELDS), Faulty(hosts("nfs-home").hosts["hosta"], "test", lambda _: None))
