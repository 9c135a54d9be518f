"""The programs that kinds run, as the simulated hosts have them: their arguments, exit statuses and text formats.

drbdadm and drbdsetup as of drbd-utils 9 with DRBD 8.4 and 9, systemctl as of systemd 252; others are not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from reconciler.sim.drbd import Copy, Resource
from reconciler.sim.world import DEVICE, Host, Place
from resources.machine import Finished, MachineError, Unavailable

if TYPE_CHECKING:
    from reconciler.sim.machine import SimMachine

MAJOR = 147
SIZE = 1048508  # KiB
STARTS, STOPS = 0.6, 0.4  # seconds of a unit

OK = Finished(0, "", "")


async def run(machine: SimMachine, place: Place, argv: tuple[str, ...], stdin: str = "") -> Finished:
    """Run it there. Raises Unavailable for what is not installed."""
    match argv:
        case ("drbdsetup", "events2", "--now", "--statistics", name):
            await machine.meets(f"drbdsetup events2 {name}")
            await machine.takes(0.01)
            return _events2(machine.sim, name)
        case ("drbdadm", verb, *_, name):
            return await _drbdadm(machine, verb, name)
        case ("systemctl", "is-system-running" | "is-enabled", *units):
            return _is(machine.sim, place, units)
        case ("systemctl", "show", _, unit):
            await machine.takes(0.02)
            return _show(machine.sim, place, unit)
        case ("systemctl", verb, *units):
            return await _systemctl(machine, place, verb, units)
    return await _small(machine, argv, stdin)


async def _small(machine: SimMachine, argv: tuple[str, ...], stdin: str) -> Finished:
    match argv:
        case ("fence_sim",):
            return await _fence(machine, stdin)
        case ("git", *_):
            return await _git(machine, " ".join(argv))
        case ("true" | "false" as answer, *_):
            return OK if answer == "true" else Finished(1, "", "")
        case ("sleep", seconds):
            await machine.sleep(float(seconds))
            return OK
    raise Unavailable(f"there is no program {argv[0]}")


async def _git(machine: SimMachine, operation: str) -> Finished:
    """Of a repository elsewhere, which may be away."""
    await machine.takes(0.3)
    try:
        await machine.meets(operation)
    except MachineError:
        return Finished(1, "", "fatal: unable to access the repository\n")
    machine.tap(operation)
    return OK


# -- DRBD --------------------------------------------------------------------------------------------------------------


def number_of(host: Host, device: str) -> str | None:
    """major:minor of a device node, or of udev's link to it, while DRBD is up there."""
    copy = copy_of(host, device)
    return f"{MAJOR}:{host.world.devices[device].minor}" if copy else None


def copy_of(host: Host, device: str) -> Copy | None:
    """The copy behind a device node, or udev's link to it, while DRBD is up there."""
    disk = host.world.devices.get(device)
    copy = disk.copies.get(host.name) if disk else None
    return copy if copy is not None and copy.up else None


def _disk(host: Host, name: str) -> Resource | None:
    disk = host.world.disks.get(name)
    return disk if disk is not None and host.name in disk.copies else None


def _device(host: Host, name: str) -> Finished:
    disk = _disk(host, name)
    if disk is None:
        return Finished(10, "", f"'{name}' not defined in your config (for this host).\n")
    return Finished(0, f"{DEVICE}{disk.minor}\n", "")


def _events2(host: Host, name: str) -> Finished:
    disk = _disk(host, name)
    if disk is None or not disk.copies[host.name].up:
        return Finished(10, "", f"{name}: No such resource\n")
    mine, peer = disk.copies[host.name], disk.peer(host.name)
    behind = SIZE // 2 if disk.syncing else 0
    link, replication, role = "StandAlone" if mine.standalone else "Connecting", "Off", "Unknown"
    if disk.connected:
        link, role = "Connected", peer.role
        sides = {"": "Established", host.name: "SyncTarget", peer.host: "SyncSource"}
        hanging = {"": sides[disk.syncing], host.name: "WFBitMapT", peer.host: "WFBitMapS"}
        replication = hanging[disk.hung]
    lines = [
        f"exists resource name:{name} role:{mine.role} suspended:{mine.suspended}",
        f"exists connection name:{name} peer-node-id:1 conn-name:{peer.host} connection:{link} role:{role} "
        "congested:no",
        f"exists device name:{name} volume:0 minor:{disk.minor} disk:{mine.disk} size:{SIZE} read:0 written:0 "
        "al-writes:0 bm-writes:0 upper-pending:0 lower-pending:0 al-suspended:no blocked:no",
        f"exists peer-device name:{name} peer-node-id:1 conn-name:{peer.host} volume:0 replication:{replication} "
        f"peer-disk:{mine.peer_disk} resync-suspended:no received:0 sent:0 out-of-sync:{behind} pending:0 unacked:0",
        "exists -",
    ]
    return Finished(0, "\n".join(lines) + "\n", "")


def _is(host: Host, place: Place, units: list[str]) -> Finished:
    """Of the system, or of a unit."""
    if units:
        good, said = units[0] in place.enabled, ("enabled", "disabled")
    else:
        good, said = not host.stopping, ("running", "stopping")
    return Finished(0 if good else 1, f"{said[0 if good else 1]}\n", "")


