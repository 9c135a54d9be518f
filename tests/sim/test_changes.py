"""What an operator does besides moving: delete, drop a part, break a spec; one service that hangs beside another."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sim.cluster import Cluster, play
from reconciler.sim.rules import missing
from reconciler.store import ROOT, service_key
from tests.sim.services import GIT, NFS


def after(cluster: Cluster, moment: float, host: str) -> list[str]:
    return [text for at, name, text in cluster.world.log if at > moment and name == host]


def things(cluster: Cluster, host: str) -> list[str]:
    """All that a host holds or runs."""
    there = cluster.world.hosts[host]
    found = [f"container {name}" for name, domain in sorted(there.domains.items()) if domain.place]
    for place in there.places():
        found += [one.target for one in place.mounts] + [one.address for one in place.addresses]
        found += [name for name, unit in place.units.items() if unit.active == "active"]
    return found + [disk.name for disk in cluster.world.disks_of(host) if disk.copies[host].role == "Primary"]


async def delete(cluster: Cluster, name: str) -> None:
    await cluster.change(name, "metadata", deleted={"at": "2026-11-24T07:00:00Z", "by": "root"})


async def keys(cluster: Cluster, name: str) -> list[str]:
    """What etcd still decides by."""
    listing = await cluster.desk.list(ROOT)
    return [one.key for one in listing.entries if f"/{name}" in one.key and "/events/" not in one.key]


@pytest.mark.parametrize("manifest", [NFS, GIT], ids=["warm", "root-on-disk"])
@pytest.mark.parametrize("killed", ["", "hosta", "hostb"])
def test_a_deleted_service_is_put_down_everywhere_and_forgotten(manifest: Any, killed: str) -> None:
    async def story(cluster: Cluster) -> None:
        name = manifest.metadata.name
        await cluster.until_ready()
        await delete(cluster, name)
        if killed:
            await cluster.run(1)
            cluster.kill(killed)
        await cluster.run(60)
        assert await keys(cluster, name) == []
        assert things(cluster, "hosta") == things(cluster, "hostb") == []
        # An agent that was away then keeps its note of what it applied: for when there is one by that name again.
        there = [host for name, host in cluster.world.hosts.items() if name != killed]
        assert not [path for host in there for path in host.files if path.startswith("/run/")]

    play(story, [manifest])


def test_a_service_deleted_in_the_middle_of_a_move_is_put_down() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.set_primary("nfs", "hostb")
        await cluster.run(1.5)
        await delete(cluster, "nfs")
        await cluster.run(60)
        assert await keys(cluster, "nfs") == []
        assert things(cluster, "hosta") == things(cluster, "hostb") == []

    play(story, [NFS])


def test_a_part_that_is_dropped_from_the_spec_is_put_down_in_order() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        began = cluster.now
        kept = NFS.model_dump(mode="json", exclude_none=True)["spec"]
        await cluster.change(
            "nfs", "spec", disks=kept["disks"][:1], addresses=kept["addresses"][:1], units=kept["units"][:1]
        )
        await cluster.run(30)
        assert after(cluster, began, "hosta") == [
            "2001:db8::37/64 removed",
            "nfs.service deactivating",
            "nfs.service inactive",
            "/srv/state unmounted",
            "disk nfs-state Secondary",
        ]
        await cluster.until_ready()
        await cluster.set_primary("nfs", "hostb")
        await cluster.until_ready()
        assert "nfs-state" not in things(cluster, "hostb")

    play(story, [NFS])


def test_a_part_dropped_while_the_agent_was_away_is_put_down_too() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.kill("hosta")
        await cluster.change("nfs", "spec", addresses=[{"address": "192.0.2.37/24"}])
        await cluster.run(30)
        assert "2001:db8::37/64" not in things(cluster, "hosta")
        await cluster.until_ready()

    play(story, [NFS])


def test_a_part_that_is_added_is_brought_up() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        more = [*NFS.model_dump(mode="json")["spec"]["addresses"], {"address": "192.0.2.99/24"}]
        await cluster.change("nfs", "spec", addresses=more)
        await cluster.run(10)
        assert "192.0.2.99/24" in things(cluster, "hosta")
        await cluster.until_ready()

    play(story, [NFS])


@pytest.mark.parametrize("fault", ["systemctl start git.service", "mount /srv/ct/git", "drbdadm primary git"])
def test_a_service_that_hangs_does_not_delay_another(fault: str) -> None:
    async def alone(cluster: Cluster) -> float:
        await cluster.until_ready("nfs")
        began = cluster.now
        await cluster.set_primary("nfs", "hostb")
        await cluster.until_ready("nfs")
        return cluster.now - began

    async def beside(cluster: Cluster) -> float:
        await cluster.until_ready()
        cluster.world.hosts["hostb"].faults[fault] = "hang"
        await cluster.set_primary("git", "hostb")
        await cluster.run(8)
        took = await alone(cluster)
        await cluster.run(60)
        assert missing(cluster.world, GIT, "hostb"), "git is Ready on hostb: it did not hang"
        return took

    assert play(beside, [NFS, GIT]) < play(alone, [NFS]) + 2


HEAD = '"kind":"Service","metadata":{"name":"nfs"},"spec":{"hosts":["a"]'
BROKEN_SPECS = {
    "garbage": "{]",
    "unknown-field": f'{{"apiVersion":"hactl/v1",{HEAD},"x":1}}}}',
    "unknown-version": f'{{"apiVersion":"hactl/v9",{HEAD}}}}}',
    "another-name": f'{{"apiVersion":"hactl/v1",{HEAD}}}}}'.replace("nfs", "git"),
    "1-mb": "x" * 1_000_000,
    "empty": "",
}


@pytest.mark.parametrize("text", BROKEN_SPECS.values(), ids=BROKEN_SPECS.keys())
def test_a_spec_that_is_none_leaves_its_service_as_it_is_and_the_others_go_on(text: str) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        before = things(cluster, "hosta")
        good = (await cluster.entry(service_key("nfs"))).value
        began = cluster.now
        await cluster.put(service_key("nfs"), text)
        await cluster.run(60)
        assert after(cluster, began, "hosta") == []
        assert things(cluster, "hosta") == before
        for host in cluster.hosts:
            status = await cluster.status("nfs", host)
            assert status is not None
            assert status.state == "Invalid"
            assert status.reason.startswith("the spec in etcd is not valid, so the service is left as it is: ")
            assert len(status.reason) < 500
        await cluster.set_primary("git", "hostb")
        await cluster.until_ready("git")
        cluster.kill("hosta")
        await cluster.run(30)
        await cluster.put(service_key("nfs"), good)
        await cluster.until_ready()
        assert not [text for text in after(cluster, began, "hosta") if "nfs" in text]

    play(story, [NFS, GIT])
