"""Act: every step has its time, only the owner runs what is exclusive, the first failure ends it, disks go back."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from reconciler.act import Outcome, Ran, act
from reconciler.plan import Group, Plan
from reconciler.sim.machine import SimMachine
from resources.kind import Stage, Step
from resources.machine import Machine, MachineError
from tests.unit.support import hosts, machine, simulated


@dataclass(frozen=True)
class Write(Step):
    """Writes a file named like itself, after `seconds`; `fails` instead."""

    name: str
    seconds: float = 1.0
    fails: str = ""
    timeout = 30.0

    def __str__(self) -> str:
        return f"write {self.name}"

    @property
    def done(self) -> str:
        return f"{self.name} written"

    async def run(self, machine: Machine) -> None:
        await machine.sleep(self.seconds)
        if self.fails:
            raise MachineError(self.fails)
        machine.write(f"/{self.name}", "there")

    def undo(self) -> Step | None:
        return Erase("another could not be written", self.name)


@dataclass(frozen=True)
class Own(Write):
    exclusive = True


@dataclass(frozen=True)
class Try(Write):
    optional = True


@dataclass(frozen=True)
class Erase(Step):
    name: str
    down = True

    def __str__(self) -> str:
        return f"erase {self.name}"

    @property
    def done(self) -> str:
        return f"{self.name} erased"

    async def run(self, machine: Machine) -> None:
        machine.remove(f"/{self.name}")


@dataclass
class Run:
    """A plan carried out on a simulated host. `refuse_after`: exclusive steps are allowed that often."""

    refuse_after: int = 99
    hands: SimMachine = field(default_factory=lambda: machine(hosts().hosts["hosta"]))
    told: list[str] = field(default_factory=list)

    def may(self) -> str:
        self.refuse_after -= 1
        return "" if self.refuse_after >= 0 else "hostb owns it by now"

    async def of(self, *groups: Group) -> Outcome:
        def told(step: Step, ran: Ran | None) -> None:
            self.told.append(f"{step}" + ("" if ran is None else f": {ran.failed or 'done'}"))

        return await act(Plan(groups), self.hands, self.may, told)

    @property
    def files(self) -> list[str]:
        return sorted(self.hands.sim.files)


def turns(*steps: Step) -> Group:
    return Group(Stage.UNIT, steps, side_by_side=False)


def together(*steps: Step) -> Group:
    return Group(Stage.DISK, steps, side_by_side=True)


@simulated
async def test_all_of_it_is_run_and_told() -> None:
    run = Run()
    outcome = await run.of(turns(Write("", "a", 2), Write("", "b", 3)), turns(Write("", "c")))
    assert outcome.complete
    assert [(str(ran.step), ran.seconds) for ran in outcome.ran] == [("write a", 2), ("write b", 3), ("write c", 1)]
    assert run.told == ["write a", "write a: done", "write b", "write b: done", "write c", "write c: done"]
    assert run.files == ["/a", "/b", "/c"]


@simulated
async def test_side_by_side_takes_as_long_as_the_longest() -> None:
    run = Run()
    began = run.hands.monotonic()
    await run.of(together(Write("", "a", 5), Write("", "b", 7)))
    assert run.hands.monotonic() - began == 7
    assert run.files == ["/a", "/b"]


@simulated
async def test_the_first_failure_ends_it() -> None:
    run = Run()
    outcome = await run.of(
        turns(Write("", "a"), Write("", "b", fails="the disk is full"), Write("", "c")), turns(Write("", "d"))
    )
    assert not outcome.complete
    assert outcome.failed == Ran(Write("", "b", fails="the disk is full"), 1.0, "the disk is full")
    assert run.files == ["/a"]


@simulated
async def test_what_is_optional_is_told_and_ends_nothing() -> None:
    run = Run()
    outcome = await run.of(turns(Try("", "a", fails="git is away"), Write("", "b")), turns(Write("", "c")))
    assert outcome.complete
    assert outcome.failed is None
    assert run.told[1] == "write a: git is away"
    assert run.files == ["/b", "/c"]


@simulated
async def test_a_step_that_takes_too_long_has_failed() -> None:
    outcome = await Run().of(turns(Write("", "a", seconds=1000)))
    assert outcome.failed is not None
    assert (outcome.failed.failed, outcome.failed.seconds) == ("not done within 30 s", 30)


@simulated
async def test_where_one_of_several_fails_the_others_are_put_back() -> None:
    run = Run()
    outcome = await run.of(
        together(Write("", "a"), Write("", "b", fails="no"), Write("", "c", seconds=9)), turns(Write("", "d"))
    )
    assert [str(ran.step) for ran in outcome.ran] == ["write a", "write b", "write c", "erase a", "erase c"]
    assert run.files == []


@simulated
async def test_a_hung_one_of_several_puts_the_others_back_too() -> None:
    run = Run()
    outcome = await run.of(together(Write("", "a"), Write("", "b", seconds=1000)))
    assert outcome.failed is not None
    assert run.files == []


@simulated
async def test_an_exclusive_step_is_not_begun_by_one_who_may_not() -> None:
    run = Run(refuse_after=1)
    outcome = await run.of(turns(Own("", "a"), Own("", "b")), turns(Write("", "c")))
    assert (outcome.forbidden, outcome.complete, outcome.failed) == ("hostb owns it by now", False, None)
    assert [str(ran.step) for ran in outcome.ran] == ["write a"]
    assert run.files == ["/a"]


@simulated
async def test_steps_that_are_not_exclusive_need_no_leave() -> None:
    run = Run(refuse_after=0)
    assert (await run.of(turns(Write("", "a"), Erase("", "a")))).complete


@simulated
async def test_leave_that_is_lost_among_several_puts_back_what_went() -> None:
    run = Run(refuse_after=1)
    outcome = await run.of(together(Own("", "a"), Own("", "b")))
    assert outcome.forbidden == "hostb owns it by now"
    assert run.files == []


@simulated
async def test_what_is_no_failure_of_the_machine_is_not_swallowed() -> None:
    @dataclass(frozen=True)
    class Wrong(Write):
        async def run(self, machine: Machine) -> None:
            raise KeyError("a fault in this program")

    run = Run()
    with pytest.raises(KeyError):
        await run.of(turns(Wrong("", "a")))
    with pytest.raises(KeyError):
        await run.of(together(Write("", "b"), Wrong("", "a")))
    assert run.files == []


@simulated
async def test_an_empty_plan_is_complete() -> None:
    assert await Run().of() == Outcome()
    assert Outcome().complete


@simulated
async def test_a_plan_that_is_out_of_date_ends_with_the_step_at_hand() -> None:
    run = Run()

    async def moved() -> str:
        await run.hands.sleep(5)
        return "its spec has changed"

    group = turns(Write("", "a", 2), Write("", "b", 29), Write("", "c"))
    outcome = await act(Plan((group,)), run.hands, lambda: "", lambda _step, _ran: None, moved)
    assert (outcome.given_up, outcome.complete, run.hands.monotonic()) == ("its spec has changed", False, 10.0)
    await run.hands.sleep(60)
    assert run.files == ["/a"]
