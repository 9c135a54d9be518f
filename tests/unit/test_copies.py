"""Copies that lack writes: marked by the owner of this epoch alone, cleared only as what was read before the look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler import copies
from reconciler.fencepeer import GOES_ON, Incarnation, fence_peer
from reconciler.observe import Snapshot
from reconciler.ownership import View
from reconciler.records import Outdated, parse
from reconciler.sim.store import SimEtcd, SimStore
from reconciler.store import Txn, outdated_key, owner_key, service_key
from resources.drbd import Copy, Disk, Peer, Volume
from resources.kind import Unknown
from tests.unit.support import NOW, boot_id, hosts, machine, owned, parts, simulated, view

PARTS = parts(disks=[{"resource": "home"}, {"resource": "state"}], container=None)
LINKED = (Peer("hostb", "Connected", "Secondary", (Copy(0, "UpToDate", "Established"),)),)
GOOD = Disk("Primary", "no", (Volume(0, "UpToDate", 1, 9),), LINKED)
HELD = replace(GOOD, suspended="fencing", peers=(Peer("hostb", "Connecting"),))


def look(home: object = GOOD, state: object = GOOD) -> Snapshot:
    return Snapshot(PARTS, {"disk/home": home, "disk/state": state})


async def filled(seen: View) -> tuple[SimEtcd, SimStore, View]:
    """An etcd with that owner and those marks, and the view with their revisions."""
    etcd = SimEtcd(1)
    desk = etcd.client("desk")
    assert seen.owner is not None
    key = await desk.commit(Txn({}, {owner_key("nfs"): (seen.owner.line(), 0)}))
    marks = {}
    for disk, host in sorted(seen.outdated):
        marks[disk, host] = await desk.commit(Txn({}, {outdated_key(disk, host): ("{}", 0)})) or 0
    return etcd, desk, replace(seen, owner_revision=key or 0, outdated=marks)


def test_only_a_primary_that_lost_its_peer_is_held_up() -> None:
    assert [part.id for part in copies.held_up(look(HELD))] == ["disk/home"]
    assert copies.held_up(look(Unknown("no answer"), replace(GOOD, suspended="user"))) == []


@simulated
async def test_the_owner_marks_every_other_copy() -> None:
    etcd, desk, seen = await filled(view(owned("hosta"), fields={"hosts": ["hosta", "hostb", "hostc"]}))
    assert await desk.commit(copies.mark(seen, machine(hosts().hosts["hosta"]), "home")) is not None
    for host in ("hostb", "hostc"):
        mark = parse(Outdated, etcd.value(outdated_key("home", host)) or "")
        assert mark is not None
        assert (mark.by, mark.epoch) == ("hosta", 7)
    assert etcd.value(outdated_key("home", "hosta")) is None


@pytest.mark.parametrize("meanwhile", ["another owner", "no owner"])
@simulated
async def test_it_is_not_marked_when_anything_has_changed_meanwhile(meanwhile: str) -> None:
    etcd, desk, seen = await filled(view(owned("hosta")))
    txn = copies.mark(seen, machine(hosts().hosts["hosta"]), "home")
    match meanwhile:
        case "another owner":
            await desk.commit(Txn({}, {owner_key("nfs"): (owned("hostb", 8).line(), 0)}))
        case _:
            await desk.commit(Txn({}, {}, (owner_key("nfs"),)))
    assert await desk.commit(txn) is None
    assert etcd.value(outdated_key("home", "hostb")) is None


@simulated
async def test_marked_anew_it_lacks_writes_since_the_first_and_a_clearing_under_way_is_void() -> None:
    etcd, desk, seen = await filled(view(owned("hosta"), outdated={("home", "hostb"): 0}))
    [(_, clearing)] = copies.cleared(seen, "hosta", look())
    seen = replace(seen, lacks_since={("home", "hostb"): NOW})
    assert await desk.commit(copies.mark(seen, machine(hosts().hosts["hosta"]), "home")) is not None
    assert await desk.commit(clearing) is None
    mark = parse(Outdated, etcd.value(outdated_key("home", "hostb")) or "")
    assert mark is not None
    assert mark.since == NOW


@simulated
async def test_a_mark_that_stands_is_set_anew_by_agent_and_by_handler() -> None:
    """Else its clearing, by a look from before the peer was lost, would still find what it compares."""
    etcd, desk, seen = await filled(view(owned("hosta"), outdated={("home", "hostb"): 0}))
    key = outdated_key("home", "hostb")
    [(_, clearing)] = copies.cleared(seen, "hosta", look())
    assert await desk.commit(copies.mark(seen, machine(hosts().hosts["hosta"]), "home")) is not None
    assert await desk.commit(clearing) is None
    text = view(fields={"disks": [{"resource": "home", "mount": "/home"}]}).text
    await desk.commit(Txn({}, {service_key("nfs"): (text, 0)}))
    seen = replace(seen, outdated={("home", "hostb"): etcd.keys.entries[key].revision})
    [(_, clearing)] = copies.cleared(seen, "hosta", look())
    me = Incarnation("hosta", boot_id("hosta"))
    assert (await fence_peer(desk, me, "home", ["hostb"], "later")).status == GOES_ON
    assert await desk.commit(clearing) is None
    mark = parse(Outdated, etcd.value(key) or "")
    assert mark is not None
    assert mark.since != "later"


@simulated
async def test_a_mark_is_cleared_once_that_copy_is_seen_to_be_current() -> None:
    etcd, desk, seen = await filled(view(owned("hosta"), outdated={("home", "hostb"): 0, ("state", "hostb"): 0}))
    found = copies.cleared(seen, "hosta", look(GOOD, HELD))
    assert [said for said, _ in found] == ["the copy of disk home on hostb is current again"]
    assert await desk.commit(found[0][1]) is not None
    assert etcd.value(outdated_key("home", "hostb")) is None
    assert etcd.value(outdated_key("state", "hostb")) is not None


@pytest.mark.parametrize("meanwhile", [outdated_key("home", "hostb"), owner_key("nfs")])
@simulated
async def test_a_mark_that_was_set_again_since_the_look_stays(meanwhile: str) -> None:
    etcd, desk, seen = await filled(view(owned("hosta"), outdated={("home", "hostb"): 0}))
    [(_, txn)] = copies.cleared(seen, "hosta", look())
    await desk.commit(Txn({}, {meanwhile: ("{}", 0)}))
    assert await desk.commit(txn) is None
    assert etcd.value(outdated_key("home", "hostb")) is not None


@pytest.mark.parametrize("home", [HELD, replace(GOOD, role="Secondary"), None, Unknown("no answer")])
def test_nothing_is_cleared_on_a_lesser_look(home: object) -> None:
    seen = view(owned("hosta"), outdated={("home", "hostb"): 3})
    assert copies.cleared(seen, "hosta", look(home)) == []


def test_a_hosts_own_mark_is_never_cleared_by_itself() -> None:
    assert copies.cleared(view(owned("hosta"), outdated={("home", "hosta"): 3}), "hosta", look()) == []


def test_the_owner_goes_on_and_who_is_not_gives_up() -> None:
    assert [str(step) for step in copies.first(look(HELD), owner=True).steps] == ["resume the I/O of disk home"]
    assert [str(step) for step in copies.first(look(HELD), owner=False).steps] == ["give up the held I/O of disk home"]
    assert copies.first(look(), owner=True).steps == ()
