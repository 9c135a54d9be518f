"""What a simulated host hears of its addresses from its neighbours, and tells them: as reconciler.linux does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.sim.world import Host, Place, ip_of
from resources.machine import ANNOUNCED_AGAIN, Address, InUse, MachineError

if TYPE_CHECKING:
    from reconciler.sim.machine import SimMachine

WAITS = 0.15  # seconds for an answer
LATE = 1.0  # seconds more than that: the host stood still
ANSWERS = 0.002  # seconds it takes
ASKS = 10.0  # seconds from one question that a look puts to the next
DAD_TAKES = 5.0  # seconds, at most, until an address is no longer tentative
LOOKS = 0.05


def heard(host: Host, place: Place) -> tuple[Address, ...]:
    """What is there, and who claims it. The neighbours are asked, and what they answer is heard by a later look."""
    loop = asyncio.get_running_loop()
    for ip in [ip_of(one.address) for one in place.addresses]:
        if loop.time() - place.asked.get(ip, -ASKS) >= ASKS:
            place.asked[ip] = loop.time()
            if rival := host.world.answers(ip, host, place):
                loop.call_later(ANSWERS, _claimed, host, place, ip, rival)
    return tuple(replace(one, rival=place.claims.get(ip_of(one.address), "")) for one in place.addresses)


def _claimed(host: Host, place: Place, ip: str, rival: str) -> None:
    if place.has(ip) and not place.gone:
        place.claims[ip] = rival
        host.tell(f"network/{place.domain or ''}")


async def ask(machine: SimMachine, place: Place, address: str) -> str:
    """See `Machine.rival`."""
    began = machine.monotonic()
    await machine.takes(ANSWERS)
    rival = machine.sim.world.answers(ip_of(address), machine.sim, place)
    if not rival:
        await machine.sleep(WAITS)
    if not rival and machine.monotonic() - began > WAITS + LATE:
        raise MachineError(f"this host stood still while it asked who has {ip_of(address)}; it is asked again")
    return rival


async def announce(machine: SimMachine, place: Place, interface: str, address: str) -> None:
    """See `Machine.announce`."""
    if ":" in address:
        await _until_usable(machine, place, address)
    await machine.takes(0.01)
    place.claims.pop(ip_of(address), None)
    machine.sim.world.announce(machine.sim, ip_of(address))
    for after in ANNOUNCED_AGAIN:
        asyncio.get_running_loop().call_later(after, _again, machine, place, ip_of(address))


def _again(machine: SimMachine, place: Place, ip: str) -> None:
    if not machine.dead and machine.sim.runs and not place.gone and place.has(ip):
        machine.sim.world.announce(machine.sim, ip)


async def _until_usable(machine: SimMachine, place: Place, address: str) -> None:
    ends = machine.monotonic() + DAD_TAKES
    while machine.monotonic() < ends:
        flags = [one.flags for one in place.addresses if ip_of(one.address) == ip_of(address)]
        if any("dadfailed" in one for one in flags):
            raise InUse(f"{address} is in use by another machine (duplicate address detection)")
        if any("tentative" not in one for one in flags):
            return
        if not flags:
            raise MachineError(f"{address} was removed again while it was checked for duplicates")
        await machine.sleep(LOOKS)
    raise MachineError(f"{address} is still being checked for duplicates: is the link up?")
