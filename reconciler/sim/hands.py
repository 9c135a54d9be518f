"""What may be done to a simulated cluster, by the words of a scenario's story: faults, people, and what is expected.

kill-agent hosta            fault hostb "systemctl start nfs.service" fail        expect nfs hosta Ready
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import yaml

from reconciler.modes import EVERYWHERE
from reconciler.sim.cluster import Broken, Cluster
from reconciler.sim.rules import missing
from reconciler.sim.world import Place
from reconciler.spec import to_json
from reconciler.store import host_key, service_key
from resources.machine import Address, Process


class NotThere(ValueError):
    """What was to be touched is not there now."""


# -- the store ---------------------------------------------------------------------------------------------------------


async def set(cluster: Cluster, service: str, *changes: str) -> None:
    """set nfs primary=hostb deadline=30"""
    fields = dict(change.partition("=")[::2] for change in changes)
    await cluster.change(service, "spec", **{name: yaml.safe_load(text) for name, text in fields.items()})
    if "mode" in fields:
        cluster.knows(await cluster.spec(service))


async def put(cluster: Cluster, service: str, text: str) -> None:
    """Into the key of a spec, whatever it is; `back` is what stood there when the story began."""
    manifest = cluster.services[service]
    if text == "back":
        await cluster.apply(manifest)
    else:
        await cluster.put(service_key(service), text)


async def delete(cluster: Cluster, service: str) -> None:
    await cluster.change(service, "metadata", deleted={"at": "2026-11-24T07:00:00Z", "by": "root"})
    del cluster.services[service]


async def pause(cluster: Cluster, service: str) -> None:
    """hactl pause"""
    await cluster.change(service, "metadata", paused={"at": "2026-11-24T07:00:00Z", "by": "root"})


async def resume(cluster: Cluster, service: str) -> None:
    """hactl resume"""
    await cluster.change(service, "metadata", paused=None)


async def drain(cluster: Cluster, host: str, on: str = "on") -> None:
    """The mark that hactl drain leaves on a host, or takes away (`off`); what moves, other lines say."""
    there = cluster.machines.get(host)
    document = there.model_dump(mode="json", exclude_none=True) if there else _no_host(host)
    mark = {"drain": {"at": "2026-11-24T07:00:00Z", "by": "root"}} if _is_on(on) else {}
    await cluster.put(host_key(host), to_json({**document, "spec": {**document["spec"], **mark}}))


def _no_host(host: str) -> dict[str, Any]:
    return {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": host}, "spec": {}}


def member(cluster: Cluster, name: str, state: str) -> None:
    """member leader stopped; up, stopped or killed; `all` are all of them, `leader` is whoever is."""
    names = {"all": cluster.etcd.members, "leader": (cluster.etcd.leader or "",)}.get(name, (name,))
    for one in names:
        match state:
            case "up" | "stopped" | "killed":
                cluster.etcd.member(one, state)
            case _:
                raise ValueError(f"a member is up, stopped or killed, not {state}")


def slow(cluster: Cluster, seconds: str) -> None:
    cluster.etcd.slow = float(seconds)


def loss(cluster: Cluster, chance: str) -> None:
    """Of replies of etcd and of pings."""
    cluster.etcd.loss = cluster.world.loss = float(chance)


def delay(cluster: Cluster, seconds: str) -> None:
    """Of replies to pings."""
    cluster.world.delay = float(seconds)


def deafen(cluster: Cluster, host: str, deaf: str) -> None:
    cluster.etcd.deafen(host, _is_on(deaf))


def break_watches(cluster: Cluster) -> None:
    cluster.etcd.break_watches()


def compact(cluster: Cluster) -> None:
    cluster.etcd.compact()


# -- hosts and agents --------------------------------------------------------------------------------------------------


def kill_agent(cluster: Cluster, host: str) -> None:
    cluster.kill(host)


async def stop_agent(cluster: Cluster, host: str) -> None:
    """systemctl stop: it has a moment to say good-bye."""
    if not cluster.world.hosts[host].runs:
        raise NotThere(f"{host} does not run")
    await cluster.stop_agent(host)


def start_agent(cluster: Cluster, host: str) -> None:
    cluster.start_agent(host)


def restarts(cluster: Cluster, on: str) -> None:
    """Does systemd start an agent again that was killed?"""
    cluster.restarts = _is_on(on)


def mask(cluster: Cluster, host: str, on: str) -> None:
    """systemctl mask: nothing starts its agent, not even a boot."""
    (cluster.masked.add if _is_on(on) else cluster.masked.discard)(host)
    if not _is_on(on):
        cluster.start_agent(host)


def cluster_key(cluster: Cluster) -> None:
    """All hosts have the same key, and so the failsafe."""
    for host in cluster.world.hosts.values():
        host.files["/etc/hactl/cluster.key"] = "a key that all of the hosts share"


async def power(cluster: Cluster, host: str, on: str) -> None:
    cluster.power(host, _is_on(on))


async def shutdown(cluster: Cluster, host: str) -> None:
    """In order: the agent is stopped, the containers, then the power."""
    cluster.world.hosts[host].stopping = True
    await cluster.stop_agent(host)
    for name in sorted(cluster.world.hosts[host].domains):
        cluster.world.hosts[host].stop_domain(name)
    cluster.power(host, False)


def freeze(cluster: Cluster, host: str) -> None:
    cluster.freeze(host)


def thaw(cluster: Cluster, host: str) -> None:
    cluster.freeze(host, False)


async def confirm_dead(cluster: Cluster, host: str) -> None:
    """hactl confirm-dead: a human's word, true or not."""
    await cluster.confirm_dead(host)


