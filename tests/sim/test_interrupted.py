"""A move and a takeover, interrupted after each of their effects by each fault, put right twenty seconds later: the
rules hold throughout, and all is Ready in the end.

All pairs of (effect, fault) with HACTL_STORIES set (make sim), a few of them without.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cache

import pytest

from reconciler.session import Options
from reconciler.sim.cluster import Cluster, play
from tests.sim.services import service

AUTOMATIC = service("nfs", failover="automatic")
GUARDED = Options(watchdog="/dev/watchdog", watchdog_seconds=10)
HEALS = 20.0  # seconds: longer than a lease
EACH = 1 if "HACTL_STORIES" in os.environ else 15

Hit = Callable[[Cluster, str, bool], None]  # (cluster, host, begins or ends)


def killed(cluster: Cluster, host: str, begins: bool) -> None:
    if begins:
        cluster.kill(host)


def power(cluster: Cluster, host: str, begins: bool) -> None:
    cluster.power(host, not begins)


def frozen(cluster: Cluster, host: str, begins: bool) -> None:
    cluster.freeze(host, begins)


def cut_off(cluster: Cluster, host: str, begins: bool) -> None:
    for link in ("lan", "replication"):
        cluster.link(host, link, not begins)


def lan(cluster: Cluster, host: str, begins: bool) -> None:
    cluster.link(host, "lan", not begins)


def replication(cluster: Cluster, host: str, begins: bool) -> None:
    cluster.link(host, "replication", not begins)


def deaf(cluster: Cluster, host: str, begins: bool) -> None:
    cluster.etcd.deafen(host, begins)


def no_etcd(cluster: Cluster, _host: str, begins: bool) -> None:
    for member in cluster.etcd.members:
        cluster.etcd.member(member, "stopped" if begins else "up")


FAULTS: list[Hit] = [killed, power, frozen, cut_off, lan, replication, deaf, no_etcd]


async def move(cluster: Cluster) -> None:
    await cluster.set_primary("nfs", "hostb")
    await cluster.run(15)


async def takeover(cluster: Cluster) -> None:
    cluster.power("hosta", False)
    await cluster.run(60)


WAYS = {"move": move, "takeover": takeover}
VICTIMS = [("move", "hosta"), ("move", "hostb"), ("takeover", "hostb")]


@cache
def effects_of(way: str) -> list[str]:
    """Those of both hosts' agents, but for reads and signs of life, when nothing interrupts it."""
    found: list[str] = []

    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.tap = lambda host, effect: found.append(f"{host} {effect}") if counts(effect) else None
        await WAYS[way](cluster)

    play(story, [AUTOMATIC], options=GUARDED)
    return found


def counts(effect: str) -> bool:
    return effect not in ("etcd keep_alive", "etcd get", "etcd list") and not effect.startswith("write ")


def interrupted(way: str, number: int, victim: str, hit: Hit) -> str:
    """What went wrong, or ""."""

    async def story(cluster: Cluster) -> None:
        seen = 0

        def tap(_host: str, effect: str) -> None:
            nonlocal seen
            seen += counts(effect)
            if seen == number + 1 and counts(effect):
                asyncio.get_running_loop().call_later(HEALS, hit, cluster, victim, False)
                hit(cluster, victim, True)

        await cluster.until_ready()
        cluster.tap = tap
        await WAYS[way](cluster)
        assert seen > number
        await cluster.run(HEALS)
        cluster.power("hosta", True)
        await cluster.until_ready()
        await cluster.run(20)
        await cluster.until_ready(within=1)

    try:
        play(story, [AUTOMATIC], options=GUARDED)
    except AssertionError as e:
        return f"{victim} {hit.__name__} after effect {number}, {effects_of(way)[number]!r}: {e}"
    return ""


@pytest.mark.parametrize("hit", FAULTS, ids=[one.__name__ for one in FAULTS])
@pytest.mark.parametrize(("way", "victim"), VICTIMS, ids=[f"{way}-{host}" for way, host in VICTIMS])
def test_interrupted_after_each_effect(way: str, victim: str, hit: Hit) -> None:
    numbers = range(FAULTS.index(hit) % EACH, len(effects_of(way)), EACH)
    wrong = [found for number in numbers if (found := interrupted(way, number, victim, hit))]
    assert not wrong, f"{len(wrong)} of {len(numbers)}: " + "\n\n".join(wrong[:2])
