"""Jobs that resist are stopped, whole and in time, whether or not the process that drives them answers.

Bug class this catches: a process that outlives its stop, a stop that waits for what is stuck, work that is recorded after it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from stop_soak import SCRIPTS, Arena

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
SEED = 4
IN_A_SANDBOX = [name for name in SCRIPTS if name != "its first process has ended"]


@pytest.mark.parametrize("way", ["sandboxed job", "recorded program"])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_a_job_that_resists_is_stopped_with_every_process_it_started(
    script: str, way: str, tmp_path: Path
) -> None:
    stopped = await Arena(tmp_path, SEED).stop_one(way, script)
    assert stopped.well, stopped


@pytest.mark.parametrize("script", IN_A_SANDBOX[::3])
async def test_a_driver_that_does_not_answer_is_killed_with_every_process_it_started(
    script: str, tmp_path: Path
) -> None:
    stopped = await Arena(tmp_path, SEED).stop_one("stuck driver", script)
    assert stopped.well, stopped


async def test_stops_at_random_moments_leave_nothing(tmp_path: Path) -> None:
    arena = Arena(tmp_path, SEED)
    for number in range(36):
        stopped = await arena.stop_one()
        assert stopped.well, f"stop {number} of seed {SEED}: {stopped}"
