"""The failsafe: automatic services outlive an etcd that is away, while all who could take them promise not to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from loguru import logger

from reconciler.failsafe import NOTE, Key, Promises
from reconciler.linux import talking
from reconciler.loop import Options
from reconciler.mirror import Mirror
from reconciler.records import Event, Session, parse
from reconciler.sim.clock import simulate
from reconciler.sim.cluster import Cluster
from reconciler.sim.machine import SimMachine
from reconciler.sim.store import SimEtcd
from reconciler.spec import ServiceManifest, to_json
from reconciler.store import ROOT, death_key, host_key, owner_key, session_key
from resources.machine import MachineError
from tests.sim.services import service
from tests.unit.support import hosts, machine, simulated

KEY_FILE, KEY = "/etc/hactl/cluster.key", "a key that all of the hosts share"
WEB = service("web", failover="automatic")
W = 20.0  # seconds of the watchdog
OPTIONS = Options(watchdog="/dev/watchdog", watchdog_seconds=W)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logger.disable("reconciler")


async def told(
    cluster: Cluster, tell: Callable[[Cluster], Awaitable[None]], *, key: bool = True, addresses: bool = True
) -> None:
    for name, host in cluster.world.hosts.items():
        manifest = {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": name}}
        spec = {"addresses": [host.own_address]} if addresses else {}
        await cluster.put(host_key(name), to_json({**manifest, "spec": spec}))
        if key:
            host.files[KEY_FILE] = KEY
    await cluster.start(clients=False)
    await cluster.until_ready()
    await cluster.run(20)
    await tell(cluster)
    await cluster.run(0)
    cluster.over = True


def story(
    tell: Callable[[Cluster], Awaitable[None]], *services: ServiceManifest, key: bool = True, addresses: bool = True
) -> None:
    """Told on a cluster where web, automatic, is Ready on hosta; all hosts have watchdogs, the key and addresses."""

    async def run() -> None:
        await told(Cluster(1, services or (WEB,), OPTIONS), tell, key=key, addresses=addresses)

    simulate(run())


def no_etcd(cluster: Cluster, away: bool = True) -> None:
    """All of its members are stopped."""
    for member in (*cluster.hosts, "witness"):
        cluster.etcd.member(member, "stopped" if away else "up")


def serves(cluster: Cluster, host: str, name: str = "web") -> bool:
    place = cluster.world.hosts[host].place(name)
    return place is not None and bool(place.addresses) and place.unit(f"{name}.service").active == "active"


def failsafe(cluster: Cluster, host: str = "hosta") -> str:
    """Who keeps it, or why nobody does."""
    found = cluster.agents[host].agent.failsafe
    return " ".join(found.kept_by) or found.trouble


# -- the whole of it, on a cluster -------------------------------------------------------------------------------------


def test_it_runs_on_without_etcd_by_promise_and_the_watchdog_is_petted() -> None:
    async def tell(cluster: Cluster) -> None:
        no_etcd(cluster)
        for _ in range(300):
            await cluster.run(1)
            assert serves(cluster, "hosta")
        assert failsafe(cluster) == "hostb"
        assert cluster.world.hosts["hosta"].boots == 1
        no_etcd(cluster, away=False)
        for _ in range(120):
            await cluster.run(0.5)
            assert serves(cluster, "hosta")
        await cluster.until_ready()
        assert (failsafe(cluster), (await cluster.owner("web")).epoch) == ("", 1)
        listing = await cluster.desk.list(f"{ROOT}events/web/")
        events = [event for entry in listing.entries if (event := parse(Event, entry.value))]
        said = [(event.text, event.reason) for event in events if "promise" in event.text]
        assert said == [
            ("kept by promise of hostb", "etcd does not answer"),
            ("needs no promise any more", "etcd is back"),
        ]

    story(tell)


def test_cut_off_from_etcd_alone_it_is_not_taken_over_and_the_promise_outlasts_its_return() -> None:
    async def tell(cluster: Cluster) -> None:
        cluster.etcd.reach("hosta", up=False)
        for _ in range(200):
            await cluster.run(1)
            assert serves(cluster, "hosta")
        assert cluster.etcd.value(session_key("hosta")) is None
        status = await cluster.status("web", "hostb")
        assert status is not None
        assert status.witness is not None
        assert status.witness.promised
        cluster.etcd.reach("hosta", up=True)
        for _ in range(120):
            await cluster.run(0.5)
            assert serves(cluster, "hosta")
        assert (await cluster.owner("web")).epoch == 1

    story(tell)


@pytest.mark.parametrize("then", ["power", "lan"])
def test_a_host_that_lived_on_a_promise_and_dies_is_taken_over_once_that_has_ended(then: str) -> None:
    async def tell(cluster: Cluster) -> None:
        cluster.etcd.reach("hosta", up=False)
        await cluster.run(100)
        assert serves(cluster, "hosta")
        died = cluster.now
        if then == "power":
            cluster.power("hosta", False)
        else:
            cluster.link("hosta", "lan", False)
            cluster.link("hosta", "replication", False)
        while cluster.etcd.value(death_key("hosta", "boot-hosta-1")) is None:
            await cluster.run(0.1)
        # Its last promise may have been given just before, or be about to be renewed (0.4 of the lease).
        assert 9 + W < cluster.now - died < 15 + W + 5
        assert not serves(cluster, "hosta")
        await cluster.until(lambda: serves(cluster, "hostb"), 60)

    story(tell)


@pytest.mark.parametrize("lacks", ["key", "addresses", "another key", "the other host", "the lan"])
def test_without_a_promise_it_is_put_down_before_the_deadline(lacks: str) -> None:
    async def tell(cluster: Cluster) -> None:
        if lacks == "another key":
            cluster.world.hosts["hostb"].files[KEY_FILE] = "some other key, of sixteen and more"
            await cluster.run(40)
        if lacks == "the other host":
            cluster.power("hostb", False)
        if lacks == "the lan":
            cluster.link("hostb", "lan", False)
        said = cluster.agents["hosta"].agent.failsafe
        no_etcd(cluster)
        await cluster.run(16)
        assert not serves(cluster, "hosta")
        assert ("hostb does not answer" in said.trouble) == (lacks in ("another key", "the other host", "the lan"))
        if lacks == "key":
            assert said.lacks() == (
                f"the secret for promises between the hosts (the failsafe) is missing on this host: {KEY_FILE}",
            )
        if lacks == "addresses":
            assert "Host spec has no addresses" in said.trouble

    story(tell, key=lacks != "key", addresses=lacks != "addresses")


def test_what_this_host_lacks_is_in_its_session() -> None:
    async def tell(cluster: Cluster) -> None:
        found = parse(Session, cluster.etcd.value(session_key("hosta")) or "")
        assert found is not None
        assert KEY_FILE in found.lacks[0]
        assert found.promisers == ()
        cluster.world.hosts["hosta"].files[KEY_FILE] = KEY
        await cluster.run(60)
        found = parse(Session, cluster.etcd.value(session_key("hosta")) or "")
        assert found is not None
        assert (found.lacks, found.promisers) == ((), ("hostb",))

    story(tell, key=False)


def test_an_agent_that_is_started_again_with_etcd_away_asks_at_once() -> None:
    async def tell(cluster: Cluster) -> None:
        no_etcd(cluster)
        await cluster.run(60)
        cluster.kill("hosta")
        for _ in range(120):
            await cluster.run(1)
            assert serves(cluster, "hosta")
        assert failsafe(cluster) == "hostb"
        no_etcd(cluster, away=False)
        await cluster.until_ready()

    story(tell)


def test_who_could_take_none_of_its_services_is_not_asked() -> None:
    async def tell(cluster: Cluster) -> None:
        cluster.power("hostc", False)
        no_etcd(cluster)
        await cluster.run(60)
        assert serves(cluster, "hosta")
        assert failsafe(cluster) == "hostb"

    others = service("git", hosts=["hostb", "hostc"], primary="hostb", failover="automatic")
    story(tell, WEB, others)


def test_one_of_two_that_is_silent_is_enough_to_put_it_down() -> None:
    async def tell(cluster: Cluster) -> None:
        cluster.link("hostc", "lan", False)
        no_etcd(cluster)
        await cluster.run(16)
        assert not serves(cluster, "hosta")
        assert failsafe(cluster).startswith("hostc does not answer (198.51.100.3)")

    story(tell, service("web", hosts=["hosta", "hostb", "hostc"], failover="automatic"))


def test_a_host_that_the_spec_names_only_since_the_session_ended_proves_nothing() -> None:
    """It was not asked for a promise, so the watchdog that is petted by the promise of others says nothing to it."""

    async def tell(cluster: Cluster) -> None:
        cluster.etcd.reach("hosta", up=False)
        await cluster.run(30)
        await cluster.change("web", "spec", hosts=["hosta", "hostc", "hostb"])
        await cluster.run(120)
        assert cluster.etcd.value(death_key("hosta", "boot-hosta-1")) is None
        assert serves(cluster, "hosta")

    other = service("git", hosts=["hostc", "hostb"], primary="hostc")
    story(tell, WEB, other)


def test_a_promise_given_is_kept_even_if_a_human_says_meanwhile_that_the_host_is_dead() -> None:
    """No other is given after it: hosta puts the service down, then hostb takes it."""

    async def tell(cluster: Cluster) -> None:
        cluster.etcd.reach("hosta", up=False)
        await cluster.run(60)
        record = {"host": "hosta", "boot_id": "boot-hosta-1", "proof": "confirmed", "by": "eva", "at": "x"}
        await cluster.put(death_key("hosta", "boot-hosta-1"), to_json(record))
        began = cluster.now
        while serves(cluster, "hosta"):
            assert '"hosta"' in (cluster.etcd.value(owner_key("web")) or "")
            await cluster.run(0.1)
        assert 2 < cluster.now - began < 15
        await cluster.until(lambda: serves(cluster, "hostb"), 30)

    story(tell)


def test_what_somebody_says_is_to_be_elsewhere_is_not_kept_by_promise() -> None:
    """hosta cannot know of it: it is promised nothing any more, puts the service down, and its watchdog proves it."""

    async def tell(cluster: Cluster) -> None:
        cluster.etcd.reach("hosta", up=False)
        await cluster.run(60)
        assert serves(cluster, "hosta")
        await cluster.set_primary("web", "hostb")
        await cluster.run(16)
        assert not serves(cluster, "hosta")
        assert failsafe(cluster) == "hostb refuses: hostb is to have web, which hosta cannot know"
        await cluster.until(lambda: serves(cluster, "hostb"), 60)

    story(tell)


# -- the promiser ------------------------------------------------------------------------------------------------------


class Promiser:
    """hostb, and questions to it in hosta's name."""

    def __init__(self) -> None:
        self.etcd = SimEtcd(1)
        self.hands: SimMachine = machine(hosts().hosts["hostb"])
        self.hands.sim.files[KEY_FILE] = KEY
        self.mirror = Mirror(self.etcd.client("hostb"), self.hands, lambda _name: None)
        self.key = Key(self.hands, KEY_FILE)
        self.promises = Promises(self.hands, self.mirror, self.key, 7717)

    def question(self, sent: float = 1.0, **other: object) -> bytes:
        said = {"host": "hosta", "boot_id": "boot-hosta-1", "lease": 15.0, "sent": sent, "to": "hostb", "nonce": 0.5}
        return self.key.seal("question", {**said, **other})

    def says(self, question: bytes) -> str:
        """ "promise", the reason against it, or "" when it is not even answered."""
        answer = self.promises.answer(question)
        if answer is None:
            return ""
        found = self.key.open("answer", answer, question)
        assert found is not None
        assert found["by"] == "hostb"
        return "promise" if found["promise"] else str(found["why"])


