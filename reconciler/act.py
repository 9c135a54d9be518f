"""Act: run a plan's steps. Each has a timeout; exclusive ones only while this host may; the first failure ends it.

Fourth in the flow: spec → observe → plan → act → status. Nothing is concluded from a step's success: the next
observation says what is true. So a plan may be given up at any moment, in the middle of a step that hangs too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from reconciler.plan import Group, Plan
from resources.kind import Step
from resources.machine import Machine, MachineError


class Forbidden(Exception):
    """This host may not run exclusive steps any more; the text says why."""


@dataclass(frozen=True)
class Ran:
    """A step that was run: its seconds, and why it failed ("" when it did not)."""

    step: Step
    seconds: float
    failed: str = ""

    @property
    def ends(self) -> bool:
        """Did it fail so that nothing after it may run?"""
        return bool(self.failed) and not self.step.optional


@dataclass(frozen=True)
class Outcome:
    """What was run, in order of ending; `forbidden` is set when an exclusive step was not allowed, `given_up` when
    the plan was not to be carried out any more."""

    ran: tuple[Ran, ...] = ()
    forbidden: str = ""
    given_up: str = ""

    @property
    def failed(self) -> Ran | None:
        return next((ran for ran in self.ran if ran.ends), None)

    @property
    def complete(self) -> bool:
        return not self.forbidden and not self.given_up and self.failed is None


async def _never() -> str:
    return str(await asyncio.get_running_loop().create_future())


async def act(
    plan: Plan,
    machine: Machine,
    may: Callable[[], str],
    told: Callable[[Step, Ran | None], None],
    given_up: Callable[[], Coroutine[Any, Any, str]] = _never,
) -> Outcome:
    """Run it. `may` says why no exclusive step may run now ("" when one may), asked before each.

    `told` hears of each step twice: with None as it begins, with its Ran when it is over. `given_up` returns, with
    the clause that says why, as soon as the plan is not to be carried out any more: the step at hand is ended.
    """
    ran: list[Ran] = []
    running = asyncio.create_task(_run_plan(plan, machine, may, told, ran))
    watching = asyncio.create_task(given_up())
    try:
        await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return Outcome(tuple(ran), running.result())
        why = watching.result()
    finally:
        for task in (running, watching):
            task.cancel()
        await asyncio.gather(running, watching, return_exceptions=True)
    return Outcome(tuple(ran), given_up=why)


async def _run_plan(
    plan: Plan, machine: Machine, may: Callable[[], str], told: Callable[[Step, Ran | None], None], ran: list[Ran]
) -> str:
    """Adds to `ran`. Why an exclusive step was not allowed, or ""."""

    async def run(step: Step) -> Ran:
        if step.exclusive and (why := may()):
            raise Forbidden(why)
        told(step, None)
        one = await _run(step, machine)
        ran.append(one)
        told(step, one)
        return one

    try:
        for group in plan.groups:
            if not await _run_group(group, run):
                break
    except Forbidden as e:
        return str(e)
    return ""


async def _run_group(group: Group, run: Callable[[Step], Awaitable[Ran]]) -> bool:
    """True when all of it succeeded. Where one of several side by side failed, those that went are put back."""
    if not group.side_by_side:
        for step in group.steps:
            if (await run(step)).ends:
                return False
        return True
    results = await asyncio.gather(*(run(step) for step in group.steps), return_exceptions=True)
    went = [one for one in results if isinstance(one, Ran) and not one.ends]
    if len(went) == len(results):
        return True
    for undo in [undo for one in went if (undo := one.step.undo()) is not None]:
        await run(undo)
    for problem in results:
        if isinstance(problem, BaseException):
            raise problem
    return False


async def _run(step: Step, machine: Machine) -> Ran:
    began = machine.monotonic()
    failed = ""
    try:
        async with asyncio.timeout(step.timeout):
            await step.run(machine)
    except MachineError as e:
        failed = str(e)
    except TimeoutError:
        failed = f"not done within {step.timeout:.0f} s"
    return Ran(step, machine.monotonic() - began, failed)
