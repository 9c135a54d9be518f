"""Probes: asked in the background at their own pace, and nothing of a look is left once it is not asked any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from reconciler.observe import Snapshot
from reconciler.ownership import Intent, Verdict
from reconciler.probes import Asked, Probes
from reconciler.sim.machine import SimMachine
from reconciler.sim.world import Host
from resources.check import Answer
from resources.gate import Answers
from resources.kind import AnyPart, Pending, Role
from resources.machine import Unavailable
from tests.unit.support import hosts, machine, parts, simulated, view

SWITCH = "192.0.2.1"
ACTIVE = Verdict(Role.ACTIVE, Intent.HOLD, epoch=7)
STANDBY = Verdict(Role.STANDBY, Intent.NONE)


def running() -> Host:
    """A host on which the container nfs runs, and something accepts in it."""
    host = hosts().hosts["hosta"]
    host.start_domain("nfs")
    place = host.place("nfs")
    assert place is not None
    host.set_unit(place, "nfs.service", "active", "running")
    return host


def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work, name=name)


class Told:
    """Counts how often another pass was called for."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def asked(hands: SimMachine, told: Callable[[], None] = lambda: None) -> Asked:
    return Asked(hands, spawn, told)


def checks(*written: dict[str, Any]) -> list[AnyPart]:
    return [part for part in parts(checks=list(written)) if part.kind.name == "check"]


def gates(*written: dict[str, Any]) -> list[AnyPart]:
    return [part for part in parts(gates=list(written)) if part.kind.name == "gate"]


def only(found: dict[str, Any]) -> Any:
    [one] = found.values()
    return one


@simulated
async def test_what_was_just_begun_has_not_answered_and_is_asked_at_once() -> None:
    found, [check] = asked(machine(running())), checks({"tcp": 2049})
    assert found.judged([check]) == {}
    await found.keep([check])
    assert only(found.judged([check])) == Pending()
    began = asyncio.get_running_loop().time()
    await found.prompt()
    assert only(found.judged([check])) == Answer(of=1)
    assert asyncio.get_running_loop().time() - began < 0.1


@simulated
async def test_a_pass_waits_for_first_answers_only_and_not_for_long() -> None:
    host = running()
    host.faults["tcp 2049"] = "hang"
    found, [check] = asked(machine(host)), checks({"tcp": 2049})
    await found.keep([check])
    clock = asyncio.get_running_loop().time
    began = clock()
    await found.prompt()
    assert 0.4 < clock() - began < 0.6
    began = clock()
    await found.prompt()
    assert clock() == began


@simulated
async def test_one_that_hangs_is_down_after_its_three_patiences_and_told() -> None:
    host, told = running(), Told()
    found, [check] = asked(machine(host), told), checks({"tcp": 2049})
    await found.keep([check])
    await asyncio.sleep(30)
    found.judged([check])
    told.times = 0
    host.faults["tcp 2049"] = "hang"
    await asyncio.sleep(10 + 5 + 10)
    assert only(found.judged([check])).wrong == ""
    assert told.times == 0
    await asyncio.sleep(2 + 30 + 12)
    assert told.times >= 1
    assert only(found.judged([check])).wrong == "tcp 2049 did not answer within 30 s"


@simulated
async def test_where_a_container_cannot_be_asked_nothing_is_held_against_the_check() -> None:
    """A libvirtd that is restarted is no failed look."""
    host, told = running(), Told()
    found, [check] = asked(machine(host), told), checks({"tcp": 2049})
    await found.keep([check])
    await asyncio.sleep(1)
    before = only(found.judged([check]))
    told.times, host.libvirtd = 0, False
    await asyncio.sleep(40)
    assert only(found.judged([check])).wrong == ""
    host.libvirtd = True
    await asyncio.sleep(5)
    after = only(found.judged([check]))
    assert (after.failed, after.wrong, told.times) == (0, "", 0)
    assert after.of > before.of
    host.libvirtd = False
    await asyncio.sleep(75)
    assert told.times
    assert isinstance(only(found.judged([check])), Pending)


@simulated
async def test_a_hung_program_is_gone_as_soon_as_nobody_asks_any_more() -> None:
    host = running()
    place = host.place("nfs")
    assert place is not None
    found, [check] = asked(machine(host)), checks({"exec": ["sleep", "1000"]})
    await found.keep([check])
    await asyncio.sleep(1)
    assert place.running == [("sleep", "1000")]
    await found.keep([])
    assert place.running == []
    assert found.judged([check]) == {}


@simulated
async def test_a_program_that_hangs_is_never_there_twice() -> None:
    host = running()
    place = host.place("nfs")
    assert place is not None
    found, [check] = asked(machine(host)), checks({"exec": ["sleep", "1000"], "timeout": 1, "fall": 2})
    await found.keep([check])
    for _ in range(100):
        await asyncio.sleep(0.1)
        assert len(place.running) <= 1
    assert only(found.judged([check])).wrong == "sleep took longer than 1 s and was ended"
    found.end()
    await asyncio.sleep(0)
    assert place.running == []


@simulated
async def test_in_a_new_epoch_no_old_answer_counts_and_in_the_same_one_it_does() -> None:
    found, [check] = asked(machine(running())), checks({"tcp": 2049})
    await found.keep([check], 7)
    await asyncio.sleep(1)
    await found.keep([check], 7)
    assert only(found.judged([check])) == Answer(of=1)
    await found.keep([check], 8)
    assert only(found.judged([check])) == Pending()


