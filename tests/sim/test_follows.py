"""A service that follows an engine: its address is where Patroni leads, never before it, whatever is killed or cut."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from reconciler.sim import hands
from reconciler.sim.cluster import Broken, Cluster, play
from reconciler.sim.patroni import Patroni
from reconciler.sim.scenario import load

CLUSTER = load(Path(__file__).parent / "scenarios" / "postgres-power-cut")
HOSTS = ("hosta", "hostb")
WRITES, READS = "192.0.2.19/24", "192.0.2.20/24"
KNOWS = 8.0  # seconds until a host knows that the engine has gone

Story = Callable[[Cluster], Awaitable[None]]


def engine(cluster: Cluster) -> Patroni:
    return cluster.world.engines["patroni"]


def has(cluster: Cluster, address: str) -> list[str]:
    """The hosts that have that address."""
    found = []
    for name, host in sorted(cluster.world.hosts.items()):
        place = host.place("patroni") if host.runs else None
        if place is not None and address in [one.address for one in place.addresses]:
            found.append(name)
    return found


def told(story: Story, seed: int = 1) -> None:
    """With a look after every event: the address for writes was added only where the engine led a moment ago."""

    async def watched(cluster: Cluster) -> None:
        led: dict[str, float] = {}
        wrong: list[str] = []

        def look() -> None:
            led[engine(cluster).leader] = cluster.now
            at, host, text = cluster.world.log[-1]
            if text == f"{WRITES} added" and led.get(host, float("-inf")) < at - KNOWS:
                wrong.append(f"{at:.3f} {host} {text}, and {engine(cluster).leader} leads")

        cluster.world.watchers.append(look)
        await cluster.start()
        await cluster.until_ready()
        await story(cluster)
        await cluster.until_ready()
        await cluster.run(60)
        await cluster.until_ready(within=1)
        assert wrong == []
        assert has(cluster, WRITES) == [engine(cluster).leader]
        assert has(cluster, READS) == [host for host in HOSTS if host != engine(cluster).leader]

    play(watched, CLUSTER.manifests, seed, options=CLUSTER.options, start=False)


async def switchover(cluster: Cluster) -> None:
    await cluster.set_primary("postgres", "hostb")
    await cluster.until(lambda: engine(cluster).leader == "hostb" and has(cluster, WRITES) == ["hostb"], 120)


def test_it_goes_where_it_is_asked_to_once_the_engine_has() -> None:
    told(switchover)


@pytest.mark.long
@pytest.mark.parametrize("victim", HOSTS)
def test_an_agent_killed_after_any_effect_of_a_switchover_finishes_it(victim: str) -> None:
    number, killed = 0, True
    while killed:
        count = 0

        async def story(cluster: Cluster) -> None:
            def tap(_host: str, _effect: str) -> None:
                nonlocal count
                count += 1
                if count == number + 1:  # noqa: B023 - told before the next round
                    cluster.kill(victim)

            cluster.tap = tap
            await switchover(cluster)

        told(story)
        killed = count > number
        number += 1
    assert number > 3


@pytest.mark.parametrize("seed", range(6))
def test_the_primary_does_not_take_what_a_replica_is_about_to_have(seed: int) -> None:
    """However slowly Patroni answers: the address for reading goes straight to where the replica is."""

    async def story(cluster: Cluster) -> None:
        engine(cluster).slow = 4.9
        await cluster.run(20)
        before = len(cluster.world.log)
        engine(cluster).lead("hostb")
        await cluster.run(120)
        added = [f"{host} {text}" for _, host, text in cluster.world.log[before:] if text.endswith("added")]
        assert sorted(added) == [f"hosta {READS} added", f"hostb {WRITES} added"]

    told(story, seed)


def test_where_the_engine_does_not_lead_yet_nothing_is_brought_up() -> None:
    """A cluster that is begun with its primary elsewhere than the spec says: the spec follows."""

    async def story(cluster: Cluster) -> None:
        engine(cluster).lead("hostb")
        await cluster.start()
        await cluster.until_ready()
        assert has(cluster, WRITES) == ["hostb"]
        assert (await cluster.spec("postgres")).spec.wanted == "hostb"
        assert [text for _, host, text in cluster.world.log if host == "hosta" and text == f"{WRITES} added"] == []

    play(story, CLUSTER.manifests, options=CLUSTER.options, start=False)


def test_a_drained_host_keeps_no_address_and_gets_the_one_for_reading_back() -> None:
    """As hactl drain does: the mark, then `primary` elsewhere."""

    async def story(cluster: Cluster) -> None:
        await hands.drain(cluster, "hostb")
        await cluster.set_primary("postgres-read", "hosta")
        await cluster.until(lambda: has(cluster, READS) == ["hosta"], 20)
        await cluster.run(120)
        assert has(cluster, READS) == ["hosta"]
        await hands.drain(cluster, "hostb", "off")
        await cluster.until(lambda: has(cluster, READS) == ["hostb"], 20)
        await cluster.set_primary("postgres-read", "hosta")  # the replica is well: it stays there
        await cluster.run(10)
        assert has(cluster, READS) == ["hostb"]
        assert (await cluster.spec("postgres-read")).spec.wanted == "hostb"

    told(story)


def test_two_who_disagree_are_noticed() -> None:
    """The look itself: an address that is added by hand where the engine does not lead."""

    async def story(cluster: Cluster) -> None:
        await cluster.run(10)
        host = cluster.world.hosts["hostb"]
        place = host.place("patroni")
        assert place is not None
        have = cluster.world.hosts["hosta"].place("patroni")
        assert have is not None
        address = next(one for one in have.addresses if one.address == WRITES)
        cluster.world.hosts["hosta"].remove_address(have, address.interface, WRITES)
        host.add_address(place, address)

    with pytest.raises((AssertionError, Broken), match=r"hostb 192\.0\.2\.19/24 added, and hosta leads"):
        told(story)


ACTIONS = ("fail-over", "fail-over", "ask", "ask", "kill", "power", "lan")


@pytest.mark.parametrize("seed", range(12))
def test_random_stories(seed: int) -> None:
    chance = random.Random(seed)

    async def story(cluster: Cluster) -> None:
        engine(cluster).slow = chance.choice((0.0, 3.0))
        for _ in range(8):
            await cluster.run(chance.uniform(1, 70))
            host, action = chance.choice(HOSTS), chance.choice(ACTIONS)
            match action:
                case "fail-over":
                    if engine(cluster).runs(host):
                        engine(cluster).lead(host)
                case "ask":
                    await cluster.set_primary("postgres", host)
                case "kill":
                    cluster.kill(host)
                case "power":
                    cluster.power(host, False)
                    await cluster.run(chance.uniform(1, 90))
                    cluster.power(host, True)
                case _:
                    cluster.link(host, "lan", False)
                    await cluster.run(chance.uniform(1, 90))
                    cluster.link(host, "lan", True)

    told(story, seed)
