"""Every rule's checker is seen to find what it looks for: the world is broken by hand, behind the agents' backs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.sim.cluster import Broken, Cluster, play
from reconciler.sim.drbd import Copy, Resource, Write
from reconciler.sim.rules import missing
from reconciler.sim.world import Place, Unit
from reconciler.store import Txn, outdated_key
from resources.machine import Address, Mounted
from tests.sim.services import GIT, NFS


def place(cluster: Cluster, host: str) -> Place:
    found = cluster.world.hosts[host].place("nfs")
    assert found is not None
    return found


def disk(cluster: Cluster) -> Resource:
    return cluster.world.disks["nfs-data"]


# -- rule 1: never two -------------------------------------------------------------------------------------------------


def two_primaries(cluster: Cluster) -> None:
    disk(cluster).copies["hostb"].role = "Primary"


def two_mounts(cluster: Cluster) -> None:
    place(cluster, "hostb").mounts.append(Mounted("/elsewhere", "147:1", "ext4", "/dev/drbd1", False))


def two_addresses(cluster: Cluster) -> None:
    place(cluster, "hostb").addresses.append(Address("eth1", "192.0.2.37/32"))


def two_units(cluster: Cluster) -> None:
    place(cluster, "hostb").units["nfs.service"] = Unit("deactivating", "stop")


def two_containers(cluster: Cluster) -> None:
    cluster.world.hosts["hostb"].domains["git"].place = Place("git")


# -- rule 2: a copy that is not current is promoted --------------------------------------------------------------------


def only_on_hostb(cluster: Cluster) -> Copy:
    """Demoted by hand on hosta and promoted on hostb."""
    disk(cluster).copies["hosta"].role = "Secondary"
    cluster.world.happened("hosta", "disk nfs-data Secondary")
    disk(cluster).copies["hostb"].role = "Primary"
    return disk(cluster).copies["hostb"]


def promoted_while_inconsistent(cluster: Cluster) -> None:
    only_on_hostb(cluster).disk = "Inconsistent"


def promoted_without_a_write(cluster: Cluster) -> None:
    only_on_hostb(cluster).data = Write()


def promoted_though_marked(cluster: Cluster) -> None:
    only_on_hostb(cluster)
    cluster.etcd.keys.apply(Txn({}, {outdated_key("nfs-data", "hostb"): ("{}", 0)}))


# -- rule 3: an acknowledged write is lost -----------------------------------------------------------------------------


def no_copy_has_it(cluster: Cluster) -> None:
    disk(cluster).acknowledged = Write(disk(cluster).acknowledged.depth + 1, disk(cluster).acknowledged)


def served_without_it(cluster: Cluster) -> None:
    disk(cluster).copies["hosta"].data = Write()


def acknowledged_on_a_copy_that_lacks_one(cluster: Cluster) -> None:
    there = disk(cluster)
    for copy in there.copies.values():
        copy.data = there.acknowledged.before or Write()
    there.write("hosta", lambda: None)
    there.acknowledged = there.copies["hosta"].data  # what is left of it is the record alone


FOUND: dict[Callable[[Cluster], None], str] = {
    two_primaries: "rule 1: Primary of disk nfs-data on both hosta and hostb",
    two_mounts: "rule 1: /dev/drbd1 mounted on both hosta and hostb",
    two_addresses: "rule 1: address 192.0.2.37 on both hosta and hostb",
    two_units: "rule 1: unit nfs.service of nfs on both hosta and hostb",
    two_containers: "rule 1: container git on both hosta and hostb",
    promoted_while_inconsistent: "rule 2: disk nfs-data is promoted on hostb while Inconsistent",
    promoted_without_a_write: "rule 2: disk nfs-data is promoted on hostb without writes",
    promoted_though_marked: "rule 2: disk nfs-data is promoted on hostb though etcd says",
    no_copy_has_it: "rule 3: disk nfs-data: no copy has every write",
    served_without_it: "rule 3: disk nfs-data is served by hosta without writes",
    acknowledged_on_a_copy_that_lacks_one: "rule 3: nfs-data: a write is acknowledged on a copy that lacks one",
}


@pytest.mark.parametrize("harm", FOUND, ids=[harm.__name__ for harm in FOUND])
def test_a_violation_is_found_at_the_next_event(harm: Callable[[Cluster], None]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(5)
        harm(cluster)
        cluster.world.happened("hostb", "something else")
        with pytest.raises(Broken) as e:
            await cluster.run(0)
        assert FOUND[harm] in str(e.value)
        raise e.value

    with pytest.raises(Broken):
        play(story, [NFS, GIT])


def test_a_violation_at_the_very_end_is_found_too() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        two_addresses(cluster)
        cluster.world.happened("hostb", "something else")

    with pytest.raises(Broken, match="rule 1"):
        play(story, [NFS])


def test_rules_are_looked_at_after_a_commit_to_etcd_as_well() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        two_addresses(cluster)
        await cluster.put("/hactl/anything", "")
        await cluster.run(0)

    with pytest.raises(Broken, match="rule 1"):
        play(story, [NFS])


# -- rule 4: it is Ready on its primary --------------------------------------------------------------------------------


def stop_unit(cluster: Cluster) -> None:
    place(cluster, "hosta").units["nfs.service"].active = "inactive"


def take_address(cluster: Cluster) -> None:
    addresses = place(cluster, "hosta").addresses
    addresses[:] = [one for one in addresses if one.address != "2001:db8::37/64"]


def take_mount(cluster: Cluster) -> None:
    place(cluster, "hosta").mounts.pop()


def take_disk(cluster: Cluster) -> None:
    disk(cluster).copies["hosta"].role = "Secondary"


def take_container(cluster: Cluster) -> None:
    cluster.world.hosts["hosta"].domains["nfs"].place = None


def freeze(cluster: Cluster) -> None:
    cluster.world.hosts["hosta"].thawed.clear()


MISSED: dict[Callable[[Cluster], None], str] = {
    stop_unit: "unit nfs.service",
    take_address: "address 2001:db8::37/64",
    take_mount: "mount /srv/state",
    take_disk: "Primary of nfs-data",
    take_container: "nfs does not run",
    freeze: "nfs does not run",
}


@pytest.mark.parametrize("harm", MISSED, ids=[harm.__name__ for harm in MISSED])
def test_what_a_ready_service_lacks_is_found(harm: Callable[[Cluster], None]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        assert missing(cluster.world, NFS, "hosta") == []
        harm(cluster)
        assert any(MISSED[harm] in found for found in missing(cluster.world, NFS, "hosta"))
        assert MISSED[harm] in await cluster.not_ready("nfs")
        cluster.world.hosts["hosta"].thawed.set()

    play(story, [NFS])


def test_a_service_that_nobody_starts_is_not_ready() -> None:
    async def story(cluster: Cluster) -> None:
        cluster.restarts = False
        cluster.kill("hosta")
        await cluster.until_ready(within=30)

    with pytest.raises(Broken, match="nfs is not Ready after 30 s"):
        play(story, [NFS])


# -- agents ------------------------------------------------------------------------------------------------------------


def test_an_agent_that_ends_by_itself_is_found() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.agents["hostb"].task.cancel()
        await cluster.run(1)

    with pytest.raises(Broken, match="the agent of hostb crashed"):
        play(story, [NFS])
