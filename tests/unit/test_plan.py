"""Plan: what goes goes first, from the clients; what comes comes from the disks; nothing is built on the unknown."""

from __future__ import annotations

from typing import Any

from reconciler.observe import Snapshot
from reconciler.plan import plan
from resources.check import Answer
from resources.container import ContainerKind
from resources.drbd import Disk, Peer, Volume
from resources.gate import Answers
from resources.kind import AnyPart, Role, Unknown
from resources.machine import Address, Container, Mounted
from resources.mount import MountSeen
from resources.unit import UnitSeen
from tests.unit.support import parts

FIELDS: dict[str, Any] = {
    "disks": [{"resource": "home", "mount": "/srv"}, {"resource": "state", "mount": "/srv/state"}],
    "units": ["a.service", "b.service"],
    "addresses": [{"address": "192.0.2.10/24"}, {"address": "2001:db8::10/64"}],
    "checks": [{"tcp": 80}],
    "gates": [{"ping": ["192.0.2.1"]}],
}
PARTS = parts(**FIELDS)
DOWN = "Secondary"
UNKNOWN = Unknown("no answer")


def looks(part: AnyPart, up: bool) -> Any:
    """The part as an active host has it, or as a standby does."""
    mounted = Mounted(getattr(part.spec, "target", ""), "147:1", "ext4", "/dev/drbd1", False)
    address = Address("eth0", getattr(part.spec, "address", ""))
    return {
        "disk": Disk("Primary" if up else DOWN, "no", (Volume(0, "UpToDate", 1, 9),), (Peer("hostb", "Connected"),)),
        "container": Container(True, True, 7),
        "mount": MountSeen((mounted,), "147:1") if up else MountSeen(),
        "unit": UnitSeen("loaded", "active" if up else "inactive"),
        "address": (address,) if up else (),
        "check": Answer(),
        "gate": Answers(("192.0.2.1",)),
    }[part.kind.name]


def snapshot(up: bool, **changed: Any) -> Snapshot:
    """`changed`: the kind or the id (as keys of a dict: `**{"disk/home": …}`) -> what is seen instead."""
    seen = {}
    for part in PARTS:
        seen[part.id] = changed.get(part.id, changed.get(part.kind.name, looks(part, up)))
    return Snapshot(PARTS, seen)


def steps(seen: Snapshot, role: Role, dropped: frozenset[str] = frozenset()) -> list[str]:
    return [str(step) for step in plan(seen, role, dropped).steps]


UP = [
    "promote disk home",
    "promote disk state",
    "mount /srv",
    "mount /srv/state",
    "start a.service",
    "start b.service",
    "add 192.0.2.10/24 to eth0",
    "add 2001:db8::10/64 to eth0",
]
PUT_DOWN = [
    "remove 2001:db8::10/64 from eth0",
    "remove 192.0.2.10/24 from eth0",
    "stop b.service",
    "stop a.service",
    "unmount /srv/state",
    "unmount /srv",
    "demote disk state",
    "demote disk home",
]


def test_it_comes_up_from_the_disks_to_the_clients() -> None:
    assert steps(snapshot(up=False), Role.ACTIVE) == UP


def test_it_goes_down_from_the_clients_to_the_disks() -> None:
    assert steps(snapshot(up=True), Role.STANDBY) == PUT_DOWN


def test_where_nothing_is_to_be_done_there_is_no_plan() -> None:
    assert plan(snapshot(up=True), Role.ACTIVE).groups == ()
    assert plan(snapshot(up=False), Role.STANDBY).groups == ()


def test_absent_stops_the_container_too_and_after_what_is_in_it() -> None:
    down = steps(snapshot(up=True), Role.ABSENT)
    assert down == [*PUT_DOWN[:6], "stop container nfs", *PUT_DOWN[6:]]


def test_only_what_is_missing_is_put_back() -> None:
    assert steps(snapshot(up=True, **{"address/192.0.2.10/24": ()}), Role.ACTIVE) == ["add 192.0.2.10/24 to eth0"]


def test_disks_and_addresses_go_side_by_side_and_the_rest_in_turn() -> None:
    found = {
        (group.stage.name, len(group.steps)): group.side_by_side
        for group in plan(snapshot(up=False), Role.ACTIVE).groups
    }
    assert found == {("DISK", 2): True, ("MOUNT", 2): False, ("UNIT", 2): False, ("ADDRESS", 2): True}


