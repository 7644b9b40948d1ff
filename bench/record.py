"""How soon a recorder sees what a program writes, and how briefly a state may last and still never be missed.

A real program under `cavalcade record`, in a copy of a tree of 7,000 files. It writes the time into a file again and again, leaving
each state alone for so long; the record tells when each state was seen, and which were not. Run alone: `python -m bench.record`.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.table import Row

from cavalcade.content.git import GitContentStore
from cavalcade.kernel.ids import TreeId

FILES = 7_000
STATES = 200
BURSTS = 5
LASTING_MS = (2, 5, 10, 15, 20, 30, 40, 50, 75)
LATENCY_LIMIT_MS = 50
RESOLUTION_LIMIT_MS = 50
WRITER = """
import os, sys, time
from pathlib import Path
lasting_ns, states = int(float(sys.argv[1]) * 1e6), int(sys.argv[2])
file = Path("clock.txt")
for number in range(states):
    file.write_text(f"{time.time_ns()} {number}\\n")
    until = time.monotonic_ns() + lasting_ns
    while (left := until - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)
"""
BURST = """
import time
from pathlib import Path
for number in range(100):
    Path(f"burst{number}.txt").write_text(f"{time.time_ns()} {number}\\n")
"""


def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="cavalcade-bench-") as folder:
        project = _project(Path(folder))
        seen = {lasting: _caught(project, lasting) for lasting in LASTING_MS}
        late_ms = sorted(seen[max(LASTING_MS)].late_ms)
        p50, p99 = statistics.median(late_ms), late_ms[int(len(late_ms) * 0.99) - 1]
        shares = {lasting: len(each.numbers) / STATES for lasting, each in seen.items()}
        for lasting, share in shares.items():
            print(f"  states that last {lasting} ms: {share:.1%} seen", file=sys.stderr)
        return [
            Row(
                "record: from a write to the look that has it, p50 (p99)",
                f"{p50:.1f} ({p99:.1f}) ms",
                f"limit {LATENCY_LIMIT_MS} ms",
                p99 / LATENCY_LIMIT_MS,
                "<= 1.0",
                p99 <= LATENCY_LIMIT_MS,
            ),
            _resolution(shares),
            _burst(project),
        ]


def _resolution(shares: Mapping[int, float]) -> Row:
    """The shortest time from which on no state was missed."""
    missed = [lasting for lasting, share in shares.items() if share < 1]
    reliable = min((lasting for lasting in shares if lasting > max(missed, default=0)), default=10_000)
    return Row(
        f"record: states that last so long are all seen ({STATES} each)",
        f"{reliable} ms",
        f"limit {RESOLUTION_LIMIT_MS} ms",
        reliable / RESOLUTION_LIMIT_MS,
        "<= 1.0",
        reliable <= RESOLUTION_LIMIT_MS,
    )


def _burst(project: Path) -> Row:
    """A hundred files as fast as they can be written: from the last one to the look that completes them."""
    bursts = [_complete_after_ms(project) for _ in range(BURSTS)]
    late_ms = statistics.median(bursts)
    return Row(
        f"record: burst of 100 files, all seen after (median of {BURSTS})",
        f"{late_ms:.1f} ms",
        f"limit {LATENCY_LIMIT_MS} ms",
        late_ms / LATENCY_LIMIT_MS,
        "<= 1.0",
        late_ms <= LATENCY_LIMIT_MS,
    )


def _complete_after_ms(project: Path) -> float:
    """Infinite when the last state lacks one of them."""
    store, changes = _record(project, BURST)
    tree = TreeId(changes[-1]["data"]["tree"])
    files = [store.read(entry.blob) for path, entry in store.entries(tree).items() if path.startswith("burst")]
    if len(files) < 100:
        return math.inf
    return (_nanoseconds(changes[-1]) - max(int(data.split()[0]) for data in files)) / 1e6


class _Seen:
    def __init__(self) -> None:
        self.numbers: set[int] = set()
        self.late_ms: list[float] = []


def _caught(project: Path, lasting_ms: float) -> _Seen:
    store, changes = _record(project, WRITER, str(lasting_ms), str(STATES))
    seen = _Seen()
    for event in changes:
        entry = store.entries(TreeId(event["data"]["tree"])).get("clock.txt")
        if entry is None or not (data := store.read(entry.blob)):
            continue  # between the file's emptying and its writing is a state too
        written, number = data.split()
        seen.numbers.add(int(number))
        seen.late_ms.append((_nanoseconds(event) - int(written)) / 1e6)
    return seen


def _record(project: Path, script: str, *words: str) -> tuple[GitContentStore, list[Any]]:
    """Every recording leaves the project as it was: it works in a copy."""
    home = project.parent / "home"
    environ = {**os.environ, "CAVALCADE_HOME": str(home)}
    command = [sys.executable, "-m", "cavalcade"]
    recorded = subprocess.run(
        [*command, "record", "--json", "--repo", str(project), "--", sys.executable, "-c", script, *words],
        env=environ,
        check=True,
        capture_output=True,
    )
    run = json.loads(recorded.stdout)["run"]
    log = subprocess.run(
        [*command, "log", run, "--json", "--type", "files.changed"], env=environ, check=True, capture_output=True
    )
    (content,) = home.glob("projects/*/content.git")
    return GitContentStore(content), [json.loads(line)["event"] for line in log.stdout.splitlines()]


def _nanoseconds(event: Any) -> int:
    """An event's time is that of its look."""
    return int(datetime.fromisoformat(event["time"]).timestamp() * 1e6) * 1000


def _project(folder: Path) -> Path:
    project = folder / "project"
    for number in range(FILES):
        path = project / f"package{number % 40}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"value = {number}\n" * (number % 200))
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-C", str(project)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *words], check=True)
    return project


if __name__ == "__main__":
    for row in run():
        print(row)
