"""A host that is shut down: what its agent moves away before it ends, and that nothing else makes it move."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from loguru import logger

from reconciler.cli.agent import until_told
from reconciler.records import Audit, parse
from reconciler.session import Options
from reconciler.sim import hands
from reconciler.sim.clock import simulate
from reconciler.sim.cluster import Cluster
from reconciler.store import ROOT, owner_key
from tests.sim.services import service

WEB, NFS = service("web", failover="automatic"), service("nfs")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


async def begin(options: Options | None = None) -> Cluster:
    cluster = Cluster(seed=1, manifests=[WEB, NFS], options=options)
    await cluster.start(clients=False)
    await cluster.until_ready()
    await cluster.run(10)
    return cluster


def test_what_is_automatic_moves_away_first_and_the_audit_says_why() -> None:
    async def tell() -> None:
        cluster = await begin()
        await hands.shutdown(cluster, "hosta")
        await cluster.until_ready("web", within=10)
        assert (await cluster.owner("web")).host == "hostb"
        assert (await cluster.owner("nfs")).host == "hosta"
        records = [parse(Audit, one.value) for one in (await cluster.desk.list(f"{ROOT}audit/")).entries]
        assert [(one.who, one.did, one.why) for one in records if one] == [
            ("hactl agent", "set primary=hostb", "its host is being shut down")
        ]

    simulate(tell())


def test_an_agent_that_is_only_stopped_moves_nothing() -> None:
    async def tell() -> None:
        cluster = await begin()
        await cluster.stop_agent("hosta")
        assert (await cluster.spec("web")).spec.wanted == "hosta"

    simulate(tell())


def test_a_host_may_be_told_not_to() -> None:
    async def tell() -> None:
        cluster = await begin(Options(shutdown=0))
        await hands.shutdown(cluster, "hosta")
        assert (await cluster.spec("web")).spec.wanted == "hosta"

    simulate(tell())


def test_what_cannot_move_is_put_down_and_let_go_of() -> None:
    async def tell() -> None:
        cluster = await begin(Options(shutdown=30))
        hands.libvirt(cluster, "hostb", "off")
        await cluster.run(60)
        await hands.shutdown(cluster, "hosta")
        assert await cluster.desk.get(owner_key("web")) is None  # no proof of a death is needed for it
        assert (await cluster.owner("nfs")).host == "hosta"  # a human decides where that goes

    simulate(tell())


def test_nothing_comes_to_a_host_that_is_being_shut_down() -> None:
    async def tell() -> None:
        cluster = await begin(Options(shutdown=30))
        await hands.set(cluster, "nfs", "primary=hostb")
        await cluster.until_ready("nfs", within=30)
        hands.fault(cluster, "hosta", "systemctl stop web.service", "hang")
        shutting = asyncio.create_task(hands.shutdown(cluster, "hosta"))
        await cluster.run(5)
        status = await cluster.status("nfs", "hosta")
        assert status is not None
        assert status.target is not None
        assert status.target.obstacles == ["hosta is being shut down"]
        await hands.set(cluster, "nfs", "primary=hosta")
        await cluster.run(5)
        assert (await cluster.owner("nfs")).host == "hostb"
        await shutting

    simulate(tell())


def test_it_does_not_wait_for_longer_than_it_may() -> None:
    async def tell() -> None:
        cluster = await begin(Options(shutdown=20))
        hands.fault(cluster, "hosta", "systemctl stop web.service", "hang")
        began = cluster.now
        await hands.shutdown(cluster, "hosta")
        assert cluster.now - began < 25
        assert not cluster.world.hosts["hosta"].power

    simulate(tell())


async def test_the_agent_goes_on_working_until_all_has_left() -> None:
    said: list[str] = []

    async def runs() -> None:
        try:
            while True:
                said.append("works")
                await asyncio.sleep(0.01)
        finally:
            said.append("ended")

    async def leave() -> None:
        said.append("leaving")
        await asyncio.sleep(0.05)
        said.append("left")

    asyncio.get_running_loop().call_later(0.02, os.kill, os.getpid(), signal.SIGTERM)
    await until_told(runs(), leave)
    after = said[said.index("leaving") :]
    assert "works" in after[: after.index("left")]
    assert after[-1] == "ended"