def bmc(cluster: Cluster, host: str, on: str) -> None:
    """The device that switches its power, which may have lost its own."""
    cluster.world.hosts[host].bmc = _is_on(on)


def hardware_watchdog(cluster: Cluster, host: str) -> None:
    """Its watchdog also resets a host that stands still."""
    cluster.world.hosts[host].watchdog.hardware = True


def drift(cluster: Cluster, host: str, rate: str) -> None:
    """So many seconds of its monotonic clock in a true one, from now on."""
    cluster.world.hosts[host].run_at(float(rate))


def link(cluster: Cluster, host: str, which: str, on: str) -> None:
    cluster.link(host, which, _is_on(on))


def clock(cluster: Cluster, host: str, seconds: str) -> None:
    """The wall clock is wrong by that much from now on."""
    cluster.world.hosts[host].clock_error = float(seconds)


def fault(cluster: Cluster, host: str, operation: str, how: str) -> None:
    """fail, hang or none, for what begins with these words (`sim.machine`)."""
    faults = cluster.world.hosts[host].faults
    if how == "none":
        faults.pop(operation, None)
    else:
        faults[operation] = how


def libvirt(cluster: Cluster, host: str, on: str) -> None:
    cluster.world.hosts[host].libvirtd = _is_on(on)


# -- somebody's hands on a host ----------------------------------------------------------------------------------------


def remove_address(cluster: Cluster, host: str, domain: str, address: str) -> None:
    place = _place(cluster, host, domain)
    interface = next((one.interface for one in place.addresses if one.address == address), None)
    if interface is None:
        raise NotThere(f"{address} is not on {host}")
    cluster.world.hosts[host].remove_address(place, interface, address)


def add_address(cluster: Cluster, host: str, domain: str, interface: str, address: str) -> None:
    there = Address(interface, address, frozenset({"permanent"}))
    cluster.world.hosts[host].add_address(_place(cluster, host, domain), there)


