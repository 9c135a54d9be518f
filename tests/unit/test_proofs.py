"""Proofs of death: what is written of an owner that has no session, by whom, when, and never too early."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler.failsafe import Key, Promises
from reconciler.mirror import Absence, Mirror
from reconciler.ownership import View
from reconciler.proofs import HASTE, Proofs, guards, patience
from reconciler.publish import Leases
from reconciler.records import Death, Owner, Session, parse
from reconciler.sim.store import SimEtcd
from reconciler.sim.world import World
from reconciler.spec import to_json, validate
from reconciler.store import Txn, death_key, host_key, owner_key, service_key, session_key, word_key
from tests.unit.support import boot_id, hosts, machine, manifest, owned, session, simulated, view

AUTOMATIC: dict[str, Any] = {"failover": "automatic"}
MANUAL: dict[str, Any] = {"failover": "manual"}
W = 10.0


def guarded(boot: int = 1, **words: Any) -> Session:
    return session("hosta", boot).model_copy(update={"watchdog": W, "guards": ("nfs",), **words})


# -- what a last word is worth -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "last", "seen", "worth"),
    [
        ("it guards it", guarded(), view(owned("hosta"), fields=AUTOMATIC), W),
        ("nothing is known", None, view(owned("hosta"), fields=AUTOMATIC), 0),
        ("nothing guards it", guarded(watchdog=0, guards=()), view(owned("hosta"), fields=AUTOMATIC), 0),
        ("another service", guarded(guards=("git",)), view(owned("hosta"), fields=AUTOMATIC), 0),
        ("another incarnation", guarded(2), view(owned("hosta"), fields=AUTOMATIC), 0),
        ("a manual service", guarded(), view(owned("hosta"), fields=MANUAL), 0),
        ("it asks hostb", guarded(promisers=("hostb", "hostc")), view(owned("hosta"), fields=AUTOMATIC), W),
        ("it asks hostc alone", guarded(promisers=("hostc",)), view(owned("hosta"), fields=AUTOMATIC), 0),
        ("nobody owns it", guarded(), view(fields=AUTOMATIC), 0),
    ],
)
def test_what_a_last_word_promises(case: str, last: Session | None, seen: View, worth: float) -> None:
    assert guards(Absence(0.0, last, 7), seen, "hostb") == worth, case


def test_two_clocks_are_never_quite_as_fast() -> None:
    assert patience(W) * 0.99 > W * 1.01


# -- a host that proves ------------------------------------------------------------------------------------------------


class Standing:
    """A session that stands as long as it is told to."""

    def __init__(self) -> None:
        self.connected, self.revision = True, 0


@dataclass
class Prover:
    """hostb, which has a session; hosta owns nfs. `world.cut_power` is what its fence device does."""

    etcd: SimEtcd = field(default_factory=lambda: SimEtcd(1))
    world: World = field(default_factory=hosts)

    def __post_init__(self) -> None:
        self.desk = self.etcd.client("desk")
        self.session = Standing()
        hands, store = machine(self.world.hosts["hostb"]), self.etcd.client("hostb")
        self.hands = hands
        mirror = Mirror(store, hands, lambda _name: None)
        promises = Promises(hands, mirror, Key(hands, "/none"), 1)
        self.proofs = Proofs(store, hands, mirror, self.session, Leases(store, hands), promises)  # type: ignore[arg-type]
        self.tasks = [asyncio.create_task(mirror.run())]

    async def begin(self, last: Session | None, *, fencing: bool = False, **fields: Any) -> None:
        """hosta has a session with these words and owns nfs; hostb has one; hostb's proofs are at work."""
        text = to_json(manifest(**fields).model_dump(mode="json", exclude_none=True))
        await self.put(service_key("nfs"), text)
        await self.put(owner_key("nfs"), owned("hosta", 1).line())
        if last is not None:
            await self.says(last)
        await self.put(session_key("hostb"), session("hostb").line())
        self.session.revision = self.etcd.keys.entries[session_key("hostb")].revision
        if fencing:
            self.world.hosts["hostb"].files["/etc/hactl/secrets/bmc"] = "password=secret of hosta\n"
            device = {"agent": "fence_sim", "options": {"plug": "hosta"}, "secret": "bmc"}
            document = {"apiVersion": "hactl/v1", "kind": "Host", "metadata": {"name": "hosta"}}
            host = validate({**document, "spec": {"fencing": device}})
            await self.put(host_key("hosta"), to_json(host.model_dump(mode="json", exclude_none=True)))
        self.tasks.append(asyncio.create_task(self.proofs.run()))
        await asyncio.sleep(5)

    async def put(self, key: str, value: str) -> None:
        await self.desk.commit(Txn({}, {key: (value, 0)}))

    async def says(self, words: Session) -> None:
        key = {name: (words.line(), 0) for name in (session_key("hosta"), word_key("hosta"))}
        await self.desk.commit(Txn({}, key))

    async def goes(self) -> None:
        await self.desk.commit(Txn({}, {}, (session_key("hosta"),)))

    @property
    def death(self) -> Death | None:
        return parse(Death, self.etcd.value(death_key("hosta", boot_id("hosta"))) or "")

    @property
    def proof(self) -> str:
        return self.death.proof if self.death else ""


