"""Publish: statuses when they change and not otherwise, events as they come, and nothing lost while etcd is away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from loguru import logger

from reconciler.mirror import Mirror
from reconciler.publish import EVENTS_LAST, Leases, Publisher
from reconciler.records import Event, Progress, Status, parse
from reconciler.sim.machine import SimMachine
from reconciler.sim.store import SimEtcd, SimStore
from reconciler.store import Txn, event_key, status_key
from resources.kind import Role
from tests.unit.support import NOW, hosts, machine, simulated

READY = Status(role=Role.ACTIVE, state="Ready", since="", revision=3)
STARTING = Status(role=Role.ACTIVE, state="Starting", since="", reason="it does not run")


@dataclass
class Host:
    """hosta's publisher at work."""

    etcd: SimEtcd = field(default_factory=lambda: SimEtcd(1))
    hands: SimMachine = field(default_factory=lambda: machine(hosts().hosts["hosta"]))

    def __post_init__(self) -> None:
        self.store: SimStore = self.etcd.client("hosta")
        self.mirror = Mirror(self.store, self.hands, lambda _name: None)
        self.publisher = Publisher(self.store, self.hands, self.mirror)
        self.tasks = [asyncio.create_task(self.mirror.run()), asyncio.create_task(self.publisher.run())]

    def said(self, service: str = "nfs") -> Status | None:
        return parse(Status, self.etcd.value(status_key(service, "hosta")) or "")

    def events(self) -> list[str]:
        entries = self.etcd.keys.listing(event_key("nfs", "")).entries
        return [found.text for entry in entries if (found := parse(Event, entry.value))]


def event(text: str) -> Event:
    return Event(at=NOW, host="hosta", kind="step", text=text)


@simulated
async def test_what_is_said_is_written_and_what_is_said_again_is_not() -> None:
    host = Host()
    host.publisher.status("nfs", READY)
    await host.hands.sleep(1)
    revision = host.etcd.keys.revision
    assert host.said() == READY.model_copy(update={"since": "2026-11-24T07:00:00.000Z"})
    for _ in range(10):
        host.publisher.status("nfs", READY)
        await host.hands.sleep(1)
    assert host.etcd.keys.revision == revision


@simulated
async def test_a_dead_predecessors_words_that_come_late_do_not_stay() -> None:
    host = Host()
    host.publisher.status("nfs", READY)
    await host.hands.sleep(1)
    said = host.said()
    await host.etcd.client("hosta").commit(Txn({}, {status_key("nfs", "hosta"): (STARTING.line(), 0)}))
    await host.hands.sleep(1)
    host.publisher.status("nfs", READY)
    await host.hands.sleep(1)
    assert host.said() == said


@simulated
async def test_since_is_kept_while_the_state_stays() -> None:
    host = Host()
    host.publisher.status("nfs", STARTING)
    await host.hands.sleep(10)
    host.publisher.status("nfs", STARTING.model_copy(update={"reason": "it does not start"}))
    await host.hands.sleep(10)
    first = host.said()
    assert first is not None
    assert (first.reason, first.since) == ("it does not start", "2026-11-24T07:00:00.000Z")
    host.publisher.status("nfs", READY)
    await host.hands.sleep(1)
    second = host.said()
    assert second is not None
    assert second.since == "2026-11-24T07:00:20.000Z"


@simulated
async def test_an_agent_that_is_started_again_goes_on_from_what_it_said_before() -> None:
    host = Host()
    host.publisher.status("nfs", READY)
    await host.hands.sleep(30)
    revision = host.etcd.keys.revision
    successor = Host(host.etcd, host.hands)
    await successor.mirror.synced.wait()
    successor.publisher.status("nfs", READY)
    await host.hands.sleep(5)
    assert successor.said() == host.said()
    assert host.etcd.keys.revision == revision


@simulated
async def test_of_several_states_the_last_is_written_once_etcd_is_back() -> None:
    host = Host()
    host.etcd.reach("hosta", up=False)
    host.publisher.status("nfs", STARTING)
    host.publisher.status("dns", READY)
    host.publisher.event("nfs", event("disk nfs-home promoted"))
    await host.hands.sleep(60)
    host.publisher.status("nfs", READY)
    host.publisher.event("nfs", event("192.0.2.10/24 added"))
    host.etcd.reach("hosta", up=True)
    await host.hands.sleep(30)
    assert [found and found.state for found in (host.said(), host.said("dns"))] == ["Ready", "Ready"]
    assert host.events() == ["disk nfs-home promoted", "192.0.2.10/24 added"]


@simulated
async def test_many_events_are_written_in_their_order_and_vanish_by_themselves() -> None:
    host = Host()
    texts = [f"step {number}" for number in range(120)]
    for text in texts:
        host.publisher.event("nfs", event(text))
    await host.hands.sleep(5)
    assert host.events() == texts
    for task in host.tasks:
        task.cancel()  # a week of a watch's heartbeats says nothing here
    await host.hands.sleep(EVENTS_LAST + 60)
    assert host.events() == []


@simulated
async def test_a_drift_is_in_the_log_as_fields_too() -> None:
    told: list[dict[str, object]] = []
    sink = logger.add(lambda message: told.append(message.record["extra"]))
    logger.enable("reconciler")
    drifted = {"resource": "unit/a.service", "expected": "active", "observed": "failed (failed)", "cause": "signal"}
    fields = {"at": NOW, "host": "hosta", "kind": "drift", "text": "a.service is failed", **drifted}
    Host().publisher.event("nfs", Event.model_validate(fields))
    logger.remove(sink)
    assert told == [{"service": "nfs", "host": "hosta", "kind": "drift", "reason": "", **drifted}]


@simulated
async def test_progress_is_of_a_status_that_was_said_and_ends_with_the_next() -> None:
    host = Host()
    step = Progress(done=1, of=3, now="mount /srv")
    host.publisher.progress("nfs", step)
    await host.hands.sleep(1)
    assert host.said() is None
    host.publisher.status("nfs", STARTING)
    host.publisher.progress("nfs", step)
    await host.hands.sleep(1)
    assert (found := host.said()) is not None
    assert found.progress == step
    host.publisher.status("nfs", READY)
    await host.hands.sleep(1)
    assert (found := host.said()) is not None
    assert found.progress is None


@simulated
async def test_a_service_that_is_forgotten_says_nothing_more() -> None:
    host = Host()
    host.publisher.status("nfs", READY)
    host.publisher.forget("nfs")
    host.publisher.progress("nfs", Progress(done=1, of=3, now="mount /srv"))
    await host.hands.sleep(5)
    assert host.said() is None


@simulated
async def test_what_is_left_is_written_before_the_agent_stops() -> None:
    host = Host()
    for task in host.tasks:
        task.cancel()
    host.publisher.status("nfs", READY)
    await host.publisher.flush()
    assert host.said() is not None


@simulated
async def test_long_leases_are_shared_and_never_much_shorter_than_asked_for() -> None:
    etcd, hands = SimEtcd(1), machine(hosts().hosts["hosta"])
    leases = Leases(etcd.client("hosta"), hands)
    first = await leases.get(1000)
    await hands.sleep(90)
    assert await leases.get(1000) == first
    assert await leases.get(2000) != first
    await hands.sleep(20)
    assert await leases.get(1000) != first


@simulated
async def test_a_status_on_its_way_does_not_outlive_its_service() -> None:
    host = Host()
    host.etcd.slow = 1.0
    host.publisher.status("nfs", READY)
    await host.hands.sleep(0.1)
    host.publisher.forget("nfs")
    await host.hands.sleep(30)
    assert host.said() is None
