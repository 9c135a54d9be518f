"""A service whose checks fail though all of it runs: restarted, moved once where that is automatic, then Stalled."""

from __future__ import annotations

from reconciler.sim.cluster import Cluster, play
from reconciler.store import epoch_key
from tests.sim.services import service

FEW = {"times": 2, "within": 300}
MANUAL = service("nfs", restarts=FEW)
AUTOMATIC = service("nfs", restarts=FEW, failover="automatic")


def restarts(cluster: Cluster, host: str) -> int:
    return sum(name == host and text == "nfs.service activating" for _, name, text in cluster.world.log) - 1


def test_what_a_restart_heals_stays() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.world.hosts["hosta"].faults["tcp 2049"] = "fail"
        await cluster.until(lambda: restarts(cluster, "hosta") == 1, what="a restart")
        cluster.world.hosts["hosta"].faults.clear()
        await cluster.until_ready()
        await cluster.run(300)
        assert restarts(cluster, "hosta") == 1

    play(story, [MANUAL])


def test_restarted_in_vain_a_manual_service_is_stalled_where_it_is() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.world.hosts["hosta"].faults["tcp 2049"] = "fail"
        await cluster.run(200)
        status = await cluster.status("nfs", "hosta")
        assert status is not None
        assert status.state == "Stalled"
        assert status.reason.startswith("restarted 2 times, and still:")
        assert (await cluster.spec("nfs")).spec.wanted == "hosta"
        assert restarts(cluster, "hosta") == 2

    play(story, [MANUAL])


def test_an_automatic_one_is_moved_once_and_never_bounced() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.world.hosts["hosta"].faults["tcp 2049"] = "fail"
        await cluster.run(200)
        assert (await cluster.spec("nfs")).spec.wanted == "hostb"
        await cluster.until_ready()
        cluster.world.hosts["hosta"].faults.clear()
        cluster.world.hosts["hostb"].faults["tcp 2049"] = "fail"
        await cluster.run(600)
        assert (await cluster.spec("nfs")).spec.wanted == "hostb"
        status = await cluster.status("nfs", "hostb")
        assert status is not None
        assert status.state == "Stalled"
        assert "failed_on" in (cluster.etcd.value(epoch_key("nfs")) or "")

    play(story, [AUTOMATIC])


def test_a_human_begins_anew() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.world.hosts["hosta"].faults["tcp 2049"] = "fail"
        await cluster.run(200)
        await cluster.until_ready()
        cluster.world.hosts["hosta"].faults.clear()
        await cluster.set_primary("nfs", "hosta")
        await cluster.until_ready()
        cluster.world.hosts["hosta"].faults["tcp 2049"] = "fail"
        await cluster.run(300)
        assert (await cluster.spec("nfs")).spec.wanted == "hostb"

    play(story, [AUTOMATIC])