@simulated
async def test_a_watchdog_proves_it_after_w_and_a_margin_and_audited() -> None:
    prover = Prover()
    await prover.begin(guarded(), **AUTOMATIC)
    await asyncio.sleep(60)
    assert prover.death is None, "it has a session"
    await prover.goes()
    await asyncio.sleep(W + 2)
    assert prover.death is None
    await asyncio.sleep(3)
    assert prover.death is not None
    assert (prover.death.proof, prover.death.by, prover.death.guards) == ("watchdog", "hostb", ("nfs",))
    audits = prover.etcd.keys.listing("/hactl/audit/").entries
    assert ["dead: watchdog" in one.value for one in audits] == [True]


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ({"watchdog": 0, "guards": ()}, AUTOMATIC),
        ({"guards": ()}, AUTOMATIC),
        ({}, MANUAL),
        ({"promisers": ("hostc",)}, AUTOMATIC),
    ],
    ids=["unguarded", "not this service", "manual", "promises are asked of another"],
)
@simulated
async def test_without_such_a_promise_nothing_is_proven(words: dict[str, Any], fields: dict[str, Any]) -> None:
    prover = Prover()
    await prover.begin(guarded(**words), **fields)
    await prover.goes()
    await asyncio.sleep(120)
    assert prover.death is None


@simulated
async def test_it_counts_from_the_last_session_that_was() -> None:
    prover = Prover()
    await prover.begin(guarded(), **AUTOMATIC)
    await prover.goes()
    await asyncio.sleep(W)
    await prover.says(guarded(since="later"))
    await asyncio.sleep(1)
    await prover.goes()
    await asyncio.sleep(W + 2)
    assert prover.death is None


@simulated
async def test_a_session_that_was_begun_and_ended_unseen_takes_the_proof_away() -> None:
    """The watch is late, as a frozen host's is: what it has seen is that the session went, W and the margin ago."""
    prover = Prover()
    await prover.begin(guarded(), **AUTOMATIC)
    await prover.goes()
    await asyncio.sleep(W)
    prover.etcd.lag = 1e5
    await prover.says(guarded(watchdog=0, guards=()))
    await prover.goes()
    await asyncio.sleep(80)
    assert prover.death is None


@simulated
async def test_one_that_has_only_just_begun_to_look_waits_as_long() -> None:
    prover = Prover()
    await prover.says(guarded())
    await prover.goes()
    await prover.begin(None, **AUTOMATIC)
    await asyncio.sleep(W - 4)
    assert prover.death is None
    await asyncio.sleep(8)
    assert prover.proof == "watchdog"


@simulated
async def test_without_a_session_of_its_own_a_host_proves_nothing() -> None:
    prover = Prover()
    await prover.begin(guarded(), **AUTOMATIC)
    prover.session.connected = False
    await prover.goes()
    await asyncio.sleep(60)
    assert prover.death is None


@simulated
async def test_a_session_that_is_not_the_one_in_etcd_proves_nothing() -> None:
    prover = Prover()
    await prover.begin(guarded(), fencing=True, **AUTOMATIC)
    prover.session.revision += 1
    await prover.goes()
    await asyncio.sleep(60)
    assert prover.death is None
    assert prover.world.hosts["hosta"].power


# -- fencing -----------------------------------------------------------------------------------------------------------

UNGUARDED: dict[str, Any] = {"watchdog": 0, "guards": ()}


