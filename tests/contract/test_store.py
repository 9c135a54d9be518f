"""What `reconciler.store.Store` promises while all is well."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.store import Change, Compacted, LeaseLost, Store, StoreError, StoreUnreachable, Txn
from tests.contract.sites import PATIENCE, Site, now, story, watched


async def put(store: Store, key: str, value: str, lease: int = 0) -> int:
    revision = await store.commit(Txn({}, {key: (value, lease)}))
    assert revision is not None
    return revision


async def revision_of(store: Store, key: str) -> int:
    entry = await store.get(key)
    return entry.revision if entry else 0


# -- keys --------------------------------------------------------------------------------------------------------------


@story
async def test_a_key_is_read_as_it_was_written(site: Site) -> None:
    store, key = site.client(), site.prefix + "a"
    assert await store.get(key) is None
    first = await put(store, key, "ä\n")
    second = await put(store, key, "b")
    entry = await store.get(key)
    assert entry is not None
    assert (entry.value, entry.revision, entry.created, entry.lease) == ("b", second, first, 0)
    assert second > first > 0


@story
async def test_a_list_has_what_is_under_the_prefix_sorted_at_one_revision(site: Site) -> None:
    store = site.client()
    for name in ("b", "a", "a/c"):
        await put(store, site.prefix + name, name)
    last = await put(store, site.prefix.rstrip("/") + "0", "beside it")
    listing = await store.list(site.prefix)
    assert [entry.value for entry in listing.entries] == ["a", "a/c", "b"]
    assert listing.revision >= last
    empty = await store.list(site.prefix + "nothing/")
    assert empty.entries == ()
    assert empty.revision >= listing.revision


@story
async def test_a_transaction_that_compares_wrongly_writes_nothing(site: Site) -> None:
    store, a, b = site.client(), site.prefix + "a", site.prefix + "b"
    first = await store.commit(Txn({a: 0}, {a: ("1", 0)}))
    assert first is not None
    assert await store.commit(Txn({a: 0}, {a: ("2", 0)})) is None
    assert await store.commit(Txn({a: first, b: first}, {a: ("2", 0), b: ("2", 0)})) is None
    assert await store.commit(Txn({a: first + 1}, {}, (a,))) is None
    assert [entry.value for entry in (await store.list(site.prefix)).entries] == ["1"]
    second = await store.commit(Txn({a: first, b: 0}, {b: ("2", 0)}, (a,)))
    assert second is not None
    assert [(entry.key, entry.revision) for entry in (await store.list(site.prefix)).entries] == [(b, second)]


@story
async def test_a_deleted_key_has_revision_0_and_is_made_anew(site: Site) -> None:
    store, key = site.client(), site.prefix + "a"
    await put(store, key, "1")
    await store.commit(Txn({}, {}, (key,)))
    await store.commit(Txn({}, {}, (key,)))
    again = await store.commit(Txn({key: 0}, {key: ("2", 0)}))
    entry = await store.get(key)
    assert entry is not None
    assert again == entry.revision == entry.created


@story
async def test_of_many_who_compare_the_same_one_wins(site: Site) -> None:
    key = site.prefix + "a"
    stores = [site.client(i % 3) for i in range(6)]
    won = await asyncio.gather(*(one.commit(Txn({key: 0}, {key: (str(i), 0)})) for i, one in enumerate(stores)))
    winners = [i for i, revision in enumerate(won) if revision is not None]
    assert len(winners) == 1
    entry = await stores[0].get(key)
    assert entry is not None
    assert entry.value == str(winners[0])


@story
async def test_one_client_commits_many_at_once(site: Site) -> None:
    store = site.client()
    done = await asyncio.gather(*(put(store, f"{site.prefix}{i:02}", str(i)) for i in range(20)))
    assert len(set(done)) == 20
    assert len((await store.list(site.prefix)).entries) == 20


@story
async def test_what_etcd_refuses_is_an_error_and_harms_nothing(site: Site) -> None:
    store, key = site.client(), site.prefix + "a"
    refused = [
        Txn({}, {key: ("x" * 1_700_000, 0)}),
        Txn({}, {key: ("1", 0)}, (key,)),
        Txn({}, {f"{key}{i}": ("1", 0) for i in range(128)}),
    ]
    for txn in refused:
        with pytest.raises(StoreError, match="etcd refuses the request"):
            await store.commit(txn)
    assert (await store.list(site.prefix)).entries == ()
    await put(store, key, "1")


# -- leases ------------------------------------------------------------------------------------------------------------


@story
async def test_a_lease_that_is_renewed_keeps_its_keys_and_then_takes_them_away(site: Site) -> None:
    store, key = site.client(), site.prefix + "a"
    lease = await store.grant(2)
    other = await store.grant(300)
    assert lease != other
    assert 0 not in (lease, other)
    await put(store, key, "1", lease)
    await put(store, key + "-other", "1", other)
    for _ in range(5):
        await asyncio.sleep(0.8)
        assert await store.keep_alive(lease) == 2
    entry = await store.get(key)
    assert entry is not None
    assert entry.lease == lease
    silent = now()
    while await store.get(key) is not None:
        assert now() - silent < PATIENCE
        await asyncio.sleep(0.1)
    assert now() - silent > 1
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)
    assert await store.get(key + "-other") is not None
    await store.revoke(other)


@story
async def test_a_lease_is_at_least_as_long_as_it_was_asked_for(site: Site) -> None:
    store = site.client()
    lease = await store.grant(2.4)
    assert await store.keep_alive(lease) == 3
    await store.revoke(lease)


@story
async def test_a_revoked_lease_takes_all_of_its_keys_at_once(site: Site) -> None:
    store, keys = site.client(), [f"{site.prefix}{i}" for i in range(3)]
    lease = await store.grant(300)
    last = await store.commit(Txn({}, {key: ("1", lease) for key in keys}))
    assert last is not None
    await put(store, keys[2], "1")  # without the lease now
    seen = asyncio.create_task(watched(store, site.prefix, last, lambda found: len(found) == 3))
    await store.revoke(lease)
    await store.revoke(lease)
    changes = (await seen)[1:]
    assert [(change.key, change.entry) for change in changes] == [(keys[0], None), (keys[1], None)]
    assert len({change.revision for change in changes}) == 1
    assert [entry.key for entry in (await store.list(site.prefix)).entries] == [keys[2]]


@story
async def test_nothing_is_written_on_a_lease_that_is_no_more(site: Site) -> None:
    store, a, b = site.client(), site.prefix + "a", site.prefix + "b"
    lease = await store.grant(300)
    await store.revoke(lease)
    with pytest.raises(LeaseLost):
        await store.commit(Txn({}, {a: ("1", 0), b: ("1", lease)}))
    with pytest.raises(LeaseLost):
        await store.keep_alive(lease)
    assert await store.commit(Txn({a: 1}, {b: ("1", lease)})) is None
    assert (await store.list(site.prefix)).entries == ()
    await put(store, a, "goes on")


# -- watches -----------------------------------------------------------------------------------------------------------


async def write_many(site: Site, count: int) -> list[tuple[str, int]]:
    """By two clients at once: (value, revision), by revision."""
    written: list[tuple[str, int]] = []

    async def write(name: str) -> None:
        store = site.client()
        for i in range(count):
            written.append((f"{name}{i}", await put(store, f"{site.prefix}{i % 7}", f"{name}{i}")))

    await asyncio.gather(write("a"), write("b"))
    return sorted(written, key=lambda one: one[1])


def shown(changes: list[Change]) -> list[tuple[str, int]]:
    return [(change.entry.value if change.entry else "", change.revision) for change in changes]


@story
async def test_a_watch_has_every_change_in_order_and_none_twice(site: Site) -> None:
    store = site.client()
    start = (await store.list(site.prefix)).revision
    early = asyncio.create_task(watched(store, site.prefix, start, lambda found: len(found) == 200))
    written = await write_many(site, 100)
    assert shown(await early) == written
    late = await watched(site.client(1), site.prefix, start, lambda found: len(found) == 200)
    assert shown(late) == written
    for cut in (0, 57, 198):
        rest = await watched(store, site.prefix, written[cut][1], lambda found: found[-1].revision == written[-1][1])
        assert shown(rest) == written[cut + 1 :]


@story
async def test_a_watch_tells_of_one_prefix_and_of_deletions(site: Site) -> None:
    store, key = site.client(), site.prefix + "a"
    start = (await store.list(site.prefix)).revision
    await put(store, site.prefix.rstrip("/") + "0", "beside it")
    first = await put(store, key, "1")
    gone = await store.commit(Txn({}, {site.prefix + "b": ("2", 0)}, (key,)))
    assert gone is not None
    found = await watched(store, site.prefix, start, lambda found: len(found) == 3)
    by_key = {(change.key[-1], change.revision): change.entry.value if change.entry else None for change in found}
    assert by_key == {("a", first): "1", ("a", gone): None, ("b", gone): "2"}


@story
async def test_a_watch_gives_a_revision_whole(site: Site) -> None:
    store = site.client()
    start = (await store.list(site.prefix)).revision
    for value in ("1", "2"):
        await store.commit(Txn({}, {f"{site.prefix}{i}": (value * 100_000, 0) for i in range(12)}))
    batches: list[tuple[Change, ...]] = []
    async with asyncio.timeout(PATIENCE):
        async for changes in store.watch(site.prefix, start):
            batches += [changes] if changes else []
            if sum(len(batch) for batch in batches) == 24:
                break
    assert all(len(batch) in (12, 24) for batch in batches)


@story
async def test_a_watch_tells_of_a_lease_that_expires(site: Site) -> None:
    store, key = site.client(), site.prefix + "a"
    lease = await store.grant(1)
    written = await put(store, key, "1", lease)
    [change] = await watched(store, site.prefix, written, lambda found: len(found) == 1)
    assert (change.key, change.entry) == (key, None)


@story
async def test_a_watch_gives_a_sign_of_life(site: Site) -> None:
    store = site.client()
    start = (await store.list(site.prefix)).revision
    signs = 0
    async with asyncio.timeout(PATIENCE):
        async for changes in store.watch(site.prefix, start):
            assert changes == ()
            signs += 1
            if signs == 3:
                break


@story
async def test_a_watch_of_a_compacted_past_says_so_and_a_list_leads_on(site: Site) -> None:
    store = site.client()
    first = await put(store, site.prefix + "a", "1")
    gone = await store.commit(Txn({}, {}, (site.prefix + "a",)))
    last = await put(store, site.prefix + "b", "1")
    assert gone is not None
    await site.compact(last)
    for after in (0, first, last - 1):
        with pytest.raises(Compacted):
            await watched(store, site.prefix, after, lambda found: bool(found))
    listing = await store.list(site.prefix)
    assert [entry.key for entry in listing.entries] == [site.prefix + "b"]
    for after in (last, listing.revision):
        seen = asyncio.create_task(watched(store, site.prefix, after, lambda found: bool(found)))
        written = await put(store, site.prefix + "c", "1")
        assert (await seen)[-1].revision == written


@story
async def test_more_than_4_mib_are_listed_and_caught_up_with(site: Site) -> None:
    store = site.client()
    start = (await store.list(site.prefix)).revision
    for i in range(12):
        await put(store, f"{site.prefix}{i:02}", str(i) + "x" * 1_000_000)
    assert len((await store.list(site.prefix)).entries) == 12
    found = await watched(store, site.prefix, start, lambda found: len(found) == 12)
    assert [change.entry.value.rstrip("x") for change in found if change.entry] == [str(i) for i in range(12)]
    await store.commit(Txn({}, {}, tuple(change.key for change in found)))


@story
async def test_a_closed_store_says_so_to_those_who_wait(site: Site) -> None:
    store = site.client()
    start = (await store.list(site.prefix)).revision
    waiting = asyncio.create_task(watched(store, site.prefix, start, lambda found: bool(found)))
    await asyncio.sleep(0.5)
    await store.close()
    with pytest.raises(StoreUnreachable):
        await waiting
    with pytest.raises(StoreUnreachable):
        await store.get(site.prefix)
