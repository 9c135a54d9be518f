"""What `reconciler.store.Store` promises while members are killed and stopped under calls, leases and watches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from reconciler.store import LeaseLost, Store, StoreUnreachable, Txn
from tests.contract.sites import PATIENCE, Site, now, story, watched

PUTS = 300
LONGEST = 9.0  # seconds of a call: an election, and attempts of a second at members that do not answer
LEASE = 12.0


@dataclass
class Fault:
    """What is done to which of the two: the member that the clients talk to is `first`."""

    leader: bool
    stopped: bool

    def strike(self, site: Site, member: int) -> None:
        (site.stop if self.stopped else site.kill)(member)


FAULTS = {
    "follower-killed": Fault(leader=False, stopped=False),
    "follower-stopped": Fault(leader=False, stopped=True),
    "leader-killed": Fault(leader=True, stopped=False),
    "leader-stopped": Fault(leader=True, stopped=True),
}


async def renew(store: Store, lease: int) -> None:
    """A third of the lease between renewals, until cancelled. Raises LeaseLost."""
    while True:
        await asyncio.sleep(LEASE / 3)
        await store.keep_alive(lease)


async def count_up(store: Store, key: str, strike_at: int, site: Site, fault: Fault, member: int) -> float:
    """PUTS transactions, each comparing what the last one wrote; the seconds of the slowest. A reply that was lost
    and taken for a refusal, or a request that was applied twice, would break the chain."""
    slowest, revision = 0.0, 0
    for i in range(PUTS):
        if i == strike_at:
            fault.strike(site, member)
        began = now()
        done = await store.commit(Txn({key: revision}, {key: (str(i), 0)}))
        assert done is not None, f"the transaction {i} was refused"
        slowest, revision = max(slowest, now() - began), done
    return slowest


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@story
async def test_a_lost_member_costs_seconds_and_nothing_else(site: Site, fault: Fault) -> None:
    leader = site.leader()
    member = leader if fault.leader else (leader + 1) % 3
    store, reader, key = site.client(member), site.client(member), site.prefix + "a"
    lease = await store.grant(LEASE)
    await store.commit(Txn({}, {site.prefix + "session": ("1", lease)}))
    renewing = asyncio.create_task(renew(store, lease))
    start = (await store.list(key)).revision
    seen = asyncio.create_task(watched(reader, key, start, lambda found: len(found) >= PUTS))
    slowest = await count_up(store, key, PUTS // 3, site, fault, member)
    assert slowest < LONGEST
    assert [change.entry.value for change in await seen if change.entry] == [str(i) for i in range(PUTS)]
    await asyncio.sleep(LEASE / 3 + 1)  # at least one renewal comes after the fault
    assert await store.keep_alive(lease) == LEASE
    assert not renewing.done()
    renewing.cancel()
    await store.revoke(lease)


@pytest.mark.parametrize("stopped", [False, True], ids=["killed", "stopped"])
@story
async def test_without_a_quorum_it_says_whom_it_tried_and_goes_on_afterwards(site: Site, stopped: bool) -> None:
    store, key = site.client(), site.prefix + "a"
    first = await store.commit(Txn({}, {key: ("1", 0)}))
    assert first is not None
    seen = asyncio.create_task(watched(store, site.prefix, first, lambda found: found[-1].key == key + "-end"))
    for member in (0, 1):
        (site.stop if stopped else site.kill)(member)
    began = now()
    with pytest.raises(StoreUnreachable) as e:
        await store.get(key)
    assert all(endpoint in str(e.value) for endpoint in site.endpoints)
    assert now() - began < PATIENCE / 2
    with pytest.raises(StoreUnreachable):
        await store.commit(Txn({key: first}, {key: ("2", 0)}))
    for member in (0, 1):
        site.up(member)
    await goes_on(store, key, first)
    changes = await seen
    values = [change.entry.value for change in changes if change.entry]
    assert values in (["2", "3", "end"], ["3", "end"])
    assert len({change.revision for change in changes}) == len(changes)


async def goes_on(store: Store, key: str, first: int) -> None:
    """What the unanswered transaction did may be seen only now, but it is decided once the next one is."""
    end = now() + PATIENCE
    while True:
        try:
            assert now() < end
            entry = await store.get(key)
            assert entry is not None
            third = await store.commit(Txn({key: entry.revision}, {key: ("3", 0)}))
            break
        except StoreUnreachable:
            await asyncio.sleep(0.2)
    if third is None:  # it came between the reading and the writing: now it has surely come
        entry = await store.get(key)
        assert entry is not None
        assert entry.value == "2"
        third = await store.commit(Txn({key: entry.revision}, {key: ("3", 0)}))
    assert third is not None
    assert third > first
    await asyncio.sleep(1)
    last = await store.get(key)
    assert last is not None
    assert last.value == "3"
    await store.commit(Txn({key: third}, {key + "-end": ("end", 0)}))


@story
async def test_a_lease_is_not_renewed_without_a_quorum_and_its_keys_go_with_it(site: Site) -> None:
    store, key = site.client(), site.prefix + "a"
    lease = await store.grant(2)
    await store.commit(Txn({}, {key: ("1", lease)}))
    for member in (0, 1):
        site.stop(member)
    with pytest.raises(StoreUnreachable):
        await store.keep_alive(lease)
    for member in (0, 1):
        site.up(member)
    end = now() + PATIENCE
    while True:
        assert now() < end
        try:
            if await store.get(key) is None:
                break
        except StoreUnreachable:
            continue
        await asyncio.sleep(0.2)
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)


@story
async def test_members_come_and_go_one_after_the_other(site: Site) -> None:
    store, key, revision = site.client(), site.prefix + "a", 0
    start = (await store.list(key)).revision
    seen = asyncio.create_task(watched(site.client(1), key, start, lambda found: len(found) >= 90))
    for member in (0, 1, 2):
        (site.kill if member == 1 else site.stop)(member)
        for i in range(30):
            done = await store.commit(Txn({key: revision}, {key: (f"{member}-{i}", 0)}))
            assert done is not None
            revision = done
        site.up(member)
        await asyncio.sleep(3)
    expected = [f"{member}-{i}" for member in (0, 1, 2) for i in range(30)]
    assert [change.entry.value for change in await seen if change.entry] == expected
