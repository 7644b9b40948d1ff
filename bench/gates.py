"""Latency of all edit gates for one edit, on edits of real files: an installed library's sources.

Every edit is judged as in a run: one file against the tree before it, with gates that keep what they learnt. Run alone:
`python -m bench.gates`.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.table import Row

from cavalcade.content.port import Entry
from cavalcade.gates.defaults import edit_gates, tree_gates
from cavalcade.gates.port import Question
from cavalcade.gates.run import judge
from cavalcade.kernel.canonical import canonical_bytes
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.ids import TreeId
from cavalcade.terrain.index import Index
from cavalcade.testing.trees import MemoryTree

EDITS = 300
REMOVALS = 40
LIMIT_MS = 50.0
TREE_LIMIT_MS = 500.0
"""Looking through a whole tree happens once per task, not per edit."""
LIBRARIES = ("libcst", "pydantic", "hypothesis", "rich", "pip")
_TOP_LEVEL = re.compile(rb"^(?:def|class) \w+", re.MULTILINE)


class Edit(NamedTuple):
    before: TreeId
    after: TreeId
    path: str


def run() -> list[Row]:
    """`ratio` is the 95th percentile over the limit."""
    reader = MemoryTree()
    edits = list(_edits(reader, random.Random(7)))
    cold, warm, lint = asyncio.run(_measure(reader, edits))
    rows = [
        _row("edit gates, one edit, file not seen before", cold),
        _row("edit gates, one edit, further edit of a file", warm),
        _row("  of which lint (runs beside the others)", lint),
    ]
    return [*rows, asyncio.run(_references(reader, edits[0].before))]


async def _measure(reader: MemoryTree, edits: list[Edit]) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of first edits, of second edits of the same files, and of lint alone."""
    gates, clock = edit_gates(), SystemClock()
    timings: tuple[list[float], list[float], list[float]] = ([], [], [])
    for edit in edits:
        further = _appended(reader, Edit(edit.after, edit.after, edit.path), b"\nANOTHER = 2\n")
        for step, times in ((edit, timings[0]), (further, timings[1])):
            config = {"fence.allowed": canonical_bytes([step.path]).decode()}
            started = time.perf_counter()
            receipts = await judge(gates, Question(step.before, step.after, (step.path,), config), reader, clock)
            times.append((time.perf_counter() - started) * 1000)
            timings[2].append(next(receipt.duration_ms for receipt in receipts if receipt.gate == "lint"))
    return timings


async def _references(reader: MemoryTree, tree: TreeId) -> Row:
    """Broken references over a whole tree when a top-level function or class loses its name: what a merge waits for."""
    gates, clock = tree_gates(Index(reader)), SystemClock()
    entries = reader.entries(tree)
    times: list[float] = []
    for path in random.Random(7).sample(sorted(entries), len(entries)):
        data = reader.read(entries[path].blob)
        match = _TOP_LEVEL.search(data)
        if match is None or len(times) >= REMOVALS:
            continue
        edit = _replaced(reader, Edit(tree, tree, path), data.replace(match[0], match[0] + b"_gone", 1))
        started = time.perf_counter()
        await judge(gates, Question(edit.before, edit.after, (path,)), reader, clock)
        times.append((time.perf_counter() - started) * 1000)
    return _row(f"broken references after a name is gone, {len(entries)} files", times, TREE_LIMIT_MS)


def _edits(reader: MemoryTree, rng: random.Random) -> Iterator[Edit]:
    """Files of all sizes with one name replaced or a function added, each against the same tree."""
    tree = reader.tree(_sources())
    entries = reader.entries(tree)
    for number, path in enumerate(rng.sample(sorted(entries), min(EDITS, len(entries)))):
        edit = Edit(tree, tree, path)
        if number % 2:
            yield _appended(reader, edit, b"\n\ndef added(value: int) -> int:\n    return value + 1\n")
        else:
            data = reader.read(entries[path].blob)
            yield _replaced(reader, edit, data.replace(b"self", b"this"))


def _appended(reader: MemoryTree, edit: Edit, text: bytes) -> Edit:
    return _replaced(reader, edit, reader.read(reader.entries(edit.before)[edit.path].blob) + text)


def _replaced(reader: MemoryTree, edit: Edit, data: bytes) -> Edit:
    entries = dict(reader.entries(edit.before))
    entries[edit.path] = Entry(reader.write(data), entries[edit.path].mode)
    return edit._replace(after=reader.tree_of(entries))


def _sources() -> dict[str, bytes]:
    site = Path(sysconfig.get_path("purelib"))
    paths = [path for name in LIBRARIES if (site / name).is_dir() for path in (site / name).rglob("*.py")]
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in sorted(paths) if path.stat().st_size}


def _row(name: str, times: list[float], limit_ms: float = LIMIT_MS) -> Row:
    ordered = sorted(times)
    p50, p95 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.95)]
    ratio = p95 / limit_ms
    return Row(
        name, f"p50 {p50:.1f} p95 {p95:.1f} ms", f"limit {limit_ms:.0f} ms ({len(times)})", ratio, "<= 1", ratio <= 1
    )


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
