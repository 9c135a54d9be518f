"""Disks: what DRBD prints is understood, disks are promoted together or not at all, and obstacles name the way out."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.act import act
from reconciler.observe import observe
from reconciler.plan import plan
from reconciler.sim.drbd import GOES_ON
from resources.disk import Demote, DiskKind, DiskSpec, Promote, Reconnect
from resources.drbd import Copy, Disk, Peer, Volume, parse, said_by
from resources.kind import Role
from resources.machine import Finished, MachineError, Process, Unavailable
from tests.unit.support import CAPTURED, Printing, bring, captured, hosts, machine, parts, simulated, texts

KIND = DiskKind()
HOME = DiskSpec(resource="nfs-home")


def disk(
    role: str = "Secondary", state: str = "UpToDate", *peers: Peer, suspended: str = "no", size: int = 1000
) -> Disk:
    return Disk(role, suspended, (Volume(0, state, 1, size),), peers or (peer(),))


def peer(
    connection: str = "Connected",
    role: str = "Secondary",
    state: str = "UpToDate",
    replication: str = "Established",
    behind: int = 0,
    name: str = "hostb",
) -> Peer:
    return Peer(name, connection, role, (Copy(0, state, replication, behind),))


LOST = peer("Connecting", "Unknown", "DUnknown", "Off")


# -- what drbdsetup prints ---------------------------------------------------------------------------------------------


def test_three_nodes_of_drbd_9_are_read() -> None:
    assert parse(captured("drbd9-three-nodes.txt"), "drbd1") == Disk(
        role="Secondary",
        suspended="no",
        volumes=(Volume(0, "UpToDate", 1, 765868),),
        peers=(
            Peer("central-2004", "Connected", "Primary", (Copy(0, "UpToDate", "Established", 0),)),
            Peer("poller-2004-1", "Connected", "Secondary", (Copy(0, "UpToDate", "Established", 0),)),
        ),
    )


def test_each_volume_is_read_as_its_own() -> None:
    found = parse(captured("drbd9-two-volumes.txt"), "r0")
    assert found is not None
    assert found.volumes == (Volume(0, "UpToDate", 7, 6291228), Volume(1, "UpToDate", 8, 104854364))
    assert [copy.volume for copy in found.peers[0].copies] == [0, 1]


def test_every_field_that_drbd_utils_prints_is_read_or_passed_over() -> None:
    found = parse(captured("drbd9-after-its-source.txt"), "mail")
    assert found is not None
    assert found.suspended == "quorum"
    assert found.volumes == (
        Volume(0, "Inconsistent", 1003, 8384220, quorum=False),
        Volume(1, "UpToDate", 1004, 1048412),
    )
    assert found.peers[0].copies == (Copy(0, "UpToDate", "SyncTarget", 6411740), Copy(1, "UpToDate", "Established"))
    assert [copy.disk for copy in found.peers[1].copies] == ["Diskless", "Diskless"]


def test_another_resources_lines_are_not_mixed_in() -> None:
    both = captured("drbd9-three-nodes.txt") + captured("drbd9-two-volumes.txt")
    assert parse(both, "r0") == parse(captured("drbd9-two-volumes.txt"), "r0")


def test_a_resource_that_is_not_up_is_none() -> None:
    assert parse("exists -\n", "nfs-home") is None
    assert parse("", "nfs-home") is None


EVENTS = sorted(path.name for path in CAPTURED.glob("*") if path.is_file() and "exists resource" in path.read_text())


@pytest.mark.parametrize("name", EVENTS)
def test_every_capture_is_read(name: str) -> None:
    text = captured(name)
    resources = {word.removeprefix("name:") for word in text.split() if word.startswith("name:")}
    for resource in sorted(resources):
        found = parse(text, resource)
        assert found is not None
        assert found.role in ("Primary", "Secondary")
        assert all(volume.disk.isalpha() and volume.minor >= 0 for volume in found.volumes)


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_garbage_is_read_without_a_complaint(text: str) -> None:
    parse(text, "r0")


LINE = "exists change resource device connection peer-device name:r0 volume:0 volume: size:x disk: role:Primary"
WORDS = st.sampled_from(
    [*LINE.split(), "conn-name:b", "peer-node-id:", "out-of-sync:²", "minor:" + "9" * 5000, ":", "\n"]
)


@given(st.lists(WORDS, max_size=40))
def test_half_a_line_is_read_without_a_complaint(words: list[str]) -> None:
    parse(" ".join(["exists resource name:r0\n", *words]), "r0")


def test_why_drbdadm_refused_is_told_without_its_noise() -> None:
    printed = (
        "nfs-home: State change failed: (-2) Need access to UpToDate data\n"
        "additional info from kernel:\n"
        "Command 'drbdsetup-84 primary 1' terminated with exit code 17\n"
    )
    assert said_by(printed) == "Need access to UpToDate data"
    assert said_by("\n") == "it gave no reason"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("drbdadm-primary-inconsistent.txt", "Need access to UpToDate data"),
        ("drbdadm-primary-peer-is-primary.txt", "Multiple primaries not allowed by config"),
        ("drbdadm-primary-peer-not-outdated.txt", "Refusing to be Primary while peer is not outdated"),
        ("drbdadm-primary-not-configured.txt", "'nosuch' not defined in your config (for this host)."),
        ("drbdadm-primary-down.txt", "Device minor not allocated; unknown minor"),
        ("drbdadm-secondary-busy.txt", "Device is held open by someone"),
    ],
)
def test_what_drbdadm_of_the_lab_refused_is_told_in_a_clause(name: str, reason: str) -> None:
    assert said_by(captured(name).rpartition("exit ")[0]) == reason


@pytest.mark.parametrize(
    ("name", "says", "obstacles"),
    [
        ("primary-connected", "Primary, UpToDate; peer Connected/UpToDate", []),
        ("secondary-connected", "Secondary, UpToDate; peer Connected/UpToDate", []),
        (
            "primary-io-held",
            "Primary, UpToDate, I/O held (fencing); peer Connecting/DUnknown",
            ["disk nfs-home is not connected to its peer (Connecting): is the link up?"],
        ),
        (
            "secondary-connecting",
            "Secondary, UpToDate; peer Connecting/DUnknown",
            ["disk nfs-home is not connected to its peer (Connecting): is the link up?"],
        ),
        ("secondary-standalone", "Secondary, Outdated; peer StandAlone/DUnknown", ["disk nfs-home is Outdated"]),
        ("secondary-diskless", "Secondary, Diskless; peer Connected/UpToDate", ["disk nfs-home is Diskless"]),
        (
            "synctarget",
            "Secondary, Inconsistent; peer Connected/UpToDate",
            ["disk nfs-home is Inconsistent (resync 91 %)"],
        ),
        (
            "inconsistent-connecting",
            "Secondary, Inconsistent; peer Connecting/DUnknown",
            ["disk nfs-home is Inconsistent"],
        ),
        ("syncsource", "Primary, UpToDate; peer Connected/Inconsistent", []),
        ("configured-but-down", "not configured", ["disk nfs-home is not up on this host (drbdadm up nfs-home)"]),
    ],
)
def test_drbd_8_4_of_the_lab_is_read(name: str, says: str, obstacles: list[str]) -> None:
    found = parse(captured(f"drbd84-{name}.txt"), "nfs-home")
    assert KIND.says(HOME, found) == says
    assert KIND.obstacles(HOME, found) == obstacles


def test_a_primary_whose_peer_has_lost_its_disk_says_so_and_is_ready() -> None:
    found = parse(captured("drbd84-primary-peer-diskless.txt"), "nfs-home")
    assert [(one.reason, one.broken) for one in KIND.conditions(HOME, Role.ACTIVE, found)] == [
        ("the copy of disk nfs-home on its peer is Diskless", False)
    ]


# -- what is to be done ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "role", "steps"),
    [
        (disk("Secondary"), Role.ACTIVE, ["promote disk nfs-home"]),
        (disk("Primary"), Role.ACTIVE, []),
        (disk("Primary"), Role.STANDBY, ["demote disk nfs-home"]),
        (disk("Primary"), Role.ABSENT, ["demote disk nfs-home"]),
        (disk("Secondary"), Role.STANDBY, []),
        (None, Role.ACTIVE, []),
        (
            disk("Secondary", "Outdated", peer(replication="WFBitMapT")),
            Role.STANDBY,
            ["see the handshake of disk nfs-home through"],
        ),
        (disk("Secondary", "Outdated", peer(replication="WFBitMapT")), Role.ABSENT, []),
        (disk("Primary", "UpToDate", peer(replication="WFBitMapS")), Role.ACTIVE, []),
        (None, Role.ABSENT, []),
    ],
)
def test_the_role_decides_who_is_primary(seen: Disk | None, role: Role, steps: list[str]) -> None:
    assert texts(KIND.plan(HOME, role, seen)) == steps


def test_only_the_owner_promotes_and_demoting_takes_away() -> None:
    assert Promote("", "r0").exclusive
    assert not Promote("", "r0").down
    assert Demote("", "r0").down
    assert not Demote("", "r0").exclusive


@pytest.mark.parametrize(
    ("seen", "reason", "broken"),
    [
        (None, "disk nfs-home is not up on this host (drbdadm up nfs-home)", True),
        (disk("Secondary"), "disk nfs-home is Secondary here", True),
        (disk("Primary", suspended="fencing"), "disk nfs-home holds all I/O (fencing)", True),
        (disk("Primary", "UpToDate", LOST), "not connected to hostb (Connecting): is the link up?", False),
        (disk("Primary", "Diskless"), "disk nfs-home is Diskless here, served by hostb", False),
        (disk("Primary", "Diskless", LOST), "disk nfs-home is Diskless here, and no peer serves it", True),
    ],
)
def test_what_an_active_disk_lacks_is_said(seen: Disk | None, reason: str, broken: bool) -> None:
    first = KIND.conditions(HOME, Role.ACTIVE, seen)[0]
    assert reason in first.reason
    assert first.broken is broken


def test_a_healthy_disk_has_nothing_to_say_in_either_role() -> None:
    assert KIND.conditions(HOME, Role.ACTIVE, disk("Primary")) == []
    assert KIND.conditions(HOME, Role.STANDBY, disk("Secondary")) == []


def test_a_standby_that_has_no_disk_under_it_says_so_and_a_host_that_is_to_have_none_does_not() -> None:
    found = KIND.conditions(HOME, Role.STANDBY, disk("Secondary", "Diskless"))
    assert [(one.reason, one.broken) for one in found] == [("disk nfs-home is Diskless here", False)]
    assert KIND.conditions(HOME, Role.ABSENT, disk("Secondary", "Diskless")) == []


def test_a_primary_where_none_should_be_is_told_and_held() -> None:
    assert [one.reason for one in KIND.conditions(HOME, Role.STANDBY, disk("Primary"))] == [
        "disk nfs-home is Primary here"
    ]
    assert KIND.held(HOME, disk("Primary")) == "disk nfs-home is Primary"
    assert KIND.held(HOME, disk("Secondary")) == ""
    assert KIND.held(HOME, None) == ""


@pytest.mark.parametrize(
    ("seen", "obstacle"),
    [
        (None, "disk nfs-home is not up on this host (drbdadm up nfs-home)"),
        (disk(state="Outdated"), "disk nfs-home is Outdated"),
        (
            disk("Secondary", "Inconsistent", peer(replication="SyncTarget", behind=370)),
            "disk nfs-home is Inconsistent (resync 63 %)",
        ),
        (
            disk("Secondary", "Outdated", peer(replication="WFBitMapT")),
            "disk nfs-home is Outdated (asks its peer what it lacks)",
        ),
        (disk("Secondary", "UpToDate", LOST), "disk nfs-home is not connected to hostb (Connecting): is the link up?"),
        (
            disk("Secondary", "UpToDate", peer("StandAlone", "Unknown", "DUnknown", "Off")),
            "disk nfs-home has given up hostb (StandAlone): disconnected by hand, or a split brain",
        ),
        (
            disk("Secondary", "UpToDate", peer(replication="SyncTarget")),
            "disk nfs-home is being resynced from hostb",
        ),
        (Disk("Secondary", "no", (Volume(0, "UpToDate", quorum=False),)), "disk nfs-home has no quorum"),
        (Disk("Secondary", "no", ()), "disk nfs-home has no volume 0 on this host (drbdadm adjust nfs-home)"),
    ],
)
def test_why_it_could_not_be_taken_over_names_the_way_out(seen: Disk | None, obstacle: str) -> None:
    assert KIND.obstacles(HOME, seen) == [obstacle]


def test_a_current_and_connected_copy_can_be_taken_over() -> None:
    assert KIND.obstacles(HOME, disk("Secondary", "UpToDate", peer(role="Primary"))) == []


def test_a_third_node_that_is_away_is_no_obstacle_while_the_primary_is_there() -> None:
    away = peer("Connecting", "Unknown", "DUnknown", "Off", name="witness")
    assert KIND.obstacles(HOME, disk("Secondary", "UpToDate", peer(role="Primary"), away)) == []
    assert len(KIND.obstacles(HOME, disk("Secondary", "UpToDate", peer(), away))) == 1


def test_of_several_volumes_the_one_that_is_behind_is_named() -> None:
    found = parse(captured("drbd9-after-its-source.txt"), "mail")
    spec = DiskSpec(resource="mail", volumes=(0, 1))
    assert KIND.obstacles(spec, found) == [
        "disk mail volume 0 is Inconsistent (resync 24 %)",
        "disk mail volume 0 has no quorum",
    ]
    assert KIND.says(spec, found) == (
        "Secondary, Inconsistent/UpToDate, I/O held (quorum); "
        "hosta Connected/UpToDate/UpToDate, witness Connected/Diskless/Diskless"
    )


def test_its_state_is_said_in_a_few_words() -> None:
    assert KIND.says(HOME, disk("Primary")) == "Primary, UpToDate; hostb Connected/UpToDate"
    assert KIND.says(HOME, disk("Primary", suspended="fencing")) == (
        "Primary, UpToDate, I/O held (fencing); hostb Connected/UpToDate"
    )
    assert KIND.says(HOME, None) == "not configured"


def test_volumes_of_one_resource_are_one_part() -> None:
    disks = [{"resource": "r0", "volume": 1, "mount": "/b"}, {"resource": "r0", "mount": "/a"}, {"resource": "r1"}]
    found = [part for part in parts(disks=disks) if part.kind.name == "disk"]
    assert [part.id for part in found] == ["disk/r0", "disk/r1"]
    assert found[0].spec == DiskSpec(resource="r0", volumes=(0, 1))
    assert found[0].kind.topics(found[0].spec) == frozenset({"disk/r0"})


# -- held I/O and stale copies -----------------------------------------------------------------------------------------

HELD = disk("Primary", "UpToDate", LOST, suspended="fencing")


def test_a_primary_that_lost_its_peer_is_held_up_and_goes_on_or_gives_up() -> None:
    assert KIND.held_up(HOME, HELD)
    assert KIND.held_up(HOME, parse(captured("drbd84-primary-io-held.txt"), "nfs-home"))
    assert not KIND.held_up(HOME, disk("Primary"))
    assert not KIND.held_up(HOME, disk("Primary", suspended="user"))
    assert not KIND.held_up(HOME, None)
    [resume], [give_up] = KIND.go_on(HOME, HELD), KIND.give_up(HOME, HELD)
    assert (str(resume), resume.exclusive) == ("resume the I/O of disk nfs-home", True)
    assert (str(give_up), give_up.exclusive, give_up.down) == ("give up the held I/O of disk nfs-home", False, True)


WITNESS = Peer("witness", "Connected", "Secondary", (Copy(0, "Diskless", "Established", 0, client=True),))


@pytest.mark.parametrize(
    ("seen", "current"),
    [
        (disk("Primary"), True),
        (disk("Primary", "UpToDate", peer(), WITNESS), True),
        (disk("Primary", "UpToDate", peer(), replace(WITNESS, copies=(Copy(0, "Diskless"),))), False),
        (disk("Secondary"), False),
        (disk("Primary", "UpToDate", LOST), False),
        (disk("Primary", "UpToDate", peer(state="Inconsistent", replication="SyncSource")), False),
        (disk("Primary", "UpToDate", peer(), peer("Connecting", name="hostc")), False),
        (Disk("Primary", "no", (Volume(0, "UpToDate"), Volume(1, "UpToDate")), (peer(),)), False),
        (Disk("Primary", "no", (Volume(0, "UpToDate"),), ()), False),
        (None, False),
    ],
)
def test_the_other_copies_are_current_when_each_is_connected_and_up_to_date(seen: Disk | None, current: bool) -> None:
    assert KIND.current(HOME, seen) is current


def test_a_disk_that_was_detached_is_attached_again_on_the_standby() -> None:
    found = parse(captured("drbd84-secondary-diskless.txt"), "nfs-home")
    assert texts(KIND.plan(HOME, Role.STANDBY, found)) == ["attach disk nfs-home"]
    assert KIND.plan(HOME, Role.ABSENT, found) == []


# -- on the simulated hosts --------------------------------------------------------------------------------------------


@simulated
async def test_it_goes_up_and_down_and_nothing_is_left_to_do() -> None:
    world = hosts("nfs-home")
    hands = machine(world.hosts["hosta"])
    assert texts(await bring(KIND, HOME, Role.ACTIVE, hands)) == ["promote disk nfs-home"]
    assert world.disks["nfs-home"].copies["hosta"].role == "Primary"
    assert texts(await bring(KIND, HOME, Role.STANDBY, hands)) == ["demote disk nfs-home"]
    assert world.disks["nfs-home"].copies["hosta"].role == "Secondary"


@simulated
async def test_a_second_primary_is_refused_in_one_sentence() -> None:
    world = hosts("nfs-home")
    await bring(KIND, HOME, Role.ACTIVE, machine(world.hosts["hosta"]))
    with pytest.raises(MachineError, match=r"DRBD refuses to make nfs-home primary: .*Multiple primaries not allowed"):
        await Promote("", "nfs-home").run(machine(world.hosts["hostb"]))
    assert world.disks["nfs-home"].copies["hostb"].role == "Secondary"


@simulated
async def test_disks_that_were_promoted_are_put_back_where_one_of_them_cannot_be() -> None:
    world = hosts("nfs-home", "nfs-mail", "nfs-state")
    world.hosts["hosta"].faults["drbdadm primary nfs-mail"] = "fail"
    hands = machine(world.hosts["hosta"])
    disks = [{"resource": "nfs-home"}, {"resource": "nfs-mail"}, {"resource": "nfs-state"}]
    steps = plan(await observe(parts(disks=disks, container=None), hands), Role.ACTIVE)
    outcome = await act(steps, hands, lambda: "", lambda _step, _ran: None)
    assert outcome.failed is not None
    assert str(outcome.failed.step) == "promote disk nfs-mail"
    assert [world.disks[name].copies["hosta"].role for name in sorted(world.disks)] == ["Secondary"] * 3


@simulated
async def test_a_disk_that_is_down_or_unheard_of_is_not_configured() -> None:
    world = hosts("nfs-home")
    world.disks["nfs-home"].copies["hosta"].up = False
    hands = machine(world.hosts["hosta"])
    assert await KIND.observe(HOME, hands) is None
    assert await KIND.observe(DiskSpec(resource="other"), hands) is None


@simulated
async def test_a_drbdsetup_that_does_not_answer_leaves_the_disk_unknown() -> None:
    hands = Printing(hosts().hosts["hosta"], Finished(20, "", "Could not connect to 'drbd' generic netlink family\n"))
    with pytest.raises(Unavailable, match="how disk nfs-home is: Could not connect to 'drbd' generic netlink family"):
        await KIND.observe(HOME, hands)


@simulated
async def test_alone_it_is_promoted_only_when_the_peer_is_surely_outdated() -> None:
    world = hosts("nfs-home")
    hands = machine(world.hosts["hosta"])
    world.power_off("hostb")
    await hands.sleep(10)
    with pytest.raises(MachineError, match="Refusing to be Primary while peer is not outdated"):
        await Promote("", "nfs-home").run(hands)

    async def marks(_host: str, _resource: str, _peer: str) -> int:
        return GOES_ON

    world.handle_fencing(marks)
    await bring(KIND, HOME, Role.ACTIVE, hands)
    assert world.disks["nfs-home"].copies["hosta"].role == "Primary"


async def test_a_demotion_that_finds_the_disk_busy_names_who_holds_it_and_where() -> None:
    class Busy(Printing):
        async def users(self, number: str) -> tuple[Process, ...]:
            return (Process(12, "less", "S", container="nfs"), Process(34, "dd", "D", "io_schedule", container=""))

        async def device_number(self, device: str) -> str | None:
            return "147:1"

    refusal = captured("drbdadm-secondary-busy.txt").rpartition("exit ")[0]
    busy = Busy(hosts().hosts["hosta"], Finished(11, "/dev/drbd1\n", refusal))
    with pytest.raises(MachineError) as refused:
        await Demote("", "nfs-home").run(busy)
    assert str(refused.value) == (
        "DRBD refuses to make nfs-home secondary: Device is held open by someone; "
        "held by less (12, S, container nfs), dd (34, D in io_schedule, on the host)"
    )


@simulated
async def test_a_handshake_that_is_begun_anew_is_so_though_the_step_is_given_up_half_way() -> None:
    world = hosts("nfs-home")
    copy = world.disks["nfs-home"].copies["hostb"]
    world.disks["nfs-home"].hung = "hostb"
    step = asyncio.create_task(Reconnect("", "nfs-home").run(machine(world.hosts["hostb"])))
    for _ in range(3000):
        if copy.standalone:
            break
        await asyncio.sleep(0.01)
    assert copy.standalone
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    assert not copy.standalone
