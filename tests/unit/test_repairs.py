"""Repairs: so often at once, then waited for; what may not be held is put down at once, always."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from reconciler import repairs
from reconciler.act import Ran
from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Verdict
from reconciler.plan import plan
from reconciler.records import Status
from reconciler.spec import Repairs, SpecError
from resources.container import ContainerKind
from resources.drbd import Disk, Peer, Volume
from resources.kind import Role, Unknown
from resources.machine import Address, Container
from resources.mount import MountSeen
from resources.registry import KINDS
from resources.unit import UnitSeen
from tests.unit.support import NOW, manifest, owned, ready_target, view
from tests.unit.test_plan import PARTS, snapshot

BUDGET = Repairs(times=3, within=60)
ADDRESS, MOUNT, UNIT, CONTAINER = "address/192.0.2.10/24", "mount//srv", "unit/a.service", "container/nfs"
AT_MOST = 1.0  # chance: the longest wait that there may be
GONE: dict[str, Any] = {
    ADDRESS: (),
    MOUNT: MountSeen(),
    UNIT: UnitSeen("loaded", "inactive"),
    CONTAINER: Container(True, False),
}
# Without its container nothing is in it.
EMPTY = {"container": GONE[CONTAINER], "mount": MountSeen(), "unit": GONE[UNIT], "address": ()}


@dataclass
class Host:
    """A worker's passes, without a world: what is seen is said, steps always succeed."""

    role: Role = Role.ACTIVE
    chance: float = AT_MOST
    now: float = 1000.0
    ledger: repairs.Ledger = field(default_factory=repairs.Ledger)

    def look(self, seen: Snapshot) -> list[str]:
        """One pass. Returns the steps that it ran."""
        calls = repairs.calls(seen, self.role, frozenset())
        self.ledger = repairs.looked(self.ledger, seen, calls, BUDGET, self.now, lambda: self.chance)
        steps = plan(seen, self.role, withheld=repairs.withheld(self.ledger, calls, self.now)).steps
        self.ledger = repairs.ran(self.ledger, calls, [Ran(step, 0.1) for step in steps], self.now)
        return [str(step) for step in steps]

    def undone(self, times: int, **gone: Any) -> list[str]:
        """Right, gone and looked at, so often, 5 seconds apart. Returns what the last look ran."""
        ran: list[str] = []
        for _ in range(times):
            self.look(snapshot(self.role is Role.ACTIVE))
            self.now += 5
            ran = self.look(snapshot(self.role is Role.ACTIVE, **gone))
        return ran

    def says(self, seen: Snapshot, **more: Any) -> Status:
        """What the status becomes by it."""
        active = self.role is Role.ACTIVE
        verdict = Verdict(self.role, Intent.HOLD if active else Intent.NONE, epoch=7 if active else 0)
        judged = Status(role=self.role, state="Ready" if active else "Standby", since=NOW)
        there = view(owned("hosta"), fields={"repairs": BUDGET.model_dump()}, **more)
        return repairs.named(judged, self.ledger, seen, there, verdict)


def drifted(part: str) -> Snapshot:
    return snapshot(True, **{part: GONE[part]})


@pytest.mark.parametrize("part", [ADDRESS, MOUNT, UNIT])
def test_a_part_is_put_right_at_once_as_often_as_its_budget_says(part: str) -> None:
    host = Host()
    assert host.undone(BUDGET.times, **{part: GONE[part]})
    assert host.undone(1, **{part: GONE[part]}) == []
    assert list(host.ledger.fights()) == [part]


def test_slow_drift_is_no_fight() -> None:
    host = Host()
    for _ in range(10):
        assert host.undone(1, **{ADDRESS: ()})
        host.now += BUDGET.within / 2
    assert not host.ledger.fights()


def test_a_repair_that_is_undone_before_it_is_seen_counts() -> None:
    host = Host()
    ran = [host.look(drifted(ADDRESS)) for _ in range(6)]
    assert [bool(steps) for steps in ran] == [True, True, True, False, False, False]


