"""A ten-step no-op run, each step durable before the next begins: steps per second, one run at a time and fifty at once.

Ours is the engine that carries every run: a command through the decider, the event through the ledger, the state folded on. The peers
are DBOS and LangGraph on SQLite with the same durability (write-ahead log, `synchronous=FULL`); the limit is a bare group-committing
engine that makes the same events when they are due and has no rules, and the same with rows that are ready beforehand.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench._group_writer import engine_rate, kept_in
from bench._group_writer import rate as group_writer_rate
from bench._peers import figure
from bench.table import Row

from cavalcade.domain.run import EndRecording, RecordOutput
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.ids import CommitId, ProjectId, TreeId
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import OutputWritten, RecordingStarted
from cavalcade.protocol.plan import Base
from cavalcade.supervisor.runs import RunService

STEPS = 10
AT_ONCE = 50
ROUNDS = 5
RUNS, PEER_RUNS = {1: 60, AT_ONCE: 1000}, {1: 10, AT_ONCE: 50}
NOTHING = OutputWritten(channel="stdout", size_bytes=0)
STARTED = RecordingStarted(
    command=("true",),
    project=ProjectId("p4e2a90b1"),
    repository="/project",
    base=Base(commit=CommitId("c" * 40), tree=TreeId("7" * 40), head=None, branch=""),
    folder="/project",
)

Measure = Callable[[Path], float]


def run() -> list[Row]:
    """Medians of alternating rounds; `ratio` is ours over the peer's of the same round."""
    rows: list[Row] = []
    for at_once in (1, AT_ONCE):
        target = 20 if at_once > 1 else None
        for name, script in (("DBOS", "dbos_steps.py"), ("LangGraph", "langgraph_steps.py")):
            rows.append(_row(at_once, name, _peer(script, at_once), target))
    rows.append(_row(AT_ONCE, "bare engine", _engine, 0.5))
    rows.append(_row(AT_ONCE, "bare, rows ready", _rows, None))
    return rows


def _row(at_once: int, name: str, peer: Measure, target: float | None) -> Row:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(asyncio.run(_ours(Path(folder), at_once)))
        with tempfile.TemporaryDirectory() as folder:
            theirs.append(peer(Path(folder)))
    ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
    return Row(
        name=f"steps: ten durable no-op steps a run, {at_once} at once",
        ours=f"{statistics.median(ours):,.0f}/s",
        peer=f"{name} {statistics.median(theirs):,.0f}/s",
        ratio=ratio,
        target="none" if target is None else f">= {target}",
        ok=target is None or ratio >= target,
    )


async def _ours(folder: Path, at_once: int) -> float:
    """Steps per second; the beginning and the end of each run are not counted as steps, but take their time."""
    clock, entropy = SystemClock(), SystemEntropy()
    ledger = await SqliteLedger.open(folder / "ledger.db", clock=clock, entropy=entropy)
    runs = RunService(ledger, clock, entropy)
    waiting = iter(range(RUNS[at_once]))

    async def work() -> None:
        for _ in waiting:
            run = runs.new_id()
            await runs.record(run, STARTED)
            for _ in range(STEPS):
                await runs.execute(run, RecordOutput((NOTHING,)))
            await runs.execute(run, EndRecording(0))

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    seconds = time.perf_counter() - start
    await ledger.aclose()
    return RUNS[at_once] * STEPS / seconds


def _peer(script: str, at_once: int) -> Measure:
    return lambda folder: figure(script, folder, PEER_RUNS[at_once], at_once)


def _engine(folder: Path) -> float:
    """The same events by a bare group-committing engine; as many of them count as ours counts steps."""
    drafts = asyncio.run(_left_behind(folder))
    schema, rows = kept_in(folder / "ledger.db")
    rate = asyncio.run(engine_rate(folder / "bare.db", schema, drafts, AT_ONCE))
    return rate * RUNS[AT_ONCE] * STEPS / len(rows)


async def _left_behind(folder: Path) -> list[Draft]:
    await _ours(folder, AT_ONCE)
    ledger = await SqliteLedger.open(folder / "ledger.db", clock=SystemClock(), entropy=SystemEntropy())
    events = [recorded.event for recorded in await ledger.read()]
    await ledger.aclose()
    return events


def _rows(folder: Path) -> float:
    """The rows that ours leaves behind, in the same table."""
    asyncio.run(_ours(folder, AT_ONCE))
    schema, rows = kept_in(folder / "ledger.db")
    rate = asyncio.run(group_writer_rate(folder / "bare.db", schema, rows, AT_ONCE, 1))
    return rate * RUNS[AT_ONCE] * STEPS / len(rows)