def duplicate(cluster: Cluster, host: str, domain: str, address: str) -> None:
    """Another machine has it as well: duplicate address detection has failed."""
    there = _place(cluster, host, domain)
    for one in [one for one in there.addresses if one.address == address]:
        cluster.world.hosts[host].remove_address(there, one.interface, address)
        failed = Address(one.interface, address, frozenset({"permanent", "tentative", "dadfailed"}))
        cluster.world.hosts[host].add_address(there, failed)


def rival(cluster: Cluster, address: str, mac: str, how: str = "aloud") -> None:
    """rival 192.0.2.10 52:54:00:00:00:09: another machine takes the address and says so, or `quietly`; `none` gives it
    back."""
    if mac == "none":
        cluster.world.rivals.pop(address, None)
        return
    cluster.world.rivals[address] = mac
    if how != "quietly":
        cluster.world.claim(address, mac)


def claim(cluster: Cluster, address: str, mac: str) -> None:
    """Somebody says that this MAC address has it, and nobody answers for it: forged, or late."""
    cluster.world.claim(address, mac)


def unmount(cluster: Cluster, host: str, domain: str, target: str) -> None:
    cluster.world.hosts[host].unmount(_place(cluster, host, domain), target)


def readonly(cluster: Cluster, host: str, domain: str, target: str) -> None:
    """mount -o remount,ro, by hand."""
    cluster.world.hosts[host].remount(_place(cluster, host, domain), target, readonly=True)


async def drbdadm(cluster: Cluster, host: str, verb: str, disk: str) -> None:
    """primary, secondary, disconnect, connect or detach, by hand."""
    there = cluster.world.disks[disk]
    if verb == "primary":
        await there.promote(host)
    elif verb in ("disconnect", "connect", "detach"):
        getattr(there, verb)(host)
    else:
        there.demote(host, in_use=cluster.world.hosts[host].uses(f"147:{there.minor}"))


def handshake(cluster: Cluster, disk: str, _hangs: str) -> None:
    """`handshake nfs-home hangs`: the next one of that disk."""
    cluster.world.disks[disk].hangs = True


def unit(cluster: Cluster, host: str, domain: str, name: str, active: str) -> None:
    sub = {"failed": "failed", "active": "running"}.get(active, "dead")
    result = "exit-code" if active == "failed" else "success"
    cluster.world.hosts[host].set_unit(_place(cluster, host, domain), name, active, sub, result)


def destroy(cluster: Cluster, host: str, domain: str) -> None:
    """The container, or its init: both end it at once."""
    cluster.world.hosts[host].stop_domain(domain)


def autostart(cluster: Cluster, host: str, domain: str) -> None:
    """libvirt's autostart, or virsh. Where it may not run it is they who make two of it: rule 1 looks away until the
    agent has put it down."""
    if not cluster.world.hosts[host].runs:
        raise NotThere(f"{host} does not run")
    cluster.rules.excused.add(host)
    cluster.world.hosts[host].start_domain(domain)


def orphan(cluster: Cluster, host: str, domain: str, stuck: str = "no") -> None:
    """libvirt_lxc is killed; init and all else live on; `stuck yes`: they cannot be killed, until `unstick`."""
    _place(cluster, host, domain)
    cluster.world.hosts[host].orphan(domain, stuck=_is_on(stuck))


def unstick(cluster: Cluster, host: str, domain: str) -> None:
    cluster.world.hosts[host].unstick(domain)


def hold(cluster: Cluster, host: str, domain: str, target: str, again: str = "no") -> None:
    """A process uses a mount; `again yes`: as often as it is killed, there is another one."""
    place = _place(cluster, host, domain)
    place.holders[target] = [Process(4711, "less", "S")]
    if _is_on(again):
        place.respawning.add(target)


def let_go(cluster: Cluster, host: str, domain: str, target: str) -> None:
    place = _place(cluster, host, domain)
    place.respawning.discard(target)
    place.holders.pop(target, None)