def test_what_is_wrong_goes_before_what_is_missing_comes() -> None:
    wrong = (Address("eth1", "192.0.2.10/24"),)
    seen = snapshot(up=False, **{"address/192.0.2.10/24": wrong})
    assert steps(seen, Role.ACTIVE)[0] == "remove 192.0.2.10/24 from eth1"
    assert steps(seen, Role.ACTIVE)[1:] == UP


# -- what is unknown ---------------------------------------------------------------------------------------------------


def test_nothing_is_built_upon_what_is_unknown() -> None:
    assert steps(snapshot(up=False, **{"disk/home": UNKNOWN}), Role.ACTIVE) == ["promote disk state"]
    assert steps(snapshot(up=False, **{"mount//srv": UNKNOWN}), Role.ACTIVE) == [*UP[:2], "mount /srv/state"]
    assert steps(snapshot(up=False, container=UNKNOWN), Role.ACTIVE) == UP[:2]


def test_nothing_is_pulled_away_from_under_what_is_unknown() -> None:
    assert steps(snapshot(up=True, **{"unit/b.service": UNKNOWN}), Role.STANDBY) == [*PUT_DOWN[:2], "stop a.service"]
    assert steps(snapshot(up=True, address=UNKNOWN), Role.STANDBY) == []


def test_what_only_looks_on_holds_nothing_up() -> None:
    seen = snapshot(up=True, check=UNKNOWN, gate=UNKNOWN)
    assert steps(seen, Role.STANDBY) == PUT_DOWN
    assert steps(snapshot(up=False, check=UNKNOWN, gate=UNKNOWN), Role.ACTIVE) == UP


# -- what is no longer in the spec -------------------------------------------------------------------------------------


def test_what_is_dropped_goes_whatever_the_role() -> None:
    dropped = frozenset({"address/192.0.2.10/24", "unit/b.service", "disk/state", "mount//srv/state"})
    assert steps(snapshot(up=True), Role.ACTIVE, dropped) == [
        "remove 192.0.2.10/24 from eth0",
        "stop b.service",
        "unmount /srv/state",
        "demote disk state",
    ]
    assert steps(snapshot(up=False), Role.ACTIVE, dropped) == [
        "promote disk home",
        "mount /srv",
        "start a.service",
        "add 2001:db8::10/64 to eth0",
    ]


def test_a_dropped_container_is_stopped() -> None:
    kind = ContainerKind()
    [part] = [part for part in PARTS if part.kind.name == kind.name]
    assert steps(snapshot(up=True), Role.ACTIVE, frozenset({part.id})) == ["stop container nfs"]


def test_nothing_is_built_on_a_container_that_starts_where_something_was_seen_in_an_earlier_one() -> None:
    """An orphan's mounts were taken for the new container's, and its units started on an empty directory."""
    stale = snapshot(True, container=Container(True, False), unit=UnitSeen("loaded", "inactive"), address=())
    assert [str(step) for step in plan(stale, Role.ACTIVE).steps] == ["start container nfs"]
    cold = snapshot(False, container=Container(True, False))
    assert len(plan(cold, Role.ACTIVE).steps) > 5


def test_what_runs_without_its_mount_is_stopped_before_that_is_mounted_and_started_on_it() -> None:
    """Enabled, it has started with the container: it writes beneath, and what it wrote would be gone."""
    assert steps(snapshot(True, **{"mount//srv": MountSeen()}), Role.ACTIVE) == [
        "stop b.service",
        "stop a.service",
        "mount /srv",
        "start a.service",
        "start b.service",
    ]
    one = {"mount//srv": MountSeen(), "unit/a.service": UnitSeen("loaded", "inactive")}
    assert steps(snapshot(True, **one), Role.ACTIVE) == [
        "stop b.service",
        "mount /srv",
        "start a.service",
        "start b.service",
    ]


def test_a_mount_that_is_only_read_only_restarts_nothing() -> None:
    readonly = Mounted("/srv", "147:1", "ext4", "/dev/drbd1", True)
    assert steps(snapshot(True, **{"mount//srv": MountSeen((readonly,), "147:1")}), Role.ACTIVE) == [
        "make /srv writable"
    ]