def test_a_step_that_fails_is_no_repair() -> None:
    host = Host()
    for _ in range(10):
        calls = repairs.calls(drifted(UNIT), Role.ACTIVE, frozenset())
        host.ledger = repairs.looked(host.ledger, drifted(UNIT), calls, BUDGET, host.now, lambda: AT_MOST)
        failed = [Ran(step, 0.1, "it was made to fail") for call in calls for step in call.steps]
        host.ledger = repairs.ran(host.ledger, calls, failed, host.now)
    assert not host.ledger.fights()


def test_it_is_tried_again_later_and_later() -> None:
    host, waits = Host(), []
    host.undone(BUDGET.times + 1, **{ADDRESS: ()})
    for _ in range(7):
        waits.append(repairs.next_look(host.ledger, BUDGET, host.now))
        host.now += (waits[-1] or 0) - 0.1
        assert host.look(drifted(ADDRESS)) == []
        host.now += 0.1
        assert host.look(drifted(ADDRESS)) == ["add 192.0.2.10/24 to eth0"]
        assert host.look(drifted(ADDRESS)) == []
    assert waits == pytest.approx([30, 60, 120, 240, 300, 300, 300])


def test_hosts_do_not_try_again_at_the_same_moment() -> None:
    early, late = Host(chance=0.0), Host(chance=0.999)
    for host in (early, late):
        host.undone(BUDGET.times + 1, **{ADDRESS: ()})
    assert repairs.next_look(early.ledger, BUDGET, early.now) == pytest.approx(15)
    assert repairs.next_look(late.ledger, BUDGET, late.now) == pytest.approx(30, abs=0.1)


def test_the_budget_is_whole_again_when_the_part_has_stayed_right_for_the_window() -> None:
    host = Host()
    host.undone(BUDGET.times + 1, **{ADDRESS: ()})
    host.look(snapshot(True))
    host.now += BUDGET.within - 1
    host.look(snapshot(True))
    assert host.says(snapshot(True)).state == "Stalled"
    assert repairs.next_look(host.ledger, BUDGET, host.now) == pytest.approx(1)
    host.now += 1
    host.look(snapshot(True))
    assert host.says(snapshot(True)).state == "Ready"
    assert host.undone(BUDGET.times, **{ADDRESS: ()})


def test_what_cannot_be_read_is_neither_right_nor_wrong() -> None:
    host = Host()
    host.undone(BUDGET.times + 1, **{ADDRESS: ()})
    host.now += BUDGET.within * 2
    assert host.look(snapshot(True, **{ADDRESS: Unknown("no answer")})) == []
    assert list(host.ledger.fights()) == [ADDRESS]


def test_others_are_put_right_meanwhile() -> None:
    host = Host()
    host.undone(BUDGET.times + 1, **{UNIT: GONE[UNIT]})
    both = snapshot(True, **{UNIT: GONE[UNIT], "unit/b.service": GONE[UNIT], ADDRESS: ()})
    assert host.look(both) == ["start b.service", "add 192.0.2.10/24 to eth0"]


def test_a_container_alone_is_fought_over_and_what_is_in_it_comes_back_with_it() -> None:
    host = Host()
    assert host.undone(BUDGET.times + 1, **EMPTY) == []
    assert list(host.ledger.fights()) == [CONTAINER]
    host.now += 30
    assert len(host.look(snapshot(True, **EMPTY))) == 7
    assert host.look(snapshot(True, **{**EMPTY, "container": Container(True, True, 8)}))[0] == "mount /srv"


def test_disks_come_back_together_or_not_at_all() -> None:
    demoted = Disk("Secondary", "no", (Volume(0, "UpToDate", 1, 9),), (Peer("hostb", "Connected"),))
    both = snapshot(True, disk=demoted)
    steps = plan(both, Role.ACTIVE, withheld=frozenset({"disk/state"})).steps
    assert not [step for step in steps if "promote" in str(step)]


def test_a_primary_without_a_disk_under_it_carries_what_is_on_it() -> None:
    served = Disk("Primary", "no", (Volume(0, "Diskless", 1, 9),), (Peer("hostb", "Connected"),))
    seen = snapshot(True, **{"disk/home": served, MOUNT: MountSeen()})
    for withheld, attach in ((frozenset(), ["attach disk home"]), (frozenset({"disk/home"}), [])):
        steps = [str(step) for step in plan(seen, Role.ACTIVE, withheld=frozenset(withheld)).steps]
        assert [step for step in steps if "service" not in step] == [*attach, "mount /srv"]


