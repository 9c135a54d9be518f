"""Two hosts that both fail at something wait longer each time, and do not wake each other with every try."""

from __future__ import annotations

from reconciler.records import Event, parse
from reconciler.sim import hands
from reconciler.sim.cluster import Cluster, play
from reconciler.store import ROOT
from tests.sim.services import NFS


async def failures(cluster: Cluster) -> int:
    events = [parse(Event, one.value) for one in (await cluster.desk.list(f"{ROOT}events/nfs/")).entries]
    return len([event for event in events if event is not None and event.kind == "failed"])


def test_a_half_switched_disk_that_neither_host_can_put_right() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        hands.fault(cluster, "hosta", "mount /srv/state", "fail")
        hands.fault(cluster, "hostb", "drbdadm secondary nfs-state", "fail")
        hands.unmount(cluster, "hosta", "nfs", "/srv/state")
        await hands.drbdadm(cluster, "hosta", "secondary", "nfs-state")
        await hands.drbdadm(cluster, "hostb", "primary", "nfs-state")
        await cluster.run(120)
        assert 4 < await failures(cluster) < 40
        hands.fault(cluster, "hostb", "drbdadm secondary nfs-state", "none")
        hands.fault(cluster, "hosta", "mount /srv/state", "none")

    play(story, [NFS])
