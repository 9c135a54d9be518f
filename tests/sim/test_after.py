"""A bring-up that waits for another service: for a time, and never where there is nothing to bring up."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.sim import hands
from reconciler.sim.cluster import Cluster, play
from reconciler.spec import ServiceManifest
from tests.sim.services import NFS, service
from tests.sim.test_everywhere import everywhere

LDAP_AT = [{"address": "192.0.2.38/24", "host": "hosta"}, {"address": "192.0.2.39/24", "host": "hostb"}]


def after(one: ServiceManifest, *services: str, within: float = 20, **more: Any) -> ServiceManifest:
    document = one.model_dump(mode="json", exclude_unset=True)
    waits = [{"service": name, "within": within} for name in services]
    return ServiceManifest.model_validate({**document, "spec": {**document["spec"], "after": waits, **more}})


LDAP = everywhere("ldap", container={"domain": "ldap"}, addresses=LDAP_AT)
NFS_AFTER = after(NFS, "ldap")


def when(cluster: Cluster, text: str, host: str = "hosta") -> list[float]:
    return [at for at, where, said in cluster.world.log if (where, said) == (host, text)]


def fail_ldap(cluster: Cluster, *, fail: bool = True) -> None:
    for host in cluster.world.hosts.values():
        host.faults = {"systemctl start ldap.service": "fail"} if fail else {}


def test_it_begins_once_the_other_is_ready() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        ready = min(when(cluster, "ldap.service active") + when(cluster, "ldap.service active", "hostb"))
        (first,) = when(cluster, "disk nfs-data Primary")
        assert ready < first < ready + 3

    play(story, [LDAP, NFS_AFTER])


def test_it_goes_on_without_it_and_what_runs_is_never_held_up() -> None:
    async def story(cluster: Cluster) -> None:
        fail_ldap(cluster)
        await cluster.start()
        await cluster.run(15)
        await hands.expect(cluster, "nfs", "hosta", "Starting", "waits for ldap to be Ready, 20 s at most")
        await cluster.until_ready("nfs")
        (first,) = when(cluster, "disk nfs-data Primary")
        assert 20 < first < 22
        cluster.kill("hosta")
        await cluster.run(10)
        before = cluster.now
        place = cluster.world.hosts["hosta"].place("nfs")
        assert place is not None
        cluster.world.hosts["hosta"].set_unit(place, "nfs.service", "failed", "failed", "exit-code")
        await cluster.until_ready("nfs", within=3)
        assert cluster.now - before < 3
        fail_ldap(cluster, fail=False)
        await cluster.until_ready()

    play(story, [LDAP, NFS_AFTER], start=False)


def test_etcd_away_it_knows_by_its_own_host() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(5)
        for host in cluster.hosts:
            cluster.power(host, False)
        await cluster.run(5)
        booted = cluster.now
        cluster.power("hosta", True)
        for member in cluster.etcd.members:
            cluster.etcd.member(member, "stopped")
        await cluster.run(60)
        ldap, dns = (max(when(cluster, f"{name}.service active")) for name in ("ldap", "dns"))
        assert booted < ldap < dns < booted + 20

    play(story, [LDAP, after(everywhere(), "ldap", within=60)])


@pytest.mark.parametrize("others", [("nfs",), ("git",)])
def test_services_that_wait_for_each_other_do_not(others: tuple[str, ...]) -> None:
    git = after(service("git", disks=[{"resource": "git", "mount": "/srv/git"}]), "nfs", within=60)

    async def story(cluster: Cluster) -> None:
        await cluster.until_ready(within=15)

    play(story, [after(NFS, *others, within=60), git])


def test_the_deadline_of_a_move_counts() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        fail_ldap(cluster)
        for host in cluster.hosts:
            hands.unit(cluster, host, "ldap", "ldap.service", "failed")
        await cluster.run(5)
        moved = cluster.now
        await cluster.set_primary("nfs", "hostb")
        await cluster.run(60)
        await cluster.until_ready("nfs")
        assert (await cluster.owner("nfs")).host == "hostb"
        (first,) = when(cluster, "disk nfs-data Primary", "hostb")
        assert 10 < first - moved < 14  # half of the deadline: the rest is for the bring-up
        fail_ldap(cluster, fail=False)
        await cluster.until_ready()

    play(story, [LDAP, after(NFS, "ldap", within=300, deadline=20)])


def test_what_comes_back_from_a_move_that_failed_waits_for_nobody() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        fail_ldap(cluster)
        cluster.world.hosts["hostb"].faults["systemctl start nfs.service"] = "fail"
        for host in cluster.hosts:
            hands.unit(cluster, host, "ldap", "ldap.service", "failed")
        await cluster.run(5)
        moved = cluster.now
        await cluster.set_primary("nfs", "hostb")
        await cluster.run(40)
        await cluster.until_ready("nfs", within=1)
        assert (await cluster.owner("nfs")).host == "hosta"
        assert 20 < when(cluster, "disk nfs-data Primary")[-1] - moved < 30
        fail_ldap(cluster, fail=False)
        await cluster.until_ready()

    play(story, [LDAP, after(NFS, "ldap", within=300, deadline=20)])


def test_one_that_is_not_there_is_waited_for_as_long_and_no_longer() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready(within=30)
        assert when(cluster, "disk nfs-data Primary")[0] > 20

    play(story, [NFS_AFTER])