@simulated
async def test_the_power_is_cut_of_what_nothing_else_proves_dead_but_not_in_haste() -> None:
    prover = Prover()
    await prover.begin(guarded(**UNGUARDED), fencing=True, **AUTOMATIC)
    await prover.goes()
    await asyncio.sleep(HASTE - 1)
    assert prover.world.hosts["hosta"].power
    await asyncio.sleep(5)
    assert not prover.world.hosts["hosta"].power
    assert prover.proof == "fenced"


@simulated
async def test_a_manual_service_is_fenced_for_only_by_who_is_to_have_it() -> None:
    prover = Prover()
    await prover.begin(guarded(), fencing=True, **MANUAL)
    await prover.goes()
    await asyncio.sleep(60)
    assert prover.world.hosts["hosta"].power
    await prover.put(service_key("nfs"), to_json(manifest(primary="hostb").model_dump(mode="json", exclude_none=True)))
    await asyncio.sleep(10)
    assert prover.proof == "fenced"


@simulated
async def test_who_waits_for_a_watchdog_cuts_no_power() -> None:
    prover = Prover()
    await prover.begin(guarded(), fencing=True, primary="hostb", **AUTOMATIC)
    await prover.goes()
    await asyncio.sleep(60)
    assert prover.proof == "watchdog"
    assert prover.world.hosts["hosta"].power


@simulated
async def test_a_watchdogs_death_becomes_a_fenced_one_for_a_manual_service() -> None:
    prover = Prover()
    await prover.begin(guarded(), fencing=True, **MANUAL)
    at = {"host": "hosta", "boot_id": boot_id("hosta"), "proof": "watchdog", "by": "hostb", "at": "now"}
    await prover.put(death_key("hosta", boot_id("hosta")), Death.model_validate({**at, "guards": ("git",)}).line())
    await prover.goes()
    await prover.put(service_key("nfs"), to_json(manifest(primary="hostb").model_dump(mode="json", exclude_none=True)))
    await asyncio.sleep(15)
    assert prover.proof == "fenced"


@simulated
async def test_a_host_that_is_back_while_this_one_was_late_to_hear_of_it_is_not_fenced() -> None:
    prover = Prover()
    await prover.begin(guarded(**UNGUARDED), fencing=True, **AUTOMATIC)
    await prover.goes()
    await asyncio.sleep(2)
    prover.etcd.lag = 1e5
    await prover.says(guarded(**UNGUARDED))
    await asyncio.sleep(60)
    assert prover.world.hosts["hosta"].power
    assert prover.death is None


@simulated
async def test_a_fence_agent_that_fails_is_no_proof_and_is_tried_again() -> None:
    prover = Prover()
    prover.world.hosts["hosta"].bmc = False
    await prover.begin(guarded(**UNGUARDED), fencing=True, **AUTOMATIC)
    await prover.goes()
    await asyncio.sleep(60)
    assert prover.death is None
    prover.world.hosts["hosta"].bmc = True
    await asyncio.sleep(60)
    assert prover.proof == "fenced"


# -- whose death it is -----------------------------------------------------------------------------------------------


def died(proof: Any, *names: str, owner: Owner | None = None) -> dict[tuple[str, str], Death]:
    who = owner or owned("hosta")
    death = Death(host=who.host, boot_id=who.boot_id, proof=proof, by="hostb", at="now", guards=names)
    return {(who.host, who.boot_id): death}


@pytest.mark.parametrize(
    ("case", "deaths", "fields", "proven"),
    [
        ("of what it guards", died("watchdog", "nfs"), AUTOMATIC, True),
        ("of what it does not", died("watchdog", "git"), AUTOMATIC, False),
        ("of what is manual by now", died("watchdog", "nfs"), MANUAL, False),
        ("a human's word is about all", died("confirmed"), MANUAL, True),
        ("power that is off is about all", died("fenced"), AUTOMATIC, True),
        ("another incarnation's", died("fenced", owner=owned("hosta", boot=2)), AUTOMATIC, False),
    ],
)
def test_whose_death_it_is(case: str, deaths: Any, fields: dict[str, Any], proven: bool) -> None:
    seen = view(owned("hosta"), sessions="hostb", deaths=deaths, fields=fields)
    assert bool(seen.death(owned("hosta"))) == proven, case
