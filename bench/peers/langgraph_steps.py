"""Ten-step no-op runs by LangGraph with its SQLite checkpointer: `langgraph_steps.py FOLDER RUNS AT_ONCE` prints steps per second.

Every super-step is a checkpoint that is written before the next begins (`durability="sync"`), in WAL mode with `synchronous=FULL`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

STEPS = 10


class State(TypedDict):
    count: int


async def _step(state: State) -> State:
    return {"count": state["count"] + 1}


def _graph() -> Any:
    graph = StateGraph(State)
    names = [f"step{number}" for number in range(STEPS)]
    for name in names:
        graph.add_node(name, _step)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


async def main(folder: Path, runs: int, at_once: int) -> float:
    """Steps per second."""
    async with aiosqlite.connect(folder / "langgraph.db") as connection:
        await connection.execute("PRAGMA journal_mode=WAL")
        await connection.execute("PRAGMA synchronous=FULL")
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        graph = _graph().compile(checkpointer=saver)
        await _run(graph, "warm")
        gate = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with gate:
                await _run(graph, str(number))

        start = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(runs)))
        seconds = time.perf_counter() - start
        saved = await connection.execute_fetchall("SELECT count(DISTINCT thread_id) FROM checkpoints")
        assert [tuple(row) for row in saved] == [(runs + 1,)]
    return runs * STEPS / seconds


async def _run(graph: Any, thread: str) -> None:
    result = await graph.ainvoke({"count": 0}, {"configurable": {"thread_id": thread}}, durability="sync")
    assert result == {"count": STEPS}


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))}\n")