@simulated
async def test_a_check_that_is_changed_is_asked_anew() -> None:
    found, [before], [after] = asked(machine(running())), checks({"tcp": 2049}), checks({"tcp": 2049, "fall": 9})
    await found.keep([before])
    await asyncio.sleep(1)
    await found.keep([after])
    assert only(found.judged([after])) == Pending()


@simulated
async def test_an_answer_of_a_gate_that_is_a_minute_old_does_not_count() -> None:
    host, told = running(), Told()
    host.world.neighbours.add(SWITCH)
    found, [gate] = asked(machine(host), told), gates({"ping": [SWITCH]})
    await found.keep([gate])
    await asyncio.sleep(1)
    assert only(found.judged([gate])) == Answers((SWITCH,))
    host.world.neighbours.clear()
    await asyncio.sleep(58)
    assert only(found.judged([gate])) == Answers((SWITCH,))
    assert told.times == 0
    await asyncio.sleep(2)
    assert told.times == 1
    assert only(found.judged([gate])) == Pending()
    await asyncio.sleep(16)
    assert told.times == 2
    assert only(found.judged([gate])).silent == (SWITCH,)
    host.world.neighbours.add(SWITCH)
    await asyncio.sleep(50)
    assert only(found.judged([gate])) == Answers((SWITCH,))


@simulated
async def test_what_is_down_and_stays_so_calls_for_fewer_and_fewer_passes() -> None:
    host, told = running(), Told()
    host.faults["tcp 2049"] = "fail"
    found, [check] = asked(machine(host), told), checks({"tcp": 2049})
    await found.keep([check])
    last = 0
    for _ in range(3600):
        await asyncio.sleep(1)
        if told.times > last:
            last = told.times
            found.judged([check])
    assert told.times < 15


@simulated
async def test_well_it_calls_for_no_pass_at_all() -> None:
    told = Told()
    found, [check] = asked(machine(running()), told), checks({"tcp": 2049})
    await found.keep([check])
    await found.prompt()
    found.judged([check])
    await asyncio.sleep(3600)
    assert told.times == 0


# -- of a service ------------------------------------------------------------------------------------------------------

FIELDS: dict[str, Any] = {
    "primary": "hosta",
    "units": ["nfs.service"],
    "checks": [{"tcp": 2049}],
    "gates": [{"ping": [SWITCH], "attempts": [1]}],
}
ALL = parts(**FIELDS)
CHECK, GATE = "check/tcp 2049", f"gate/ping {SWITCH}"


async def seen(probes: Probes, verdict: Verdict, revision: int = 10, **fields: Any) -> Snapshot:
    found = await probes.look(view(fields={**FIELDS, **fields}, revision=revision), ALL)
    return await probes.follow(found, verdict, frozenset())


@simulated
async def test_checks_are_asked_of_the_active_host_alone_and_once_the_rest_is_up() -> None:
    host = running()
    place = host.place("nfs")
    assert place is not None
    probes = Probes(machine(host), spawn, lambda: None)
    assert (await seen(probes, STANDBY)).seen[CHECK] == Pending()
    assert (await seen(probes, ACTIVE)).seen[CHECK] == Answer(of=1)
    host.set_unit(place, "nfs.service", "inactive", "dead")
    assert (await seen(probes, ACTIVE)).seen[CHECK] == Pending()
    host.set_unit(place, "nfs.service", "active", "running")
    assert (await seen(probes, ACTIVE)).seen[CHECK] == Answer(of=1)
    assert (await seen(probes, STANDBY)).seen[CHECK] == Pending()


@simulated
async def test_a_daemon_that_does_not_answer_leaves_checks_as_they_are() -> None:
    host = running()
    probes = Probes(machine(host), spawn, lambda: None)
    await seen(probes, ACTIVE)
    host.libvirtd = False
    assert (await seen(probes, ACTIVE)).seen[CHECK] == Answer(of=1)


@simulated
async def test_the_gates_of_a_move_to_this_host_are_asked_as_it_begins() -> None:
    host = running()
    host.world.neighbours.add(SWITCH)
    probes = Probes(machine(host), spawn, lambda: None)
    assert (await seen(probes, STANDBY, primary="hostb")).seen[GATE] == Answers((SWITCH,))
    host.world.neighbours.clear()
    assert (await seen(probes, STANDBY, 11, primary="hostb")).seen[GATE] == Answers((SWITCH,))
    assert (await seen(probes, STANDBY, 12)).seen[GATE] == Pending()
    await asyncio.sleep(1)
    assert (await seen(probes, STANDBY, 12)).seen[GATE] == Answers(silent=(SWITCH,))


@simulated
async def test_a_host_that_may_not_run_it_asks_nothing() -> None:
    host = running()
    host.world.neighbours.add(SWITCH)
    probes = Probes(machine(host), spawn, lambda: None)
    found = await seen(probes, STANDBY, hosts=["hostb"], primary="hostb")
    assert found.seen[GATE] == Pending()


@simulated
async def test_what_it_is_restarted_for_is_forgotten() -> None:
    host = running()
    probes = Probes(machine(host), spawn, lambda: None)
    await seen(probes, ACTIVE)
    await probes.restarting()
    host.faults["tcp 2049"] = "hang"
    assert (await seen(probes, ACTIVE)).seen[CHECK] == Pending()


@simulated
async def test_a_missing_program_has_failed_and_a_missing_container_says_nothing() -> None:
    [check] = checks({"exec": ["nosuch"]})
    assert await check.kind.observe(check.spec, machine(running())) == Answer("there is no program nosuch")
    with pytest.raises(Unavailable, match="container nfs does not run"):
        await check.kind.observe(check.spec, machine(hosts().hosts["hosta"]))
