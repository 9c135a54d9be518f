"""Virtual time: hours pass at once, in the order of their timers, and what never comes is an error, not a hang."""

from __future__ import annotations

import asyncio
import time

import pytest

from reconciler.sim.clock import NothingEver, Spinning, simulate


def test_time_jumps() -> None:
    async def story() -> float:
        await asyncio.sleep(86400)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert simulate(story()) == pytest.approx(86400)
    assert time.monotonic() - began < 10


def test_timers_come_in_order_and_timeouts_are_kept() -> None:
    async def story() -> list[str]:
        told: list[str] = []

        async def tell(after: float, what: str) -> None:
            await asyncio.sleep(after)
            told.append(f"{what} {asyncio.get_running_loop().time():.1f}")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.gather(tell(3, "never"), tell(1, "first"))
        await asyncio.gather(tell(0.2, "third"), tell(0.1, "second"))
        return told

    assert simulate(story()) == ["first 1.0", "second 2.1", "third 2.2"]


def test_what_will_never_happen_is_an_error() -> None:
    async def story() -> None:
        await asyncio.sleep(5)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(NothingEver, match=r"after 5\.000 s"):
        simulate(story())


def test_going_round_in_circles_is_an_error() -> None:
    async def story() -> None:
        asyncio.get_running_loop().call_soon(again)
        await asyncio.sleep(1)

    def again() -> None:
        asyncio.get_running_loop().call_soon(again)

    with pytest.raises(Spinning):
        simulate(story())


def test_what_is_left_is_cancelled() -> None:
    ended: list[str] = []

    async def behind() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("behind")

    async def story() -> None:
        task = asyncio.create_task(behind())
        await asyncio.sleep(1)
        assert not task.done()

    simulate(story())
    assert ended == ["behind"]


def test_an_error_comes_out() -> None:
    async def story() -> None:
        raise ValueError("this one")

    with pytest.raises(ValueError, match="this one"):
        simulate(story())