def engine(cluster: Cluster, domain: str, word: str, value: str) -> None:
    """engine pg leader hostb: it goes there by itself. engine pg paused on. engine pg refuses "no good candidate"; ""
    ends that."""
    there = cluster.world.engines[domain]
    match word:
        case "leader":
            there.lead(value)
        case "paused":
            there.paused = _is_on(value)
        case "refuses":
            there.refuses = value
        case _:
            raise ValueError(f"an engine has a leader, is paused or refuses, not {word}")


def neighbour(cluster: Cluster, address: str, on: str) -> None:
    """Another machine on the LAN answers, or does not."""
    cluster.world.neighbours = (cluster.world.neighbours | {address}) - (frozenset() if _is_on(on) else {address})


# -- something else that manages the same ------------------------------------------------------------------------------


def every(cluster: Cluster, seconds: str, name: str, command: str, *words: str) -> None:
    """every 5 networkd remove-address hosta nfs 192.0.2.10/24: again and again, until `no-more networkd`."""

    async def again() -> None:
        while True:
            await asyncio.sleep(float(seconds))
            try:
                done = globals()[command.replace("-", "_")](cluster, *words)
                if inspect.isawaitable(done):
                    await done
            except NotThere:
                continue

    cluster.others[name] = asyncio.create_task(again())


def no_more(cluster: Cluster, name: str) -> None:
    """Somebody has found and ended it."""
    cluster.others.pop(name).cancel()


# -- what is expected --------------------------------------------------------------------------------------------------


async def expect(cluster: Cluster, service: str, host: str, state: str, *words: str) -> None:
    """expect nfs hosta Ready cannot move: what a host says, and words in its reason."""
    status = await cluster.status(service, host)
    found = f"{status.state}: {status.reason}" if status else "nothing"
    if status is None or status.state != state or " ".join(words) not in status.reason:
        raise Broken(f"{host} says that {service} is {found!r}\n{cluster.timeline()}")


async def says(cluster: Cluster, service: str, host: str, part: str, *words: str) -> None:
    """says nfs hosta "check/tcp 2049" answers; failed: what a host says of one part begins with these words."""
    status = await cluster.status(service, host)
    found = status.parts[part].says if status is not None and part in status.parts else "nothing"
    if not found.startswith(" ".join(words)):
        raise Broken(f"{host} says of {part} {found!r}\n{cluster.timeline()}")


async def ready(cluster: Cluster, service: str, host: str, within: str = "1") -> None:
    """Ready there within so many seconds, as its agent says and as the world is."""
    await cluster.until_ready(service, within=float(within))
    spec = (await cluster.spec(service)).spec
    where = spec.hosts if spec.mode == EVERYWHERE else (spec.wanted,)
    if host not in where:
        raise Broken(f"{service} is Ready on {', '.join(where)}, not on {host}\n{cluster.timeline()}")


def runs(cluster: Cluster, service: str, host: str) -> None:
    """The service is all there, whatever agents say."""
    if absent := missing(cluster.world, cluster.placed(cluster.services[service]), host):
        raise Broken(f"{absent[0]}\n{cluster.timeline()}")


def down(cluster: Cluster, service: str, host: str) -> None:
    """It is not all there."""
    if not missing(cluster.world, cluster.placed(cluster.services[service]), host):
        raise Broken(f"{service} runs on {host}\n{cluster.timeline()}")


async def end(_: Cluster) -> None:
    """The story ends as things are: nothing need be Ready."""


def _is_on(word: str) -> bool:
    if word not in ("on", "off", "up", "down", "yes", "no"):
        raise ValueError(f"{word!r} is not on or off, up or down, yes or no")
    return word in ("on", "up", "yes")


def _place(cluster: Cluster, host: str, domain: str) -> Place:
    found: Any = cluster.world.hosts[host].place(domain)
    if found is None:
        raise NotThere(f"container {domain} does not run on {host}")
    assert isinstance(found, Place)
    return found
