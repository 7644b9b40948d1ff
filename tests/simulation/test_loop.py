"""The loop on which simulations run: time passes by itself, and who waits for nothing is found out.

Bug class this catches: a simulation that hangs instead of saying what hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator

import pytest

from cavalcade.testing.simulate.loop import SimulatedLoop, Stuck


@pytest.fixture
def loop() -> Generator[SimulatedLoop]:
    made = SimulatedLoop(limit=1000)
    yield made
    left = asyncio.all_tasks(made)
    for task in left:
        task.cancel()
    made.limit = 2 * made.rounds + 10
    made.run_until_complete(asyncio.gather(*left, return_exceptions=True) if left else asyncio.sleep(0))
    made.close()


def test_a_day_passes_at_once_and_sleepers_wake_in_order(loop: SimulatedLoop) -> None:
    woken: list[int] = []

    async def sleeper(hours: int) -> None:
        await asyncio.sleep(hours * 3600)
        woken.append(hours)

    async def day() -> None:
        await asyncio.gather(*(sleeper(hours) for hours in (24, 3, 12)))

    loop.run_until_complete(day())
    assert woken == [3, 12, 24]
    assert loop.time() == pytest.approx(24 * 3600)


def test_what_would_go_to_a_thread_runs_in_place_with_its_error(loop: SimulatedLoop) -> None:
    async def work() -> list[int]:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(sorted, [2, 1])

    assert loop.run_until_complete(work()) == [1, 2]


def test_waiting_for_what_never_comes_is_found_out(loop: SimulatedLoop) -> None:
    with pytest.raises(Stuck, match="nothing is under way"):
        loop.run_until_complete(asyncio.wait_for(asyncio.Event().wait(), None))


def test_waiting_without_a_pause_is_found_out(loop: SimulatedLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again)
    with pytest.raises(Stuck, match="still busy after 1000 rounds"):
        loop.run_until_complete(asyncio.sleep(1))
