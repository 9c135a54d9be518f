"""One sequence of what an agent does to its host, kind by kind, told as a list: the same on the real Machine, inside
hosta, and on the simulated one. `test_machine.py` compares.

    python3 machine_script.py HOST <MANIFEST.json >TOLD.json
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

from reconciler.observe import Snapshot, observe
from reconciler.plan import plan
from reconciler.spec import ServiceManifest, parse_service
from resources.kind import Role, Step, take_apart
from resources.machine import Machine, MachineError
from resources.registry import KINDS

SETTLES = 60.0  # seconds
UNASKED = ("container", "disk", "mount", "address", "unit")
ASKED = (*UNASKED, "check")  # of a service that is up: a stopped container has nowhere to ask from
DEVICE = "/dev/watchdog1"


async def script(machine: Machine, manifest: ServiceManifest) -> list[str]:
    """What was done and seen. Begins and ends with nothing of the service on the host."""
    told: list[str] = []
    for role in (Role.ABSENT, Role.STANDBY, Role.ACTIVE, Role.ACTIVE, Role.STANDBY, Role.ACTIVE, Role.ABSENT):
        told += await become(machine, manifest, role)
    return told + await refusals(machine, manifest) + await guard(machine) + files(machine)


async def become(machine: Machine, manifest: ServiceManifest, role: Role) -> list[str]:
    """The steps to that role, each of them twice, and what is seen then."""
    told = [f"-- {role}"]
    before = await look(machine, manifest, UNASKED)
    for step in plan(before, role).steps:
        told += [await do(step, machine), f"again: {await do(step, machine)}"]
    after = await settled(machine, manifest, role)
    told += [f"held: {one}" for one in sorted(after.held())]
    told += [f"not well: {one}" for one in troubles(after, role)]
    told += [f"left to do: {step}" for step in plan(after, role).steps]
    for part, seen in after.known():
        if part.kind.name in ASKED:
            told.append(f"{part.id}: {part.kind.says(part.spec, seen)}")
    return told


async def look(machine: Machine, manifest: ServiceManifest, kinds: tuple[str, ...]) -> Snapshot:
    parts = tuple(part for part in take_apart(manifest.spec, KINDS) if part.kind.name in kinds)
    return await observe(parts, machine)


async def settled(machine: Machine, manifest: ServiceManifest, role: Role) -> Snapshot:
    """Once nothing is to be said against it, or after a while."""
    ends = machine.monotonic() + SETTLES
    while True:
        seen = await look(machine, manifest, ASKED if role is Role.ACTIVE else UNASKED)
        if (not troubles(seen, role) and not plan(seen, role).steps) or machine.monotonic() > ends:
            return seen
        await machine.sleep(0.5)


def troubles(seen: Snapshot, role: Role) -> list[str]:
    known = [one.reason for part, found in seen.known() for one in part.kind.conditions(part.spec, role, found)]
    return known + [f"{part.id} cannot be read" for part, _ in seen.unknown()]


async def do(step: Step, machine: Machine) -> str:
    try:
        await step.run(machine)
    except MachineError as e:
        return f"{step}: {type(e).__name__}"
    return f"{step}: {step.done}"


async def refusals(machine: Machine, manifest: ServiceManifest) -> list[str]:
    """What is not there, nobody makes up. The container is stopped by now."""
    domain, told = manifest.spec.domain, []
    seen = await machine.container("no-such-container")
    told.append(f"a container that is not defined: {seen.defined}, {seen.running}, {seen.pid}")
    told.append(f"of a stopped container: {await machine.mounts(domain)}, {await machine.addresses(domain)}")
    told.append(f"a device that is not there: {await machine.device_number('/dev/drbd99')}")
    tries: dict[str, Callable[[], Awaitable[object]]] = {
        "run in a stopped container": lambda: machine.run("systemctl", "start", "x.service", timeout=5, domain=domain),
        "run what is not there": lambda: machine.run("no-such-program", timeout=5),
        "an address into a stopped container": lambda: machine.add_address(domain, "eth0", "192.0.2.99/24"),
        "an address out of a stopped container": lambda: machine.remove_address(domain, "eth0", "192.0.2.99/24"),
        "ask for an address from a stopped container": lambda: machine.rival(domain, "eth0", "192.0.2.99/24"),
        "unmount in a stopped container": lambda: machine.unmount("/export/home", domain=domain, timeout=5),
        "stop a stopped container": lambda: machine.stop_container(str(domain), 1),
        "mount a Secondary": lambda: machine.mount(
            "/dev/drbd1", "/mnt/x", fstype="ext4", options=(), domain=None, timeout=5
        ),
        "unmount what is not mounted": lambda: machine.unmount("/mnt/x", domain=None, timeout=5),
    }
    for what, attempt in tries.items():
        try:
            await attempt()
            told.append(f"{what}: nothing")
        except MachineError as e:
            told.append(f"{what}: {type(e).__name__}")
    return told


async def guard(machine: Machine) -> list[str]:
    seconds = await machine.arm_watchdog(DEVICE, 20)
    machine.pet_watchdog()
    await machine.disarm_watchdog()
    machine.pet_watchdog()
    return [f"watchdog: {seconds:g} s"]


def files(machine: Machine) -> list[str]:
    path = "/run/hactl-script/here"
    told = [f"file: {machine.read(path)}"]
    for text in ("one", "two"):
        machine.write(path, text)
        told.append(f"file: {machine.read(path)}")
    machine.remove(path)
    machine.remove(path)
    return [*told, f"file: {machine.read(path)}"]


async def main() -> None:
    from reconciler.linux import Linux

    machine = Linux(sys.argv[1])
    await machine.open()
    try:
        print(json.dumps(await script(machine, parse_service(sys.stdin.read()))))
    finally:
        await machine.close()


if __name__ == "__main__":
    asyncio.run(main())