@simulated
async def test_a_promise_lasts_a_lease_from_when_it_was_given_and_survives_its_agent() -> None:
    host = Promiser()
    host.key.look()
    assert not host.promises.holds_back("hosta")
    assert host.says(host.question()) == "promise"
    assert not host.promises.begin("hosta", "boot-hosta-1")
    await host.hands.sleep(14.9)
    assert Promises(host.hands, host.mirror, host.key, 7717).holds_back("hosta")
    assert host.promises.holds_back("hosta")
    await host.hands.sleep(0.2)
    assert not host.promises.holds_back("hosta")


@simulated
async def test_after_a_boot_what_may_have_been_promised_before_it_counts_until_a_lease_has_passed() -> None:
    host = Promiser()
    host.key.look()
    began = host.hands.monotonic()
    assert host.promises.may_have_promised("hosta", 15) == began + 15
    await host.hands.sleep(3)
    host.says(host.question())
    again = Promises(host.hands, host.mirror, host.key, 7717)
    assert again.may_have_promised("hosta", 15) == again.promised("hosta") == began + 18
    host.hands.sim.files[NOTE] = "garbage"
    again = Promises(host.hands, host.mirror, host.key, 7717)
    assert again.may_have_promised("hosta", 15) == began + 18


@simulated
async def test_a_question_that_is_repeated_or_older_makes_no_promise_longer() -> None:
    host = Promiser()
    host.key.look()
    assert host.says(host.question(5.0)) == "promise"
    until = host.promises.promised("hosta")
    await host.hands.sleep(3)
    assert host.says(host.question(5.0)) == "promise"
    assert host.promises.promised("hosta") == until
    assert host.says(host.question(4.0)) == "this question is older than another that was answered"
    assert host.says(host.question(6.0)) == "promise"
    assert host.promises.promised("hosta") == until + 3


