"""One look for all who ask at once, and never one that was begun before the asking."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.linux.shared import Shared


class World:
    """What is looked at; a look takes a while, and sees what is there when it begins."""

    def __init__(self) -> None:
        self.state, self.looks = 0, 0
        self.begun = asyncio.Event()
        self.broken = False

    async def look(self) -> int:
        self.looks += 1
        self.begun.set()
        seen = self.state
        await asyncio.sleep(0.01)
        if self.broken:
            raise OSError("no answer")
        return seen


async def test_who_asks_at_once_has_one_look() -> None:
    world = World()
    shared = Shared(world.look)
    assert await asyncio.gather(*(shared.look() for _ in range(20))) == [0] * 20
    assert world.looks == 1


async def test_who_asks_while_one_runs_sees_what_is_there_by_then() -> None:
    world = World()
    shared = Shared(world.look)
    first = asyncio.create_task(shared.look())
    await world.begun.wait()
    world.state = 1
    assert await asyncio.gather(*(shared.look() for _ in range(20))) == [1] * 20
    assert (await first, world.looks) == (0, 2)


async def test_a_look_that_fails_fails_for_all_and_the_next_begins_anew() -> None:
    world = World()
    shared = Shared(world.look)
    world.broken = True
    found = await asyncio.gather(*(shared.look() for _ in range(3)), return_exceptions=True)
    assert [str(one) for one in found] == ["no answer"] * 3
    world.broken = False
    assert await shared.look() == 0


async def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    world = World()
    shared = Shared(world.look)
    patient, hasty = (asyncio.create_task(shared.look()) for _ in range(2))
    await asyncio.sleep(0)
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    assert await patient == 0
