"""The mirror: all that etcd says of a service, as one view; taken up after every break, abreast of our own writes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from reconciler.mirror import Mirror
from reconciler.records import Death, Epoch, Outdated, Owner, Record
from reconciler.sim.machine import SimMachine
from reconciler.sim.store import SimEtcd
from reconciler.spec import SpecError
from reconciler.store import (
    Txn,
    audit_key,
    death_key,
    epoch_key,
    event_key,
    outdated_key,
    owner_key,
    service_key,
    session_key,
    status_key,
)
from tests.unit.support import NOW, hosts, machine, owned, ready_target, session, simulated, view

TEXT = view().text
DEATH = Death(host="hostb", boot_id="boot-hostb-0", proof="rebooted", by="hostb", at=NOW)


@dataclass
class Host:
    """hosta's mirror at work. `told`: which services it said to look at again."""

    etcd: SimEtcd = field(default_factory=lambda: SimEtcd(1))
    hands: SimMachine = field(default_factory=lambda: machine(hosts().hosts["hosta"]))
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = self.etcd.client("desk")
        self.mirror = Mirror(self.etcd.client("hosta"), self.hands, self.told.append)
        self.task = asyncio.create_task(self.mirror.run())

    async def write(self, key: str, value: Record | str | None) -> int:
        """And wait until the watch has told of it."""
        text = value.line() if isinstance(value, Record) else value
        txn = Txn({}, {}, (key,)) if text is None else Txn({}, {key: (text, 0)})
        revision = await self.desk.commit(txn)
        assert revision is not None
        await self.hands.sleep(1)
        return revision


@simulated
async def test_it_is_one_view_of_all_that_decides() -> None:
    host = Host()
    revision = await host.write(service_key("nfs"), TEXT)
    key = await host.write(owner_key("nfs"), owned("hostb"))
    given = await host.write(epoch_key("nfs"), Epoch(epoch=7, host="hostb", since=NOW))
    await host.write(session_key("hosta"), session("hosta"))
    await host.write(death_key("hostb", "boot-hostb-0"), DEATH)
    mark = await host.write(outdated_key("nfs-home", "hostb"), Outdated(since=NOW, by="hosta", epoch=7))
    await host.write(status_key("nfs", "hostb"), ready_target())
    await host.write(status_key("nfs2", "hostb"), ready_target())
    seen = host.mirror.view("nfs")
    assert seen is not None
    assert (seen.manifest, seen.text, seen.revision) == (view().manifest, TEXT, revision)
    assert (seen.owner, seen.owner_revision) == (owned("hostb"), key)
    assert (seen.epoch, seen.epoch_revision) == (Epoch(epoch=7, host="hostb", since=NOW), given)
    assert seen.sessions == {"hosta": session("hosta")}
    assert seen.deaths == {("hostb", "boot-hostb-0"): DEATH}
    assert seen.outdated == {("nfs-home", "hostb"): mark}
    assert seen.statuses == {"hostb": ready_target()}
    assert host.mirror.status("nfs", "hostb") == ready_target()
    assert (host.mirror.services(), host.mirror.revision("nfs")) == (["nfs"], revision)


@simulated
async def test_what_is_not_there_is_none() -> None:
    host = Host()
    await host.mirror.synced.wait()
    assert host.mirror.view("nfs") is None
    assert (host.mirror.revision("nfs"), host.mirror.status("nfs", "hosta")) == (0, None)


@simulated
async def test_a_key_that_is_no_record_still_stands_in_the_way_with_its_revision() -> None:
    host = Host()
    await host.write(service_key("nfs"), TEXT)
    key = await host.write(owner_key("nfs"), "somebody else's garbage")
    await host.write(status_key("nfs", "hostb"), "garbage")
    seen = host.mirror.view("nfs")
    assert seen is not None
    assert (seen.owner, seen.owner_revision, seen.statuses) == (None, key, {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("nonsense", "is not JSON"), (TEXT.replace('"name": "nfs"', '"name": "dns"'), "is 'dns' under the key of 'nfs'")],
)
@simulated
async def test_a_spec_that_is_none_is_told(text: str, sentence: str) -> None:
    host = Host()
    await host.write(service_key("nfs"), text)
    with pytest.raises(SpecError, match=sentence):
        host.mirror.view("nfs")
    assert host.mirror.services() == ["nfs"]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (service_key("nfs"), ["nfs"]),
        (owner_key("nfs"), ["nfs"]),
        (epoch_key("nfs"), ["nfs"]),
        (status_key("nfs", "hostb"), ["nfs"]),
        (status_key("nfs", "hosta"), []),
        (session_key("hostb"), [""]),
        (death_key("hostb", "b"), [""]),
        (outdated_key("nfs-home", "hostb"), [""]),
        (event_key("nfs", "1"), []),
        (audit_key("1"), []),
    ],
)
@simulated
async def test_a_change_says_which_service_to_look_at_again(key: str, told: list[str]) -> None:
    host = Host()
    await host.mirror.synced.wait()
    host.told.clear()
    await host.write(key, "{}")
    assert host.told == told


@simulated
async def test_a_change_of_one_service_leaves_the_views_of_others_as_they_are() -> None:
    host = Host()
    for name in ("nfs", "web"):
        await host.write(service_key(name), TEXT.replace('"nfs"', f'"{name}"'))
    before = host.mirror.view("web")
    await host.write(owner_key("nfs"), owned("hostb"))
    await host.write(status_key("nfs", "hostb"), ready_target())
    assert host.mirror.view("web") is before
    await host.write(session_key("hostb"), session("hostb"))
    after = host.mirror.view("web")
    assert after is not None
    assert after.sessions == {"hostb": session("hostb")}


@simulated
async def test_our_own_write_is_known_at_once_and_a_late_watch_does_not_undo_it() -> None:
    host = Host()
    await host.write(service_key("nfs"), TEXT)
    last = await host.write(owner_key("nfs"), owned("hostb", 7))

    def known() -> tuple[Owner | None, int]:
        seen = host.mirror.view("nfs")
        assert seen is not None
        return seen.owner, seen.owner_revision

    host.mirror.note(owner_key("nfs"), owned("hosta", 9).line(), last + 2)  # the reply, before the watch
    host.mirror.note(owner_key("nfs"), owned("hosta", 8).line(), last + 1)
    assert known() == (owned("hosta", 9), last + 2)
    assert await host.write(owner_key("nfs"), owned("hosta", 8)) == last + 1
    assert known() == (owned("hosta", 9), last + 2)
    assert await host.write(owner_key("nfs"), owned("hosta", 9)) == last + 2
    assert known() == (owned("hosta", 9), last + 2)
    host.mirror.note(owner_key("nfs"), None, last + 3)
    assert known() == (None, 0)


@pytest.mark.parametrize("trouble", ["broken", "compacted", "unreachable", "a member killed"])
@simulated
async def test_nothing_is_missed_whatever_becomes_of_the_watch(trouble: str) -> None:
    host = Host()
    await host.write(service_key("old"), TEXT.replace('"nfs"', '"old"'))
    host.etcd.reach("hosta", up=False)
    await host.write(service_key("nfs"), TEXT)
    await host.write(service_key("old"), None)
    match trouble:
        case "broken":
            host.etcd.break_watches()
        case "compacted":
            host.etcd.break_watches()
            host.etcd.compact()
        case "unreachable":
            await host.hands.sleep(120)
        case _:
            host.etcd.member("member1", "killed")
    host.etcd.reach("hosta", up=True)
    await host.hands.sleep(60)
    assert host.mirror.services() == ["nfs"]