@simulated
async def test_what_was_begun_against_it_is_not_promised_away() -> None:
    host = Promiser()
    host.key.look()
    assert host.promises.begin("hosta", "boot-hosta-1")
    assert host.says(host.question()) == "hostb has begun to take over from it"
    assert host.says(host.question(boot_id="boot-hosta-2")) == "promise", "another incarnation"
    host.promises.end("hosta", "boot-hosta-1")
    assert host.says(host.question()) == "promise"


@simulated
async def test_the_dead_and_the_rebooted_are_promised_nothing() -> None:
    host = Promiser()
    host.key.look()
    host.mirror.note(death_key("hosta", "boot-hosta-1"), "{}", 5)
    assert host.says(host.question()) == "hostb has begun to take over from it"
    session = Session(host="hosta", boot_id="boot-hosta-3", version="0", since="x")
    host.mirror.note(session_key("hosta"), session.line(), 6)
    assert host.says(host.question(boot_id="boot-hosta-2")) == "hosta has rebooted since"


@simulated
async def test_nobody_without_the_key_is_answered_and_no_answer_fits_another_question() -> None:
    host = Promiser()
    assert host.says(host.question()) == "", "no key was read yet"
    host.key.look()
    good = host.question()
    for bad in (b"", b"x", good[:-1], good.replace(b"hosta", b"hostx"), b"0" * 64 + good[64:], good.upper()):
        assert host.promises.answer(bad) is None
    assert host.promises.answer(host.key.seal("answer", {"by": "hostb", "promise": True})) is None
    assert host.promises.answer(host.question(lease="long")) is None
    assert host.says(host.question(to="hostc")) == "this is hostb, not hostc"
    answer = host.promises.answer(good)
    assert answer is not None
    assert host.key.open("answer", answer, host.question(2.0)) is None


