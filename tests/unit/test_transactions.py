"""Claim, release, revert, forget: each compares everything that it was decided upon, and writes what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler import moves
from reconciler.ownership import View
from reconciler.records import Audit, Epoch, Owner, Record, parse
from reconciler.sim.machine import SimMachine
from reconciler.sim.store import SimEtcd, SimStore
from reconciler.store import (
    Txn,
    audit_key,
    epoch_key,
    outdated_key,
    owner_key,
    service_key,
    session_key,
    status_key,
)
from tests.unit.support import NOW, hosts, machine, owned, ready_target, session, simulated, view

Make = Callable[[View, SimMachine, int], Txn]


class Etcd:
    """A simulated etcd with the service nfs in it, owned by hostb, and sessions of both hosts."""

    def __init__(self) -> None:
        self.etcd = SimEtcd(1)
        self.desk: SimStore = self.etcd.client("desk")
        self.hands = machine(hosts().hosts["hosta"])

    async def write(self, key: str, value: Record | str) -> int:
        text = value if isinstance(value, str) else value.line()
        revision = await self.desk.commit(Txn({}, {key: (text, 0)}))
        assert revision is not None
        return revision

    async def fill(self, seen: View) -> tuple[View, int]:
        """As etcd has it, with its revisions; and the revision of hosta's session."""
        service = await self.write(service_key("nfs"), seen.text)
        epoch = Epoch(epoch=7, host="hostb", since=NOW)
        given = await self.write(epoch_key("nfs"), epoch)
        mine = await self.write(session_key("hosta"), session("hosta"))
        owner = await self.write(owner_key("nfs"), seen.owner) if seen.owner else 0
        found = replace(seen, revision=service, owner_revision=owner, epoch=epoch, epoch_revision=given)
        return found, mine


def claim(seen: View, hands: SimMachine, mine: int) -> Txn:
    return moves.claim(seen, hands, mine, ["nfs-state", "nfs-home"])[1]


def release(seen: View, _hands: SimMachine, _mine: int) -> Txn:
    return moves.release(seen)


def revert(seen: View, hands: SimMachine, _mine: int) -> Txn:
    return moves.revert(seen, hands, "id-1", 0, "not Ready in time")


def forget(seen: View, _hands: SimMachine, _mine: int) -> Txn:
    return moves.forget(seen)


OWNED = view(owned("hosta", previous="hostb"), statuses={"hostb": ready_target()})


@pytest.mark.parametrize(
    ("make", "touched"),
    [
        (claim, service_key("nfs")),
        (claim, owner_key("nfs")),
        (claim, epoch_key("nfs")),
        (claim, session_key("hosta")),
        (claim, outdated_key("nfs-home", "hosta")),
        (claim, outdated_key("nfs-state", "hosta")),
        (release, service_key("nfs")),
        (release, owner_key("nfs")),
        (revert, service_key("nfs")),
        (revert, owner_key("nfs")),
        (revert, epoch_key("nfs")),
        (forget, service_key("nfs")),
        (forget, owner_key("nfs")),
    ],
)
@simulated
async def test_it_is_refused_when_what_it_was_decided_upon_has_changed(make: Make, touched: str) -> None:
    world = Etcd()
    seen, mine = await world.fill(OWNED)
    txn = make(seen, world.hands, mine)
    await world.write(touched, "changed meanwhile")
    before = await world.desk.list("/hactl/")
    assert await world.desk.commit(txn) is None
    assert await world.desk.list("/hactl/") == before


@pytest.mark.parametrize("lost", [session_key("hosta"), service_key("nfs"), owner_key("nfs"), epoch_key("nfs")])
@simulated
async def test_a_claim_is_refused_when_a_key_has_gone(lost: str) -> None:
    world = Etcd()
    seen, mine = await world.fill(OWNED)
    txn = claim(seen, world.hands, mine)
    await world.desk.commit(Txn({}, {}, (lost,)))
    assert await world.desk.commit(txn) is None


