"""A service that is everywhere: on all of its hosts, without an owner or etcd; and how a service becomes one."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.records import Status
from reconciler.sim import hands
from reconciler.sim.cluster import Broken, Cluster, play
from reconciler.sim.rules import missing
from reconciler.sim.world import Unit
from reconciler.spec import ServiceManifest
from reconciler.store import ROOT, owner_key, service_key
from tests.sim.services import NFS, service

ADDRESSES = [{"address": "192.0.2.53/24", "host": "hosta"}, {"address": "192.0.2.54/24", "host": "hostb"}]


def everywhere(name: str = "dns", **changes: Any) -> ServiceManifest:
    fields: dict[str, Any] = {"primary": None, "disks": [], "addresses": ADDRESSES, "mode": "everywhere", **changes}
    made = service(name, **{**fields, "primary": "hosta", "mode": "exclusive", "addresses": []})
    document = made.model_dump(mode="json", exclude_unset=True)
    spec = {key: value for key, value in {**document["spec"], **fields}.items() if value not in (None, [])}
    return ServiceManifest.model_validate({**document, "spec": spec})


PAUSED = {"at": "2026-11-24T07:00:00Z", "by": "root"}
DNS = everywhere()
ONCE = service("dns", disks=[], addresses=[{"address": "192.0.2.53/24"}])


def things(cluster: Cluster, host: str) -> list[str]:
    """All of a container that a host runs."""
    place = cluster.world.hosts[host].place("dns")
    if place is None:
        return []
    return [one.address for one in place.addresses] + [n for n, one in place.units.items() if one.active == "active"]


def told(cluster: Cluster, since: float) -> list[str]:
    return [f"{host} {text}" for at, host, text in cluster.world.log if at > since]


async def state(cluster: Cluster, host: str) -> Status:
    status = await cluster.status("dns", host)
    assert status is not None
    return status


def test_it_is_on_all_of_its_hosts_with_an_address_each_and_nobody_owns_it() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        assert things(cluster, "hosta") == ["192.0.2.53/24", "dns-first.service", "dns.service"]
        assert things(cluster, "hostb") == ["192.0.2.54/24", "dns-first.service", "dns.service"]
        assert await cluster.desk.get(owner_key("dns")) is None
        assert [(one.role, one.target) for one in [await state(cluster, host) for host in cluster.hosts]] == [
            ("active", None),
            ("active", None),
        ]
        cluster.power("hosta", False)
        before, cluster.clients["dns"].longest = cluster.now, 0.0
        await cluster.run(60)
        assert [line for line in told(cluster, before) if line.startswith("hostb")] == []
        cluster.power("hosta", True)
        await cluster.until_ready()
        assert cluster.clients["dns"].longest < 1

    play(story, [DNS])


def test_nothing_waits_for_it_to_come_up() -> None:
    async def story(cluster: Cluster) -> None:
        for host in cluster.world.hosts.values():
            host.faults["start-container dns"] = "hang"
        await cluster.start()
        await cluster.until_ready("nfs", within=12)
        for host in cluster.world.hosts.values():
            host.faults.clear()
        await cluster.until_ready()

    play(story, [NFS, DNS], start=False)


@pytest.mark.parametrize("killed", [(), ("hosta",), ("hosta", "hostb")])
def test_etcd_away_changes_nothing_and_what_fails_is_put_right(killed: tuple[str, ...]) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        for member in cluster.etcd.members:
            cluster.etcd.member(member, "stopped")
        for host in killed:
            cluster.kill(host)
        await cluster.run(60)
        before = cluster.now
        place = cluster.world.hosts["hosta"].place("dns")
        assert place is not None
        cluster.world.hosts["hosta"].set_unit(place, "dns.service", "inactive", "dead")
        await cluster.run(5)
        assert "hosta dns.service active" in told(cluster, before)
        assert not any("hostb" in line for line in told(cluster, before))

    play(story, [DNS])


def test_a_host_that_boots_while_etcd_is_away_starts_it() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(5)
        for host in cluster.hosts:
            cluster.power(host, False)
        for member in cluster.etcd.members:
            cluster.etcd.member(member, "stopped")
        await cluster.run(10)
        cluster.power("hosta", True)
        for member in cluster.etcd.members:
            cluster.etcd.member(member, "stopped")
        await cluster.run(30)
        assert not missing(cluster.world, DNS, "hosta")

    play(story, [DNS])


def test_a_host_that_was_declared_dead_keeps_it() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        before = cluster.now
        cluster.link("hosta", "lan", False)
        await cluster.run(30)
        await cluster.confirm_dead("hosta")
        cluster.link("hosta", "lan", True)
        await cluster.run(60)
        assert [line for line in told(cluster, before) if "service" in line or "192.0.2.53" in line] == []
        await cluster.until_ready()

    play(story, [DNS])


def test_a_host_that_leaves_hosts_puts_it_down_and_is_told_so() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.change("dns", "spec", hosts=["hostb"], addresses=ADDRESSES[1:])
        await cluster.run(20)
        assert cluster.world.hosts["hosta"].place("dns") is None
        assert (await state(cluster, "hosta")).role == "absent"
        assert things(cluster, "hostb") == ["192.0.2.54/24", "dns-first.service", "dns.service"]
        await cluster.change("dns", "spec", hosts=["hosta", "hostb"], addresses=ADDRESSES)
        await cluster.until_ready()

    play(story, [DNS])


def test_an_address_goes_to_the_other_host_once_it_is_gone_from_the_first() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.change("dns", "spec", addresses=[{**one, "host": "hostb"} for one in ADDRESSES])
        await cluster.run(60)
        assert things(cluster, "hosta") == ["dns-first.service", "dns.service"]
        assert things(cluster, "hostb")[:2] == ["192.0.2.54/24", "192.0.2.53/24"]
        await cluster.until_ready()

    play(story, [DNS])


def test_an_address_that_is_for_the_other_host_is_put_down() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        hands.remove_address(cluster, "hostb", "dns", "192.0.2.54/24")
        hands.add_address(cluster, "hosta", "dns", "eth0", "192.0.2.54/24")
        await cluster.run(60)
        assert things(cluster, "hosta")[0] == "192.0.2.53/24"
        assert "192.0.2.54/24" not in things(cluster, "hosta")
        await cluster.until_ready()

    play(story, [DNS])


@pytest.mark.parametrize("away", ["", "agent", "power"])
def test_it_is_deleted_once_every_host_has_said_that_it_is_gone(away: str) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        if away == "agent":
            cluster.restarts = False
            cluster.kill("hosta")
            await cluster.run(30)
        if away == "power":
            cluster.power("hosta", False)
            await cluster.run(30)
        await cluster.change("dns", "metadata", deleted={"at": "2026-11-24T07:00:00Z", "by": "root"})
        await cluster.run(60)
        assert cluster.world.hosts["hostb"].place("dns") is None
        if away:
            assert await cluster.desk.get(service_key("dns")) is not None
            assert (await state(cluster, "hostb")).reason == "being deleted; waits for hosta"
            cluster.power("hosta", True)
            cluster.start_agent("hosta")
            await cluster.run(60)
        assert [one.key for one in (await cluster.desk.list(ROOT)).entries if one.key.endswith("/dns")] == []
        assert cluster.world.hosts["hosta"].place("dns") is None

    play(story, [DNS])


def test_paused_it_is_left_as_it_is_on_all_of_its_hosts() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.change("dns", "metadata", paused=PAUSED)
        await cluster.run(5)
        before = cluster.now
        await cluster.run(1)
        hands.unit(cluster, "hosta", "dns", "dns.service", "failed")
        hands.destroy(cluster, "hostb", "dns")
        cluster.kill("hosta")
        await cluster.run(60)
        assert told(cluster, before) == [
            *("hosta dns.service failed", "hostb container dns stopped", "hosta agent killed", "hosta agent started")
        ]
        await hands.expect(cluster, "dns", "hosta", "Paused", "dns.service is failed")
        await cluster.change("dns", "metadata", paused=None)
        await cluster.until_ready()

    play(story, [DNS])


# -- from one mode to the other ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["", "kill-owner", "kill-other", "etcd"])
def test_an_owner_lets_go_before_it_is_everywhere(fault: str) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        before = cluster.now
        if fault == "etcd":
            cluster.link("hosta", "lan", False)
        await cluster.apply(DNS)
        if fault.startswith("kill"):
            await cluster.run(0.7)
            cluster.kill("hosta" if fault == "kill-owner" else "hostb")
        if fault == "etcd":
            await cluster.run(60)
            assert things(cluster, "hostb") == []
            cluster.link("hosta", "lan", True)
        await cluster.until_ready()
        assert await cluster.desk.get(owner_key("dns")) is None
        lines = told(cluster, before)
        assert lines.index("hosta dns-first.service inactive") < lines.index("hostb dns-first.service activating")

    play(story, [ONCE])


def test_an_owner_that_is_dead_is_proven_so_before_it_is_everywhere() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.masked.add("hosta")
        cluster.power("hosta", False)
        await cluster.run(30)
        await cluster.apply(DNS)
        await cluster.run(60)
        assert things(cluster, "hostb") == []
        assert "confirm-dead hosta" in (await state(cluster, "hostb")).reason
        await cluster.confirm_dead("hosta")
        await cluster.until_ready()

    play(story, [ONCE])


# -- the rules ---------------------------------------------------------------------------------------------------------


def test_rule_1_still_holds_for_what_is_beside_it() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        await cluster.run(5)
        place = cluster.world.hosts["hostb"].place("nfs")
        assert place is not None
        place.units["nfs.service"] = Unit("active", "running")
        cluster.world.happened("hostb", "something else")
        await cluster.run(0)

    with pytest.raises(Broken, match=r"rule 1: unit nfs\.service of nfs on both hosta and hostb"):
        play(story, [NFS, DNS])


def test_rule_1_holds_for_its_addresses() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        there = cluster.world.hosts["hosta"].place("dns")
        other = cluster.world.hosts["hostb"].place("dns")
        assert there is not None
        assert other is not None
        other.addresses += there.addresses
        cluster.world.happened("hostb", "something else")
        await cluster.run(0)

    with pytest.raises(Broken, match=r"rule 1: address 192\.0\.2\.53 on both hosta and hostb"):
        play(story, [DNS])
