"""Drift: what differs, in the kinds' own words; half-switched, by its name; each told once as it comes and goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.act import Outcome, Ran
from reconciler.drift import DISKS, News, Seen, Wrong, compare, found
from reconciler.driftlog import DriftLog
from reconciler.fights import Fights
from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Verdict
from reconciler.teller import Teller
from resources.drbd import Copy, Disk, Peer, Volume
from resources.kind import Role, Unknown
from resources.machine import Address, Container
from tests.unit.support import hosts, machine, parts, simulated

PARTS = parts(disks=[{"resource": "home"}, {"resource": "state"}], addresses=[{"address": "192.0.2.10/24"}])
LINKED = (Peer("hostb", "Connected", "Secondary", (Copy(0, "UpToDate", "Established"),)),)
PRIMARY = Disk("Primary", "no", (Volume(0, "UpToDate", 1, 9),), LINKED)
SECONDARY = replace(PRIMARY, role="Secondary")
ADDRESS = (Address("eth0", "192.0.2.10/24"),)
UNKNOWN = Unknown("no answer within 30 s")
NONE: frozenset[str] = frozenset()


def look(home: Any, state: Any, address: Any = ()) -> Snapshot:
    seen = {"disk/home": home, "disk/state": state, "container/nfs": Container(True, True, 7)}
    return Snapshot(PARTS, {**seen, "address/192.0.2.10/24": address})


def test_what_is_as_its_role_wants_it_is_no_drift() -> None:
    assert found(look(PRIMARY, PRIMARY, ADDRESS), Role.ACTIVE, NONE) == {}
    assert found(look(SECONDARY, SECONDARY), Role.STANDBY, NONE) == {}


@pytest.mark.parametrize(
    ("address", "role", "wrong"),
    [
        ((), Role.ACTIVE, Wrong("address 192.0.2.10/24 is missing on eth0", "on eth0", "absent")),
        (ADDRESS, Role.STANDBY, Wrong("address 192.0.2.10/24 is on eth0", "absent", "on eth0")),
    ],
)
def test_it_says_what_is_expected_and_what_was_observed(address: Any, role: Role, wrong: Wrong) -> None:
    disk = PRIMARY if role is Role.ACTIVE else SECONDARY
    assert found(look(disk, disk, address), role, NONE) == {"address/192.0.2.10/24": wrong}


def test_what_is_dropped_from_the_spec_is_not_to_be_there() -> None:
    dropped = frozenset({"address/192.0.2.10/24"})
    assert found(look(PRIMARY, PRIMARY, ADDRESS), Role.ACTIVE, dropped).keys() == dropped


@pytest.mark.parametrize(
    ("role", "wrong"),
    [
        (Role.ACTIVE, "home, state Primary"),
        (Role.STANDBY, "home, state Secondary"),
    ],
)
def test_a_half_switched_service_is_named_with_which_disks_are_where(role: Role, wrong: str) -> None:
    address = ADDRESS if role is Role.ACTIVE else ()
    halves = found(look(PRIMARY, SECONDARY, address), role, NONE)[DISKS]
    assert halves.reason == "half-switched: home is Primary here, state is not"
    assert (halves.expected, halves.observed) == (wrong, "home Primary, state Secondary")


def test_disks_of_one_role_or_that_cannot_be_read_are_not_half_switched() -> None:
    for home, state in ((SECONDARY, SECONDARY), (PRIMARY, UNKNOWN), (UNKNOWN, SECONDARY)):
        assert DISKS not in found(look(home, state, ADDRESS), Role.ACTIVE, NONE)


def test_each_is_told_once_as_it_appears_and_once_when_it_is_gone() -> None:
    wrong = Wrong("a.service is inactive", "active", "inactive")
    opened, news = compare({}, {"unit/a": wrong}, 10.0)
    assert (opened, news) == ({"unit/a": Seen(wrong, 10.0)}, [News("unit/a", wrong)])
    again, news = compare(opened, {"unit/a": Wrong("a.service is failed", "active", "failed")}, 11.0)
    assert (again, news) == (opened, [])
    assert compare(again, {}, 12.5) == ({}, [News("unit/a", wrong, 2.5)])


def test_a_cause_that_becomes_known_later_is_kept_and_the_first_one_stays() -> None:
    wrong = Wrong("a.service is deactivating", "active", "deactivating")
    opened, _ = compare({}, {"unit/a": wrong}, 10.0)
    opened, news = compare(opened, {"unit/a": Wrong("a.service is failed", cause="signal")}, 11.0)
    assert (opened["unit/a"], news) == (Seen(replace(wrong, cause="signal"), 10.0), [])
    opened, _ = compare(opened, {"unit/a": Wrong("a.service is failed", cause="exit-code")}, 12.0)
    assert opened["unit/a"].wrong.cause == "signal"


class Told(Teller):
    """What the log told, and by which steps."""

    def __init__(self) -> None:
        self.of: list[tuple[str, bool, tuple[str, ...]]] = []

    def drift(self, news: News, epoch: int, by: tuple[str, ...] = ()) -> None:
        self.of.append((news.resource, news.lasted is not None, by))


@simulated
async def test_what_is_put_right_is_told_when_it_is_seen_and_the_rest_when_all_is() -> None:
    told, here = Told(), machine(hosts().hosts["hosta"])
    log = DriftLog(here, told, Fights(here, told))
    verdict = Verdict(Role.ACTIVE, Intent.HOLD, epoch=7)
    both, one = look(SECONDARY, PRIMARY), look(SECONDARY, PRIMARY, ADDRESS)
    log.note(both, verdict, NONE, ours=False)
    address = next(part for part in PARTS if part.kind.name == "address")
    (add,) = address.kind.plan(address.spec, Role.ACTIVE, ())
    assert log.put_right(both) == ()
    log.ran(both, verdict, NONE, Outcome((Ran(add, 0.2),)))
    assert log.put_right(both) == (address,)
    told.of.clear()
    log.note(one, verdict, NONE, ours=False, repaired=True, of=frozenset({address.id}))
    assert told.of == [(address.id, True, (add.done,))]
    assert sorted(log.open()) == ["disk/home", DISKS]
