"""An agent that is stopped where it cannot tell etcd: its watchdog stays armed while anything is held."""

from __future__ import annotations

import pytest

from reconciler.session import Options
from reconciler.sim.cluster import Cluster, play
from tests.sim.services import service

GUARDED = Options(watchdog="/dev/watchdog", watchdog_seconds=10)


@pytest.mark.parametrize("failover", ["automatic", "manual"])
@pytest.mark.parametrize("host", ["hosta", "hostb"])
def test_the_watchdog_of_an_agent_that_is_stopped_without_etcd(host: str, failover: str) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(6)
        cluster.link(host, "lan", False)
        await cluster.stop_agent(host)
        holds_automatic = host == "hosta" and failover == "automatic"
        assert bool(cluster.world.hosts[host].watchdog.seconds) == holds_automatic
        await cluster.run(30)
        assert (cluster.world.hosts[host].boots == 1) == (not holds_automatic)

    play(story, [service("nfs", failover=failover)], options=GUARDED)
