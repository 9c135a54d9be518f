"""Metrics tell what the world is like: as all is well, as something drifts, as etcd or the other host is away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from reconciler.metrics import Metrics
from reconciler.sim.cluster import Cluster, play
from tests.sim.services import NFS, service

ROOT = Path(__file__).resolve().parents[2]
WEB = service("web", failover="automatic", primary="hostb")


class Told:
    """What a host's agent tells at a moment."""

    def __init__(self, cluster: Cluster, host: str) -> None:
        text = Metrics(cluster.agents[host].agent.local).text().decode()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        self.names = {one.name for one in samples}
        self._found = {(one.name, frozenset(one.labels.items())): one.value for one in samples}

    def get(self, metric: str, **labels: str) -> float | None:
        return self._found.get((f"hactl_{metric}", frozenset(labels.items())))

    def one_of(self, metric: str, word: str, **labels: str) -> str:
        """The one that is 1."""
        name, asked = f"hactl_{metric}", frozenset(labels.items())
        [found] = [
            dict(key)[word] for (one, key), value in self._found.items() if one == name and asked <= key and value
        ]
        return found


def told(story: Callable[[Cluster], Awaitable[None]], host: str = "hosta") -> Told:
    """At the end of the story."""

    async def whole(cluster: Cluster) -> Told:
        await cluster.until_ready()
        await cluster.run(20)
        await story(cluster)
        return Told(cluster, host)

    return play(whole, [NFS, WEB])


async def nothing(cluster: Cluster) -> None:
    """All is well."""


def test_as_all_is_well() -> None:
    found = told(nothing)
    assert found.one_of("service_state", "state", service="nfs") == "Ready"
    assert found.one_of("service_role", "role", service="nfs") == "active"
    assert found.one_of("service_state", "state", service="web") == "Standby"
    assert found.one_of("service_role", "role", service="web") == "standby"
    assert [found.get("service_wanted", service=name) for name in ("nfs", "web")] == [1, 0]
    assert [found.get("service_could_move", service=name) for name in ("nfs", "web")] == [1, None]
    for host_metric in ("session_connected", "etcd_reachable"):
        assert found.get(host_metric) == 1
    age, left = found.get("session_age_seconds"), found.get("session_left_seconds")
    assert age is not None
    assert left is not None
    assert age < 6
    assert age + left == pytest.approx(12)  # a lease of 15 s, less its margin
    for metric in ("drifts_open", "drifts_total", "repairs_total", "step_failures_total", "half_switched"):
        assert found.get(metric, service="nfs") == 0
    passes, slow = found.get("pass_seconds_count"), found.get("pass_seconds_bucket", le="100.0")
    assert passes is not None
    assert passes > 3
    assert passes == slow
    look = found.get("service_look_age_seconds", service="nfs")
    assert look is not None
    assert look < 40
    assert [found.get("copies_marked", service="nfs", host=host) for host in ("hosta", "hostb")] == [0, 0]
    assert "process_cpu_seconds_total" in found.names


def test_a_drift_is_counted_as_it_appears_and_as_it_is_gone() -> None:
    async def removed(cluster: Cluster) -> None:
        place = cluster.world.hosts["hosta"].domains["nfs"].place
        assert place is not None
        cluster.world.hosts["hosta"].faults["add-address"] = "fail"
        address = place.addresses[-1]
        cluster.world.hosts["hosta"].remove_address(place, address.interface, address.address)
        await cluster.run(10)

    async def put_back(cluster: Cluster) -> None:
        await removed(cluster)
        cluster.world.hosts["hosta"].faults.clear()
        await cluster.until_ready()
        await cluster.run(10)

    found = told(removed)
    assert (found.get("drifts_open", service="nfs"), found.get("drifts_total", service="nfs")) == (1, 1)
    assert found.get("repairs_total", service="nfs") == 0
    failures = found.get("step_failures_total", service="nfs")
    assert failures is not None
    assert failures >= 1
    assert found.one_of("service_state", "state", service="nfs") == "Drift"
    after = told(put_back)
    assert (after.get("drifts_open", service="nfs"), after.get("drifts_total", service="nfs")) == (0, 1)
    assert after.get("repairs_total", service="nfs") == 1
    assert after.one_of("service_state", "state", service="nfs") == "Ready"


def test_without_etcd() -> None:
    async def away(cluster: Cluster) -> None:
        for member in cluster.etcd.members:
            cluster.etcd.member(member, "killed")
        await cluster.run(60)

    found = told(away)
    assert (found.get("etcd_reachable"), found.get("session_connected")) == (0, 0)
    assert (found.get("session_left_seconds"), found.get("safe_left_seconds")) == (0, 0)
    age = found.get("session_age_seconds")
    assert age is not None
    assert age > 60


def test_a_copy_that_lacks_writes_could_not_take_over() -> None:
    async def cut(cluster: Cluster) -> None:
        cluster.link("hosta", "replication", up=False)
        await cluster.run(30)

    found = told(cut)
    assert found.get("copies_marked", service="nfs", host="hostb") == 2
    assert found.get("copies_marked", service="nfs", host="hosta") == 0
    assert found.get("service_could_move", service="nfs") == 0


def test_each_metric_that_the_example_alerts_use_exists() -> None:
    rules = yaml.safe_load((ROOT / "examples/prometheus/hactl-alerts.yaml").read_text(encoding="utf-8"))
    used = {word for group in rules["groups"] for rule in group["rules"] for word in words(rule["expr"])}
    assert len(used) > 10
    assert used <= told(nothing).names


def words(expression: str) -> set[str]:
    """Those of ours in it."""
    cleaned = "".join(c if c.isalnum() or c == "_" else " " for c in expression)
    return {word for word in cleaned.split() if word.startswith("hactl_")}