@simulated
async def test_a_mark_of_another_host_or_disk_is_no_hindrance() -> None:
    world = Etcd()
    seen, mine = await world.fill(OWNED)
    await world.write(outdated_key("nfs-home", "hostb"), NOW)
    await world.write(outdated_key("other", "hosta"), NOW)
    assert await world.desk.commit(claim(seen, world.hands, mine)) is not None


@simulated
async def test_of_two_claims_one_is_done() -> None:
    world = Etcd()
    seen, mine = await world.fill(view())
    first, second = claim(seen, world.hands, mine), claim(seen, world.hands, mine)
    assert await world.desk.commit(first) is not None
    assert await world.desk.commit(second) is None


@simulated
async def test_a_claim_names_this_incarnation_and_whom_to_revert_to_in_the_next_epoch() -> None:
    world = Etcd()
    seen, mine = await world.fill(view())
    owner, txn = moves.claim(seen, world.hands, mine, [])
    assert await world.desk.commit(txn) is not None
    assert (owner.host, owner.boot_id, owner.epoch, owner.previous) == ("hosta", "boot-hosta-1", 8, "hostb")
    assert parse(Owner, world.etcd.value(owner_key("nfs")) or "") == owner
    assert parse(Epoch, world.etcd.value(epoch_key("nfs")) or "") == Epoch(epoch=8, host="hosta", since=owner.since)


@simulated
async def test_the_epoch_only_ever_goes_up() -> None:
    hands = machine(hosts().hosts["hosta"])
    ahead = replace(view(owned("hostb", 12)), epoch=Epoch(epoch=7, host="hostb", since=NOW))
    assert moves.claim(ahead, hands, 1, [])[0].epoch == 13
    assert moves.claim(replace(ahead, owner=owned("hostb", 3)), hands, 1, [])[0].epoch == 8
    assert moves.claim(view(), hands, 1, [])[0].epoch == 1


@simulated
async def test_who_takes_its_own_service_again_has_nobody_to_revert_to() -> None:
    mine = replace(view(), epoch=Epoch(epoch=7, host="hosta", since=NOW))
    assert moves.claim(mine, machine(hosts().hosts["hosta"]), 1, [])[0].previous == ""


@simulated
async def test_a_release_takes_the_owner_key_and_nothing_else() -> None:
    world = Etcd()
    seen, mine = await world.fill(OWNED)
    assert await world.desk.commit(release(seen, world.hands, mine)) is not None
    left = [entry.key for entry in (await world.desk.list("/hactl/")).entries]
    assert left == [epoch_key("nfs"), service_key("nfs"), session_key("hosta")]


@simulated
async def test_a_revert_changes_the_primary_alone_audits_it_and_is_the_last() -> None:
    world = Etcd()
    seen, mine = await world.fill(OWNED)
    assert await world.desk.commit(revert(seen, world.hands, mine)) is not None
    before, after = json.loads(seen.text), json.loads(world.etcd.value(service_key("nfs")) or "")
    assert after == {**before, "spec": {**before["spec"], "primary": "hostb"}}
    audit = parse(Audit, world.etcd.value(audit_key("id-1")) or "")
    assert audit is not None
    assert (audit.who, audit.whence, audit.what, audit.did) == (
        "hactl agent",
        "hosta",
        "service/nfs",
        "set primary=hostb",
    )
    assert (audit.before, audit.after, audit.why) == (before["spec"], after["spec"], "not Ready in time")
    given = parse(Epoch, world.etcd.value(epoch_key("nfs")) or "")
    assert given is not None
    assert (given.epoch, given.host) == (7, "hostb"), "hostb, taking it back, knows nobody to revert to"


@simulated
async def test_forgetting_leaves_no_key_of_the_service_but_its_audit() -> None:
    world = Etcd()
    seen, mine = await world.fill(OWNED)
    await world.write(status_key("nfs", "hosta"), "{}")
    await world.write(status_key("nfs", "hostb"), "{}")
    await world.write(audit_key("id-0"), "{}")
    await world.write(service_key("nfs2"), "another service")
    assert await world.desk.commit(forget(seen, world.hands, mine)) is not None
    left = [entry.key for entry in (await world.desk.list("/hactl/")).entries]
    assert left == [audit_key("id-0"), service_key("nfs2"), session_key("hosta")]
