"""The session: this incarnation lives as long as etcd says so, and doubts it before anyone else may."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from reconciler.guard import Guard
from reconciler.records import Session, parse
from reconciler.session import Asks, Options, SessionKeeper
from reconciler.sim.machine import SimMachine
from reconciler.sim.store import SimEtcd
from reconciler.store import Txn, death_key, session_key
from tests.unit.support import hosts, machine, simulated


@dataclass
class Host:
    """hosta's session keeper at work. `told`: how often it said that something changed."""

    etcd: SimEtcd = field(default_factory=lambda: SimEtcd(1))
    hands: SimMachine = field(default_factory=lambda: machine(hosts().hosts["hosta"]))
    told: int = 0
    empty: bool = True  # does its host hold nothing?

    def __post_init__(self) -> None:
        self.desk = self.etcd.client("desk")
        self.keeper = SessionKeeper(
            self.etcd.client("hosta"),
            self.hands,
            Options(),
            Guard(self.hands, "", 30),
            Asks(guarded=tuple, gives_up=lambda: None, empty=lambda _death: self.empty, changed=self._changed),
        )
        self.task = asyncio.create_task(self.keeper.run())

    def _changed(self) -> None:
        self.told += 1

    @property
    def key(self) -> str | None:
        return self.etcd.value(session_key("hosta"))


@simulated
async def test_it_begins_with_a_leased_key_and_lasts() -> None:
    host = Host()
    assert not host.keeper.connected
    await host.hands.sleep(1)
    found = parse(Session, host.key or "")
    assert found is not None
    assert (found.host, found.boot_id, found.lease, found.watchdog) == ("hosta", "boot-hosta-1", 15, 0)
    entry = await host.desk.get(session_key("hosta"))
    assert entry is not None
    assert (entry.lease > 0, entry.revision) == (True, host.keeper.revision)
    for _ in range(300):
        await host.hands.sleep(1)
        assert host.keeper.connected
    assert host.told == 1


@pytest.mark.parametrize("after", [0.5, 2.5, 4.9, 20.1, 21.0, 24.9, 27.3])
@simulated
async def test_it_stops_believing_before_the_key_is_gone(after: float) -> None:
    host = Host()
    await host.hands.sleep(after)
    host.etcd.reach("hosta", up=False)
    told = host.told
    while host.key is not None:
        believed = host.keeper.connected
        await host.hands.sleep(0.1)
    assert not believed
    assert not host.keeper.connected
    assert host.told > told


@simulated
async def test_one_that_was_lost_is_begun_again() -> None:
    host = Host()
    await host.hands.sleep(10)
    before = host.keeper.revision
    host.etcd.reach("hosta", up=False)
    await host.hands.sleep(60)
    assert host.key is None
    host.etcd.reach("hosta", up=True)
    await host.hands.sleep(30)
    assert host.keeper.connected
    assert host.keeper.revision > before


@simulated
async def test_a_short_silence_ends_no_session() -> None:
    host = Host()
    await host.hands.sleep(10)
    before = host.keeper.revision
    host.etcd.reach("hosta", up=False)
    await host.hands.sleep(6)
    host.etcd.reach("hosta", up=True)
    await host.hands.sleep(60)
    assert (host.keeper.revision, host.keeper.connected) == (before, True)


@simulated
async def test_the_deaths_of_earlier_incarnations_are_history_once_this_one_lives() -> None:
    host = Host()
    puts = {death_key("hosta", "boot-hosta-0"): ("{}", 0), death_key("hostb", "boot-hostb-0"): ("{}", 0)}
    await host.desk.commit(Txn({}, puts))
    await host.hands.sleep(5)
    assert host.etcd.value(death_key("hosta", "boot-hosta-0")) is None
    assert host.etcd.value(death_key("hostb", "boot-hostb-0")) is not None


@simulated
async def test_declared_dead_while_it_ran_it_is_alive_again_only_once_it_holds_nothing() -> None:
    host = Host(empty=False)
    await host.desk.commit(Txn({}, {death_key("hosta", "boot-hosta-1"): ("{}", 0)}))
    await host.hands.sleep(5)
    assert host.etcd.value(death_key("hosta", "boot-hosta-1")) is not None
    assert host.key is None
    host.empty = True
    await host.hands.sleep(5)
    assert host.etcd.value(death_key("hosta", "boot-hosta-1")) is None
    assert host.keeper.connected


@simulated
async def test_ending_it_takes_the_key_away_at_once() -> None:
    host = Host()
    await host.hands.sleep(5)
    host.task.cancel()
    await host.keeper.end()
    assert host.key is None


def test_the_margin_grows_with_the_lease() -> None:
    assert (Options(lease=3).margin, Options(lease=15).margin, Options(lease=60).margin) == (1, 3, 12)
