"""Units: started in the order in which they are written, stopped with whatever would start them again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.act import act
from reconciler.observe import observe
from reconciler.plan import plan
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Host, Place
from resources.kind import Role
from resources.machine import Finished, MachineError, Unavailable
from resources.unit import Start, Stop, UnitKind, UnitSeen, UnitSpec, parse
from tests.unit.support import Printing, bring, captured, hosts, machine, parts, simulated, texts

KIND = UnitKind()
RPC = UnitSpec(unit="rpcbind.service", domain="nfs")
RUNS = UnitSeen("loaded", "active", "running", "success")
FAILED = UnitSeen("loaded", "failed", "failed", "exit-code")

# systemctl show --property=LoadState,ActiveState,SubState,Result,TriggeredBy of systemd 252 (Debian 12)
SHOWN = """TriggeredBy=rpcbind.socket
Result=success
LoadState=loaded
ActiveState=active
SubState=running
"""


def warm() -> tuple[Host, Place, SimMachine]:
    host = hosts().hosts["hosta"]
    host.start_domain("nfs")
    place = host.place("nfs")
    assert place is not None
    return host, place, machine(host)


def test_what_systemctl_prints_is_read() -> None:
    assert parse(SHOWN) == UnitSeen("loaded", "active", "running", "success", ("rpcbind.socket",))
    assert parse("LoadState=not-found\nActiveState=inactive\nSubState=dead\n") == UnitSeen(
        "not-found", "inactive", "dead", ""
    )


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("running", UnitSeen("loaded", "active", "running", "success", ("rpcbind.socket",))),
        ("exited", UnitSeen("loaded", "active", "exited", "success")),
        ("inactive", UnitSeen("loaded", "inactive", "dead", "success")),
        ("failed", UnitSeen("loaded", "failed", "failed", "exit-code")),
        ("killed", UnitSeen("loaded", "failed", "failed", "signal")),
        ("masked", UnitSeen("masked", "inactive", "dead", "success")),
        ("not-found", UnitSeen("not-found", "inactive", "dead", "success")),
        ("socket", UnitSeen("loaded", "active", "running", "success")),
    ],
)
def test_systemd_252_of_the_lab_is_read(name: str, seen: UnitSeen) -> None:
    assert parse(captured(f"systemctl-show-{name}.txt")) == seen


@given(st.text(max_size=200))
def test_garbage_is_read_without_a_complaint(text: str) -> None:
    parse(text)


@pytest.mark.parametrize(
    ("seen", "role", "steps"),
    [
        (UnitSeen(), Role.ACTIVE, ["start rpcbind.service"]),
        (UnitSeen("loaded", "activating", "auto-restart"), Role.ACTIVE, ["start rpcbind.service"]),
        (FAILED, Role.ACTIVE, ["start rpcbind.service"]),
        (RUNS, Role.ACTIVE, []),
        (UnitSeen("loaded", "reloading"), Role.ACTIVE, []),
        (RUNS, Role.STANDBY, ["stop rpcbind.service"]),
        (UnitSeen("loaded", "activating"), Role.STANDBY, ["stop rpcbind.service"]),
        (UnitSeen("loaded", "deactivating"), Role.ABSENT, ["stop rpcbind.service"]),
        (FAILED, Role.STANDBY, []),
        (UnitSeen(), Role.STANDBY, []),
    ],
)
def test_the_role_decides_whether_it_runs(seen: UnitSeen, role: Role, steps: list[str]) -> None:
    assert texts(KIND.plan(RPC, role, seen)) == steps


@pytest.mark.parametrize(
    ("seen", "role", "reasons"),
    [
        (RUNS, Role.ACTIVE, []),
        (FAILED, Role.ACTIVE, ["rpcbind.service is failed (exit-code)"]),
        (UnitSeen("loaded", "inactive", "dead", "success"), Role.ACTIVE, ["rpcbind.service is inactive"]),
        (RUNS, Role.STANDBY, ["rpcbind.service runs"]),
        (UnitSeen(), Role.STANDBY, []),
    ],
)
def test_what_is_not_as_it_should_be_is_said(seen: UnitSeen, role: Role, reasons: list[str]) -> None:
    assert [condition.reason for condition in KIND.conditions(RPC, role, seen)] == reasons


def test_one_that_is_not_installed_is_an_obstacle() -> None:
    assert KIND.obstacles(RPC, UnitSeen("not-found")) == ["rpcbind.service is not-found in container nfs"]
    assert KIND.obstacles(UnitSpec(unit="a.service", domain=None), UnitSeen("masked")) == [
        "a.service is masked on this host"
    ]
    assert KIND.obstacles(RPC, RUNS) == []
    assert KIND.obstacles(RPC, UnitSeen()) == []


def test_it_is_held_while_anything_of_it_may_run() -> None:
    assert KIND.held(RPC, UnitSeen("loaded", "deactivating")) == "rpcbind.service runs"
    assert KIND.held(RPC, FAILED) == ""


def test_its_state_is_said_in_a_few_words() -> None:
    assert KIND.says(RPC, RUNS) == "active (running)"
    assert KIND.says(RPC, UnitSeen()) == "inactive"
    assert KIND.topics(RPC) == frozenset({"units/nfs"})


def test_starting_is_the_owners_and_stopping_takes_away() -> None:
    assert (Start.exclusive, Start.down) == (True, False)
    assert (Stop.exclusive, Stop.down) == (False, True)


# -- on the simulated host ---------------------------------------------------------------------------------------------


@simulated
async def test_it_starts_and_stops_and_nothing_is_left_to_do() -> None:
    _, place, hands = warm()
    assert texts(await bring(KIND, RPC, Role.ACTIVE, hands)) == ["start rpcbind.service"]
    assert place.unit("rpcbind.service").active == "active"
    assert texts(await bring(KIND, RPC, Role.STANDBY, hands)) == ["stop rpcbind.service"]
    assert place.unit("rpcbind.service").active == "inactive"


@simulated
async def test_a_socket_that_would_start_it_again_is_stopped_before_it() -> None:
    host, place, hands = warm()
    for name in ("rpcbind.socket", "rpcbind.service"):
        host.set_unit(place, name, "active", "running")
    began = len(host.world.log)
    [stop] = KIND.plan(RPC, Role.STANDBY, parse(SHOWN))
    await stop.run(hands)
    assert [text for _, _, text in host.world.log[began:] if text.endswith("inactive")] == [
        "rpcbind.socket inactive",
        "rpcbind.service inactive",
    ]


@simulated
async def test_one_that_failed_too_often_is_started_again() -> None:
    host, place, hands = warm()
    host.set_unit(place, "rpcbind.service", "failed", "failed", "start-limit-hit")
    steps = await bring(KIND, RPC, Role.ACTIVE, hands)
    assert [step.reason for step in steps] == ["it has failed (start-limit-hit)"]
    assert place.unit("rpcbind.service").active == "active"


@simulated
async def test_units_start_as_written_and_stop_the_other_way_round() -> None:
    host, _, hands = warm()
    names = ["rpcbind.service", "nfs-server.service", "a.service"]
    found = tuple(part for part in parts(units=names) if part.kind.name == "unit")
    for role, done, order in ((Role.ACTIVE, "active", names), (Role.STANDBY, "inactive", names[::-1])):
        began = len(host.world.log)
        outcome = await act(plan(await observe(found, hands), role), hands, lambda: "", lambda _step, _ran: None)
        assert outcome.complete
        ended = [text for _, _, text in host.world.log[began:] if text.endswith(f" {done}")]
        assert ended == [f"{name} {done}" for name in order]


@simulated
async def test_one_that_does_not_start_says_why_in_one_line() -> None:
    host, _, hands = warm()
    host.faults["systemctl start rpcbind.service"] = "fail"
    with pytest.raises(MachineError, match=r"^systemctl start rpcbind.service: Job for rpcbind.service failed because"):
        await Start("", RPC).run(hands)
    host.missing_units.add("nosuch.service")
    with pytest.raises(MachineError, match=r"Unit nosuch.service not found\.$"):
        await Start("", UnitSpec(unit="nosuch.service", domain="nfs")).run(hands)


@simulated
async def test_in_a_stopped_container_nothing_runs() -> None:
    assert await KIND.observe(RPC, machine(hosts().hosts["hosta"])) == UnitSeen()


@simulated
async def test_a_systemd_that_does_not_answer_leaves_it_unknown() -> None:
    host, _, _ = warm()
    hands = Printing(host, Finished(1, "", "Failed to connect to bus: Connection refused\n"))
    with pytest.raises(Unavailable, match="systemd in nfs does not answer: Failed to connect to bus"):
        await KIND.observe(RPC, hands)