def test_an_address_is_not_taken_away_while_it_may_not_be_put_back() -> None:
    wrong = {ADDRESS: (Address("eth1", "192.0.2.10/24"),)}
    steps = [str(step) for step in plan(snapshot(True, **wrong), Role.ACTIVE).steps]
    assert steps == ["remove 192.0.2.10/24 from eth1", "add 192.0.2.10/24 to eth0"]
    assert not plan(snapshot(True, **wrong), Role.ACTIVE, withheld=frozenset({ADDRESS})).steps


@pytest.mark.parametrize("role", [Role.STANDBY, Role.ABSENT])
def test_what_this_host_may_not_hold_is_put_down_whatever_is_withheld(role: Role) -> None:
    everything = frozenset(part.id for part in PARTS)
    assert plan(snapshot(True), role, withheld=everything) == plan(snapshot(True), role)
    assert plan(snapshot(True), Role.ACTIVE, everything, everything) == plan(snapshot(True), Role.ACTIVE, everything)


def test_on_a_standby_a_fight_is_named_and_every_round_of_it_is_put_down() -> None:
    host = Host(Role.STANDBY)
    started = {UNIT: UnitSeen("loaded", "active", "running")}
    for _ in range(20):
        assert host.undone(1, **started) == ["stop a.service"]
    status = host.says(snapshot(False))
    assert status.state == "Stalled"
    assert status.reason.startswith("a.service runs time and again, put down ")
    assert "a unit that has Conflicts= with it, a timer, an admin?" in status.reason


def test_what_is_said_of_it_changes_no_more_often_than_it_is_tried() -> None:
    host, reasons = Host(Role.STANDBY), set()
    for _ in range(60):
        host.undone(1, **{UNIT: UnitSeen("loaded", "active", "running")})
        if host.ledger.fights():
            reasons.add(host.says(snapshot(False)).reason)
    assert len(reasons) <= 5


def test_the_fight_is_named_with_who_the_other_may_be_and_the_way_out() -> None:
    host = Host()
    host.undone(BUDGET.times + 1, **{ADDRESS: ()})
    assert host.says(drifted(ADDRESS)).reason == (
        "address 192.0.2.10/24 is missing on eth0 again, put back 3 times in 15 s: something else manages it "
        "(systemd-networkd, NetworkManager, dhclient, an admin?); next try within 30 s"
    )
    movable = host.says(drifted(ADDRESS), statuses={"hostb": ready_target()})
    assert movable.reason.endswith("; end that, or move it: hactl set nfs primary=hostb")


def test_a_deleted_service_that_is_down_is_down() -> None:
    host = Host(Role.ABSENT)
    for _ in range(BUDGET.times + 1):
        host.look(snapshot(False, container=Container(True, False)))
        host.look(snapshot(False))
    assert list(host.ledger.fights()) == [CONTAINER]
    assert host.says(snapshot(False), deleted=True).state == "Standby"
    assert host.says(snapshot(False)).state == "Stalled"


def test_a_change_of_the_spec_the_owner_or_the_role_begins_anew() -> None:
    idle = Verdict(Role.STANDBY, Intent.NONE)
    keys = [
        repairs.key(view(owned("hosta")), idle),
        repairs.key(view(owned("hosta"), revision=11), idle),
        repairs.key(view(owned("hosta", epoch=8)), idle),
        repairs.key(view(owned("hosta")), Verdict(Role.ACTIVE, Intent.HOLD)),
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_that_has_steps_names_who_else_may_manage_it(kind: Any) -> None:
    named = "rivals" in vars(type(kind))
    assert named == (kind.name not in ("check", "gate"))


def test_the_budget_is_in_the_spec() -> None:
    assert manifest().spec.repairs == Repairs(times=5, within=300)
    assert manifest(repairs={"times": 2}).spec.repairs == Repairs(times=2, within=300)
    with pytest.raises(SpecError, match=r"spec\.repairs\.times"):
        manifest(repairs={"times": 0})
    assert ContainerKind.rivals
