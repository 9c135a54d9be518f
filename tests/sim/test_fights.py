"""Repairs that something else undoes: bounded, named, told once; nothing else suffers from them."""

from __future__ import annotations

import asyncio

from reconciler.records import Event, parse
from reconciler.session import Options
from reconciler.sim import hands
from reconciler.sim.cluster import Cluster, play
from reconciler.store import ROOT
from resources.machine import Address
from tests.sim.services import GIT, NFS, service

FEW = {"times": 3, "within": 120}
FOUGHT = service("nfs", repairs=FEW)
ADDRESS = FOUGHT.spec.get("addresses")[0].address


def happened(cluster: Cluster, host: str, text: str) -> int:
    return sum((name, said) == (host, text) for _, name, said in cluster.world.log)


def events(cluster: Cluster, service: str, host: str) -> list[Event]:
    changes = cluster.etcd.keys.since(f"{ROOT}events/{service}/", 0)
    found = [parse(Event, change.entry.value) for change in changes if change.entry]
    return [event for event in found if event is not None and event.host == host]


async def reason(cluster: Cluster, name: str, host: str) -> str:
    status = await cluster.status(name, host)
    assert status is not None
    return f"{status.state}: {status.reason}"


def removed_at_once(cluster: Cluster, host: str) -> None:
    """What netlink tells is undone before anybody has looked."""
    there = cluster.world.hosts[host]

    def undo() -> None:
        place = there.place("nfs")
        if place is not None and Address("eth0", ADDRESS, frozenset({"permanent"})) in place.addresses:
            there.remove_address(place, "eth0", ADDRESS)

    def told(_topic: str) -> None:
        asyncio.get_running_loop().call_soon(undo)

    there.listeners.append(told)
    undo()


def test_what_is_undone_at_once_is_tried_less_and_less() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        before = happened(cluster, "hosta", f"{ADDRESS} added")
        removed_at_once(cluster, "hosta")
        await cluster.run(30)
        assert happened(cluster, "hosta", f"{ADDRESS} added") - before <= 5
        assert f"Stalled: address {ADDRESS} is missing on eth0 again" in await reason(cluster, "nfs", "hosta")
        await cluster.run(1200)
        assert happened(cluster, "hosta", f"{ADDRESS} added") - before <= 12
        assert sum(event.kind == "drift" for event in events(cluster, "nfs", "hosta")) <= 3

    play(story, [FOUGHT])


def test_a_fight_over_one_service_leaves_another_ready() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        hands.every(cluster, "3", "networkd", "remove-address", "hosta", "nfs", ADDRESS)
        await cluster.run(60)
        assert (await reason(cluster, "nfs", "hosta")).startswith("Stalled")
        for _ in range(20):
            await cluster.run(3)
            await cluster.until_ready("git", within=0.5)
        hands.remove_address(cluster, "hosta", "git", GIT.spec.get("addresses")[0].address)
        await cluster.run(0.5)
        await cluster.until_ready("git", within=0.5)

    play(story, [FOUGHT, GIT])


def test_both_services_may_be_fought_over_each_on_its_own() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        hands.every(cluster, "4", "timer", "unit", "hosta", "nfs", "nfs.service", "inactive")
        hands.every(cluster, "15", "virsh", "destroy", "hostb", "nfs")
        await cluster.run(120)
        assert "nfs.service is inactive again" in await reason(cluster, "nfs", "hosta")
        assert "container nfs does not run again" in await reason(cluster, "nfs", "hostb")
        hands.no_more(cluster, "timer")
        hands.no_more(cluster, "virsh")
        await cluster.run(400)
        await cluster.until_ready(within=1)

    play(story, [FOUGHT])


def test_on_a_standby_it_is_put_down_each_time_and_told_once() -> None:
    rooted = service("git", disks=[{"resource": "git", "mount": "/srv/ct/git", "where": "host"}], repairs=FEW)

    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        hands.every(cluster, "5", "autostart", "autostart", "hostb", "git")
        await cluster.run(100)
        before = len(events(cluster, "git", "hostb"))
        await cluster.run(600)
        hands.no_more(cluster, "autostart")
        await cluster.run(5)
        started, stopped = (happened(cluster, "hostb", f"container git {how}") for how in ("started", "stopped"))
        assert started == stopped > 100
        assert len(events(cluster, "git", "hostb")) == before
        told = [event for event in events(cluster, "git", "hostb") if event.kind == "decision"]
        assert [event.text for event in told] == ["container git is fought over"]
        await cluster.run(150)
        assert (await reason(cluster, "git", "hostb")) == "Standby: "
        assert events(cluster, "git", "hostb")[-1].kind == "repaired"

    play(story, [rooted])


def test_a_fight_over_the_standby_holds_up_no_takeover() -> None:
    automatic = service("nfs", repairs=FEW, failover="automatic")

    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        hands.every(cluster, "10", "virsh", "destroy", "hostb", "nfs")
        await cluster.run(900)
        assert "next try within 5m" in await reason(cluster, "nfs", "hostb")
        hands.no_more(cluster, "virsh")
        cluster.restarts = False
        cluster.power("hosta", False)
        await cluster.run(60)
        await cluster.until_ready(within=1)
        assert (await cluster.spec("nfs")).spec.wanted == "hostb"

    play(story, [automatic], options=Options(watchdog="/dev/watchdog", watchdog_seconds=10.0))


def test_a_human_who_moves_it_waits_for_no_fight() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        hands.every(cluster, "10", "virsh", "destroy", "hostb", "nfs")
        await cluster.run(900)
        hands.no_more(cluster, "virsh")
        await cluster.set_primary("nfs", "hostb")
        await cluster.until_ready(within=20)

    play(story, [FOUGHT])


def test_what_drifts_once_in_a_while_is_always_put_right_at_once() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        for _ in range(20):
            hands.remove_address(cluster, "hosta", "nfs", ADDRESS)
            await cluster.run(0.5)
            await cluster.until_ready(within=0.5)
            await cluster.run(100)

    play(story, [NFS])
