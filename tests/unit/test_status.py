"""Status: Ready comes from a fresh look alone, and every state that is not Ready says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Verdict, View
from reconciler.records import Status, Target
from reconciler.status import STALLED_AFTER, Trouble, judge, ready
from resources.drbd import Copy, Disk, Peer, Volume
from resources.kind import Role, Unknown
from resources.machine import Address, Container
from tests.unit.support import owned, parts, view

FIELDS: dict[str, Any] = {"disks": [{"resource": "home"}], "addresses": [{"address": "192.0.2.10/24"}]}
PARTS = parts(**FIELDS)
LINKED = (Peer("hostb", "Connected", "Secondary", (Copy(0, "UpToDate", "Established"),)),)
PRIMARY = Disk("Primary", "no", (Volume(0, "UpToDate", 1, 9),), LINKED)
SECONDARY = replace(PRIMARY, role="Secondary")
ALONE = replace(PRIMARY, peers=(Peer("hostb", "Connecting"),))
ADDRESS = (Address("eth0", "192.0.2.10/24"),)
RUNS = Container(True, True, 7)
UNKNOWN = Unknown("no answer within 30 s")

HOLD = Verdict(Role.ACTIVE, Intent.HOLD, epoch=7)
IDLE = Verdict(Role.STANDBY, Intent.NONE)
SEEN = view(owned("hosta"), fields=FIELDS)


def look(disk: Any = PRIMARY, container: Any = RUNS, address: Any = ADDRESS) -> Snapshot:
    return Snapshot(PARTS, {"disk/home": disk, "container/nfs": container, "address/192.0.2.10/24": address})


STANDBY = look(SECONDARY, RUNS, ())


def said(
    snapshot: Snapshot,
    verdict: Verdict = HOLD,
    trouble: Trouble | None = None,
    seen: View = SEEN,
    dropped: frozenset[str] = frozenset(),
) -> Status:
    host = "hosta" if verdict.intent is Intent.HOLD else "hostb"
    return judge(seen, host, snapshot, verdict, trouble or Trouble(), dropped)


FAILED = Trouble("could not mount /srv: it stays busy", 1)
NOTED = replace(HOLD, note="cannot move to hostb: gate ping is shut")


@pytest.mark.parametrize(
    ("snapshot", "verdict", "trouble", "state", "reason"),
    [
        (look(), HOLD, Trouble(), "Ready", ""),
        (look(), NOTED, Trouble(), "Ready", "cannot move to hostb: gate ping is shut"),
        (look(ALONE), HOLD, Trouble(), "Ready", "disk home is not connected to hostb (Connecting): is the link up?"),
        (look(address=()), HOLD, Trouble(), "Starting", "address 192.0.2.10/24 is missing on eth0"),
        (look(address=()), HOLD, FAILED, "Starting", FAILED.reason),
        (
            look(address=UNKNOWN),
            HOLD,
            Trouble(),
            "Unknown",
            "address/192.0.2.10/24 cannot be read: no answer within 30 s",
        ),
        (look(address=()), HOLD, replace(FAILED, times=STALLED_AFTER), "Stalled", FAILED.reason),
        (look(), HOLD, replace(FAILED, times=STALLED_AFTER), "Ready", FAILED.reason),  # clients have it
        (STANDBY, IDLE, Trouble(), "Standby", ""),
        (
            STANDBY,
            replace(IDLE, note="waits for hosta to put it down"),
            Trouble(),
            "Waiting",
            "waits for hosta to put it down",
        ),
        (
            look(SECONDARY, RUNS),
            IDLE,
            Trouble(),
            "Drift",
            "address 192.0.2.10/24 is on eth0, though hosta is to have it; putting it down",
        ),
        (look(SECONDARY, RUNS), IDLE, FAILED, "Drift", FAILED.reason),
        (look(UNKNOWN, RUNS, ()), IDLE, Trouble(), "Unknown", "disk/home cannot be read: no answer within 30 s"),
        (look(), Verdict(Role.STANDBY, Intent.RELEASE, "moving to hostb"), Trouble(), "Moving", "moving to hostb"),
        (look(), Verdict(Role.STANDBY, Intent.RELEASE, "moving to hostb"), FAILED, "Moving", FAILED.reason),
    ],
)
def test_the_state_and_its_reason(
    snapshot: Snapshot, verdict: Verdict, trouble: Trouble, state: str, reason: str
) -> None:
    found = said(snapshot, verdict, trouble)
    assert (found.state, found.reason) == (state, reason)


def test_ready_is_what_is_seen_whatever_the_steps_did() -> None:
    assert ready(look(), frozenset())
    assert ready(look(ALONE), frozenset()), "a lost peer is no reason to move back"
    assert not ready(look(address=()), frozenset())
    assert not ready(look(SECONDARY), frozenset())
    assert not ready(look(address=UNKNOWN), frozenset())


def test_what_is_dropped_from_the_spec_and_still_there_is_not_ready() -> None:
    dropped = frozenset({"address/192.0.2.10/24"})
    assert not ready(look(), dropped)
    assert ready(look(address=()), dropped)
    assert said(look(), dropped=dropped).reason == "address 192.0.2.10/24 is on eth0"


def test_readiness_as_a_target_is_said_for_this_revision() -> None:
    assert said(STANDBY, IDLE).target == Target(ready=True, revision=10)
    assert said(look(None, RUNS, ()), IDLE).target == Target(
        ready=False, revision=10, obstacles=["disk home is not up on this host (drbdadm up home)"]
    )
    assert said(look(UNKNOWN, RUNS, ()), IDLE).target == Target(
        ready=False, revision=10, obstacles=["disk/home cannot be read: no answer within 30 s"], unreadable=True
    )
    both = said(look(None, UNKNOWN, ()), IDLE).target
    assert both is not None
    assert (len(both.obstacles), both.unreadable) == (2, False)


def test_an_owner_and_a_host_that_may_not_have_it_are_no_targets() -> None:
    assert said(look()).target is None
    assert judge(SEEN, "hostc", STANDBY, Verdict(Role.ABSENT, Intent.NONE), Trouble(), frozenset()).target is None


def test_a_copy_that_has_missed_writes_is_an_obstacle_by_name() -> None:
    marked = replace(SEEN, outdated={("home", "hostb"): 5, ("home", "hosta"): 5, ("other", "hostb"): 5})
    target = said(STANDBY, IDLE, seen=marked).target
    assert target is not None
    assert target.obstacles == [
        "its copy of disk home has missed writes; it becomes possible when the resync ends",
    ]


def test_each_part_is_said_in_words_with_what_is_wrong_with_it() -> None:
    found = said(look(address=(), container=UNKNOWN)).parts
    assert {id: (part.says, part.problem) for id, part in found.items()} == {
        "disk/home": ("Primary, UpToDate; hostb Connected/UpToDate", ""),
        "container/nfs": ("unknown", "container/nfs cannot be read: no answer within 30 s"),
        "address/192.0.2.10/24": ("absent", "address 192.0.2.10/24 is missing on eth0"),
    }


def test_what_is_held_is_said_by_who_is_not_the_owner() -> None:
    assert said(look(), IDLE).holds == ["disk home is Primary", "address 192.0.2.10/24 is on eth0"]
    assert said(look(UNKNOWN, RUNS, ()), IDLE).holds == ["disk/home cannot be read: no answer within 30 s"]
    assert said(look()).holds == []


def test_what_this_host_would_do_is_said_for_hactl_plan() -> None:
    assert said(STANDBY, IDLE).would_take == ["promote disk home", "add 192.0.2.10/24 to eth0"]
    assert said(look()).would_release == ["remove 192.0.2.10/24 from eth0", "demote disk home"]


def test_a_deleted_service_stops_until_nothing_is_left() -> None:
    deleted = view(owned("hosta"), fields=FIELDS, deleted=True)
    gone = Verdict(Role.ABSENT, Intent.NONE, "being deleted; waits for hosta")
    found = [said(look(*seen), gone, seen=deleted).state for seen in ((), (SECONDARY, RUNS, ()))]
    assert found == ["Stopping", "Stopping"]
    assert said(look(SECONDARY, Container(True, False), ()), gone, seen=deleted).state == "Standby"
