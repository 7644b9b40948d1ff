"""Ten-step no-op runs by DBOS on SQLite: `dbos_steps.py FOLDER RUNS AT_ONCE` prints steps per second.

Each step's outcome is committed before the next begins, in WAL mode with `synchronous=FULL`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path

import sqlalchemy
from dbos import DBOS, DBOSConfig

STEPS = 10


@DBOS.step()
async def step(number: int) -> int:
    return number + 1


@DBOS.workflow()
async def workflow() -> int:
    count = 0
    for _ in range(STEPS):
        count = await step(count)
    return count


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
def _durable(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


async def main(runs: int, at_once: int) -> float:
    """Steps per second."""
    assert await workflow() == STEPS
    gate = asyncio.Semaphore(at_once)

    async def one() -> None:
        async with gate:
            assert await workflow() == STEPS

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(runs)))
    return runs * STEPS / (time.perf_counter() - start)


if __name__ == "__main__":
    folder, runs, at_once = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.WARNING)
    config: DBOSConfig = {
        "name": "steps",
        "system_database_url": f"sqlite:///{folder / 'dbos.db'}",
        "run_admin_server": False,
    }
    DBOS(config=config)
    DBOS.launch()
    sys.stdout.write(f"{asyncio.run(main(runs, at_once))}\n")
    DBOS.destroy()