@simulated
async def test_a_key_that_is_too_short_is_none() -> None:
    host = Promiser()
    host.hands.sim.files[KEY_FILE] = "short\n"
    host.key.look()
    assert (host.key.there, "too short" in host.key.trouble) == (False, True)


# -- over a real network -----------------------------------------------------------------------------------------------


async def test_a_line_there_and_a_line_back_and_nobody_waits_for_ever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def answer(message: bytes) -> bytes | None:
        return None if message == b"who are you" else message[::-1]

    assert await talking.ask("127.0.0.1", port, b"abc", 0.3) is None
    serving = asyncio.create_task(talking.serve(port, answer))
    async with asyncio.timeout(20):  # a busy machine takes its time to listen
        while (said := await talking.ask("127.0.0.1", port, b"abc", 2)) is None:
            pass
    assert said == b"cba"
    assert await talking.ask("127.0.0.1", port, b"who are you", 2) is None
    assert await talking.ask("127.0.0.1", port, b"x" * 9000, 2) is None
    with pytest.raises(MachineError, match=f"port {port} cannot be listened to"):
        await talking.serve(port, answer)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # somebody who accepts and says nothing
        port = silent.getsockname()[1]
        assert await talking.ask("127.0.0.1", port, b"abc", 0.3) is None


@simulated
async def test_a_key_that_others_may_read_is_none_until_they_may_not() -> None:
    host = Promiser()
    host.hands.sim.open_files.add(KEY_FILE)
    host.key.look()
    assert (host.key.there, "chmod 600" in host.key.trouble) == (False, True)
    host.hands.sim.open_files.clear()
    host.key.look()
    assert (host.key.there, host.key.trouble) == (True, "")
