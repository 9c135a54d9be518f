"""A service in another's container: it comes where that runs, moves by itself, and leaves the container alone."""

from __future__ import annotations

import pytest

from reconciler.guests import placed
from reconciler.sim import hands
from reconciler.sim.cluster import Cluster, play
from reconciler.sim.rules import missing
from reconciler.spec import ServiceManifest, to_json
from reconciler.store import owner_key, service_key
from tests.sim.services import service
from tests.sim.test_everywhere import DNS

DHCP = service(
    "dhcp",
    container={"of": "dns"},
    disks=[{"resource": "dhcp-leases", "mount": "/var/lib/dhcp"}],
    addresses=[{"address": "192.0.2.67/24"}],
    units=["dhcpd.service"],
)


def containers(cluster: Cluster) -> list[str]:
    return [f"{host} {text}" for _, host, text in cluster.world.log if text.startswith("container ")]


@pytest.mark.parametrize("killed", ["", "hosta", "hostb"])
def test_it_moves_and_the_container_stays_as_it_is(killed: str) -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        started = ["hosta container dns started", "hostb container dns started"]
        assert sorted(containers(cluster)) == started
        await cluster.run(5)
        await cluster.set_primary("dhcp", "hostb")
        if killed:
            await cluster.run(0.7)
            cluster.kill(killed)
        await cluster.until_ready()
        assert sorted(containers(cluster)) == started
        assert missing(cluster.world, placed(DHCP, "dns"), "hosta")
        await cluster.change("dhcp", "metadata", deleted={"at": "2026-11-24T07:00:00Z", "by": "root"})
        del cluster.services["dhcp"]
        await cluster.run(30)
        assert await cluster.desk.get(service_key("dhcp")) is None
        assert sorted(containers(cluster)) == started
        await cluster.until_ready()

    play(story, [DNS, DHCP])


def test_where_the_container_does_not_run_it_cannot_go() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.world.hosts["hostb"].faults["start-container dns"] = "fail"
        hands.destroy(cluster, "hostb", "dns")
        await cluster.run(10)
        await cluster.set_primary("dhcp", "hostb")
        await cluster.run(20)
        why = "container dns does not run here: service dns keeps it (hactl status dns)"
        await hands.expect(cluster, "dhcp", "hosta", "Ready", "cannot move to hostb:", why)
        assert (await cluster.owner("dhcp")).host == "hosta"
        cluster.world.hosts["hostb"].faults.clear()
        await cluster.until_ready()
        assert (await cluster.owner("dhcp")).host == "hostb"

    play(story, [DNS, DHCP])


def test_a_container_that_ends_under_it_is_started_by_its_own_service_and_the_guest_comes_back() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        for _ in range(3):
            hands.destroy(cluster, "hosta", "dns")
            await cluster.run(20)
        await cluster.until_ready(within=1)
        assert containers(cluster).count("hosta container dns started") == 4

    play(story, [DNS, DHCP])


def test_it_is_taken_over_after_a_power_cut() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        cluster.power("hosta", False)
        await cluster.run(20)
        await cluster.confirm_dead("hosta")
        await cluster.set_primary("dhcp", "hostb")
        await cluster.until_ready("dhcp")
        cluster.power("hosta", True)
        await cluster.until_ready()

    play(story, [DNS, DHCP])


def test_a_service_that_is_not_there_leaves_it_as_it_is_and_its_coming_is_heard_of() -> None:
    async def story(cluster: Cluster) -> None:
        cluster.rules.services = []
        await cluster.put(service_key("dhcp"), to_json(DHCP.model_dump(mode="json", exclude_unset=True)))
        for host in cluster.hosts:
            cluster.start_agent(host)
        await cluster.run(20)
        await hands.expect(cluster, "dhcp", "hosta", "Invalid", "spec.container.of: there is no service dns")
        assert await cluster.desk.get(owner_key("dhcp")) is None
        await cluster.apply(DNS)
        await cluster.until_ready(within=20)
        before = cluster.now
        await cluster.put(service_key("dns"), "{")
        await cluster.run(10)
        await hands.expect(cluster, "dhcp", "hosta", "Invalid", "the spec of dns is not valid")
        await cluster.apply(DNS)
        await cluster.until_ready(within=5)
        assert [line for at, _, line in cluster.world.log if at > before and "service" in line] == []

    play(story, [DNS, DHCP], start=False)


def test_a_domain_that_changes_takes_the_guest_with_it() -> None:
    async def story(cluster: Cluster) -> None:
        await cluster.until_ready()
        for host in cluster.world.hosts.values():
            host.domains["dns2"] = type(host.domains["dns"])("dns2")
        document = DNS.model_dump(mode="json", exclude_unset=True)
        moved = {**document, "spec": {**document["spec"], "container": {"domain": "dns2"}}}
        await cluster.apply(ServiceManifest.model_validate(moved))
        await cluster.run(60)
        await cluster.until_ready()
        assert cluster.world.hosts["hosta"].place("dns") is None

    play(story, [DNS, DHCP])