def _dump(host: Host, name: str) -> Finished:
    if _disk(host, name) is None:
        return Finished(1, "", f"'{name}' not defined in your config (for this host).\n")
    handler = 'handlers {\n        fence-peer "/usr/local/bin/hactl fence-peer";\n    }'
    net = "net {\n        fencing resource-and-stonith;\n    }"
    return Finished(0, f"resource {name} {{\n    {net}\n    {handler}\n}}\n\n", "")


async def _drbdadm(machine: SimMachine, verb: str, name: str) -> Finished:
    if verb == "sh-dev":
        await machine.takes(0.01)
        return _device(machine.sim, name.partition("/")[0])
    if verb == "dump":
        return _dump(machine.sim, name)
    operation = f"drbdadm {verb} {name}"
    try:
        await machine.meets(operation)
    except MachineError as e:
        return Finished(11, "", f"{name}: State change failed: {e}\n")
    await machine.takes(0.05)
    host = machine.sim
    disk = _disk(host, name)
    if disk is None:
        return Finished(10, "", f"'{name}' not defined in your config (for this host).\n")
    match verb:
        case "primary":
            status, said = await disk.promote(host.name)
        case "secondary":
            status, said = disk.demote(host.name, in_use=host.uses(f"{MAJOR}:{disk.minor}"))
        case "resume-io":
            disk.resume(host.name)
            status, said = 0, ""
        case "disconnect" | "connect" | "detach" | "adjust":
            status, said = getattr(disk, verb)(host.name)
        case _:
            raise Unavailable(f"the simulation knows no drbdadm {verb}")
    machine.tap(operation)
    await machine.takes(0.05)
    command = f"Command 'drbdsetup {verb} {disk.minor}' terminated with exit code {status}\n"
    return Finished(status, "", f"{name}: {said}\n{command}" if status else "")


# -- fencing -----------------------------------------------------------------------------------------------------------


async def _fence(machine: SimMachine, stdin: str) -> Finished:
    """fence_sim: ClusterLabs' protocol towards the power switch of the host that `plug` names."""
    options = dict(line.partition("=")[::2] for line in stdin.splitlines())
    action, plug = options.get("action", "off"), options.get("plug", "")
    host = machine.sim.world.hosts.get(plug)
    await machine.takes(0.2)
    if host is None or options.get("password") != f"secret of {plug}":
        return Finished(1, "", "Login failed\n")
    try:
        await machine.meets(f"fence_sim {action} {plug}")
    except MachineError as e:
        return Finished(1, "", f"{e}\n")
    if not host.bmc or not machine.sim.links["lan"]:
        await machine.sleep(5)
        return Finished(1, "", "Connection timed out\n")
    if action == "off":
        host.world.cut_power(plug)
        machine.tap(f"fence_sim off {plug}")
        await machine.takes(1.0)
        return OK
    return OK if host.power else Finished(2, "", "")


# -- systemd -----------------------------------------------------------------------------------------------------------


def _show(host: Host, place: Place, name: str) -> Finished:
    if name in host.missing_units:
        return Finished(0, "LoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\n", "")
    unit = place.unit(name)
    lines = [f"Result={unit.result}", f"LoadState={unit.load}", f"ActiveState={unit.active}", f"SubState={unit.sub}"]
    return Finished(0, "\n".join(lines) + "\n", "")


async def _systemctl(machine: SimMachine, place: Place, verb: str, units: list[str]) -> Finished:
    """One unit after the other; a job that began goes on whatever becomes of systemctl."""
    host = machine.sim
    await machine.takes(0.02)
    for name in units:
        match verb:
            case "start" if name in host.missing_units:
                return Finished(5, "", f"Failed to start {name}: Unit {name} not found.\n")
            case "start" if place.unit(name).active != "active":
                if not await _job(machine, place, name, "start"):
                    said = f"Job for {name} failed because the control process exited with error code.\nSee systemctl\n"
                    return Finished(1, "", said)
            case "stop" if place.unit(name).active not in ("inactive", "failed"):
                await _job(machine, place, name, "stop")
            case "reset-failed":
                if place.unit(name).active == "failed":
                    host.set_unit(place, name, "inactive", "dead")
    return OK


async def _job(machine: SimMachine, place: Place, name: str, verb: str) -> bool:
    """Did it succeed? Hangs as long as the unit does."""
    host, later = machine.sim, asyncio.get_running_loop().call_later
    fault = next((fault for at, fault in sorted(host.faults.items()) if f"systemctl {verb} {name}".startswith(at)), "")
    during, after = ("activating", "active") if verb == "start" else ("deactivating", "inactive")
    ends = _ending(host, place, name, during, "failed" if fault == "fail" else after)
    host.set_unit(place, name, during, verb)
    seconds = (STARTS if verb == "start" else STOPS) * (0.5 + machine.random())
    if fault != "hang":
        later(seconds, ends)
    machine.tap(f"systemctl {verb} {name}")
    while not place.gone and place.unit(name).active == during:
        await machine.sleep(0.05)
    return place.unit(name).active == after


def _ending(host: Host, place: Place, name: str, during: str, after: str) -> Callable[[], None]:
    def end() -> None:
        if place.unit(name).active == during:
            sub = {"active": "running", "inactive": "dead", "failed": "failed"}[after]
            host.set_unit(place, name, after, sub, "exit-code" if after == "failed" else "success")

    return end
