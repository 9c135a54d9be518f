"""A move there and back under a client; a target that cannot is left alone; one that fails gives it back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.sim.cluster import Cluster, play
from reconciler.store import service_key
from tests.sim.services import GIT, NFS, service

SHORT = service("nfs", deadline=20)
GATED = service("nfs", gates=[{"ping": ["192.0.2.254"], "attempts": [1, 2]}])


def since(cluster: Cluster, moment: float, host: str) -> list[str]:
    """What happened on a host after that."""
    return [text for at, name, text in cluster.world.log if at > moment and name == host]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("manifest", [NFS, GIT], ids=["warm", "root-on-disk"])
def test_a_move_there_and_back_loses_nothing(manifest: object, seed: int) -> None:
    one = NFS if manifest is NFS else GIT
    name = one.metadata.name

    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        client = cluster.clients[name]
        for host in ("hostb", "hosta", "hostb"):
            await cluster.run(10)
            before = client.acknowledged
            await cluster.set_primary(name, host)
            await cluster.until_ready()
            await cluster.run(10)
            assert client.acknowledged > before + 20
        assert client.longest < 15
        status = await cluster.status(name, "hostb")
        assert status is not None
        assert status.epoch == 4
        assert cluster.world.disks[one.spec.get("disks")[0].resource].acknowledged.depth >= client.acknowledged

    play(story, [one], seed)


def test_a_move_puts_down_and_brings_up_in_order() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        began = cluster.now
        await cluster.set_primary("nfs", "hostb")
        await cluster.until_ready()
        down = [text.split()[0] for text in since(cluster, began, "hosta")]
        up = [text.split()[0] for text in since(cluster, began, "hostb")]
        units, mounts = ["nfs.service"] * 2 + ["nfs-first.service"] * 2, ["/srv/state", "/srv/data"]
        assert (down[2:6], down[6:8], down[8:]) == (units, mounts, ["disk", "disk"])
        assert (up[:2], up[2:4], up[4:8]) == (["disk", "disk"], mounts[::-1], units[2:] + units[:2])
        assert sorted(down[:2]) == sorted(up[8:]) == ["192.0.2.42/24", "2001:db8::42/64"]

    play(story, [service("nfs", addresses=[{"address": "192.0.2.42/24"}, {"address": "2001:db8::42/64"}])])


# -- a target that cannot ----------------------------------------------------------------------------------------------


def shut_gate(cluster: Cluster) -> None:
    cluster.world.neighbours.clear()


def outdate(cluster: Cluster) -> None:
    copy = cluster.world.disks["nfs-state"].copies["hostb"]
    copy.disk = "Inconsistent"
    cluster.world.happened("hostb", "disk nfs-state Inconsistent")


def undefine(cluster: Cluster) -> None:
    del cluster.world.hosts["hostb"].domains["nfs"]


def stop_container_for_good(cluster: Cluster) -> None:
    cluster.world.hosts["hostb"].faults["start-container"] = "fail"
    cluster.world.hosts["hostb"].stop_domain("nfs")


def lose_unit(cluster: Cluster) -> None:
    cluster.world.hosts["hostb"].missing_units.add("nfs.service")


def silence_libvirt(cluster: Cluster) -> None:
    cluster.world.hosts["hostb"].libvirtd = False


def kill_agent(cluster: Cluster) -> None:
    cluster.restarts = False
    cluster.kill("hostb")


OBSTACLES: dict[str, tuple[Callable[[Cluster], None], str]] = {
    "gate": (shut_gate, "gate ping 192.0.2.254 is shut"),
    "disk": (outdate, "disk nfs-state is Inconsistent"),
    "domain": (undefine, "container nfs is not defined"),
    "container": (stop_container_for_good, "container nfs does not run yet"),
    "unit": (lose_unit, "nfs.service is not-found"),
    "libvirt": (silence_libvirt, "libvirtd does not answer"),
    "agent": (kill_agent, "hostb has no session"),
}


@pytest.mark.parametrize(("obstruct", "why"), OBSTACLES.values(), ids=OBSTACLES.keys())
def test_a_target_that_cannot_blocks_the_move_and_nothing_is_touched(
    obstruct: Callable[[Cluster], None], why: str
) -> None:
    async def story(cluster: Cluster) -> None:
        cluster.world.neighbours.add("192.0.2.254")
        await cluster.until_ready()
        await cluster.run(5)
        obstruct(cluster)
        await cluster.run(30)
        began, before = cluster.now, cluster.clients["nfs"].acknowledged
        await cluster.set_primary("nfs", "hostb")
        await cluster.run(60)
        assert since(cluster, began, "hosta") == []
        status = await cluster.status("nfs", "hosta")
        assert status is not None
        assert status.state == "Ready"
        assert why in status.reason
        assert "cannot move to hostb" in status.reason
        assert cluster.clients["nfs"].acknowledged > before + 200

    play(story, [GATED])


def test_a_blocked_move_goes_on_once_the_target_can() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(5)
        await cluster.set_primary("nfs", "hostb")
        await cluster.run(60)
        cluster.world.neighbours.add("192.0.2.254")
        await cluster.until_ready()

    play(story, [GATED])


# -- a target that fails -----------------------------------------------------------------------------------------------

FAILURES = [
    ("drbdadm primary nfs-state", "fail"),
    ("mount /srv/state", "fail"),
    ("systemctl start nfs.service", "fail"),
    ("systemctl start nfs.service", "hang"),
    ("add-address 2001:", "fail"),
    ("tcp 2049", "fail"),
]


@pytest.mark.parametrize(("operation", "fault"), FAILURES, ids=[f"{one[0].split()[0]}-{one[1]}" for one in FAILURES])
def test_a_target_that_fails_gives_it_back_within_the_deadline_and_there_it_stays(operation: str, fault: str) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(5)
        cluster.world.hosts["hostb"].faults[operation] = fault
        await cluster.set_primary("nfs", "hostb")
        await cluster.run(SHORT.spec.deadline + 10)
        assert (await cluster.spec("nfs")).spec.wanted == "hosta"
        await cluster.until_ready(within=60)
        revision = (await cluster.entry(service_key("nfs"))).revision
        epoch = (await cluster.owner("nfs")).epoch
        await cluster.run(600)
        await cluster.until_ready(within=1)
        assert (await cluster.entry(service_key("nfs"))).revision == revision
        assert (await cluster.owner("nfs")).epoch == epoch == 3
        audits = [
            one for one in (await cluster.desk.list("/hactl/audit/")).entries if "not Ready on hostb" in one.value
        ]
        assert len(audits) == 1

    play(story, [SHORT])


def test_an_old_move_is_not_taken_back_when_the_agent_starts_again_and_the_service_is_broken() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.set_primary("nfs", "hostb")
        await cluster.until_ready()
        await cluster.run(600)
        host = cluster.world.hosts["hostb"]
        host.faults["systemctl start nfs.service"] = "fail"
        place = host.place("nfs")
        assert place is not None
        host.set_unit(place, "nfs.service", "failed", "failed", "exit-code")
        cluster.kill("hostb")
        await cluster.run(600)
        assert (await cluster.spec("nfs")).spec.wanted == "hostb"
        host.faults.clear()
        await cluster.until_ready()

    play(story, [SHORT])


def test_disks_go_together_or_not_at_all() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(5)
        cluster.world.hosts["hostb"].faults["drbdadm primary nfs-state"] = "fail"
        await cluster.set_primary("nfs", "hostb")
        await cluster.until(
            lambda: "disk nfs-data Primary" in [text for _, host, text in cluster.world.log if host == "hostb"],
            what="the other disk's promotion",
        )
        await cluster.until(lambda: cluster.world.disks["nfs-data"].copies["hostb"].role == "Secondary", within=10)

    play(story, [SHORT])
