"""Workspaces claimed from the pool, against laying the same tree out; and a second run on a project, with the pool and without.

A claim looks through the whole workspace before it is handed out, so it costs what the tree's number of entries costs. In a burst there are
more claims than workspaces: those that find none ready lay one out, and that is in the figures. Run alone: `python -m bench.pool`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Row

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.domain.pool import Bounds
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.ids import ProjectId, TreeId
from cavalcade.sandbox.pooled import PooledWorkspaces
from cavalcade.sandbox.workspaces import WHOLE

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / ".cache" / "acceptance" / "src" / "django"
SMALL, LARGE = 50, 3000
CLAIMS, SLOTS = 100, 8
_BURSTS = {SMALL: 100, LARGE: 20}
"""Claims at once: of large trees fewer, since most of them are laid out."""
ROUNDS = 3
LIMIT_MS = 5.0


def run() -> list[Row]:
    """Fetches django's source distribution when it isn't in the cache."""
    rows = [*asyncio.run(_claims(SMALL, limit_ms=LIMIT_MS)), *asyncio.run(_claims(LARGE, limit_ms=None))]
    return [*rows, _second_run()]


async def _claims(files: int, *, limit_ms: float | None) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="cavalcade-bench-") as folder:
        store = GitContentStore(Path(folder) / "content.git")
        trees = [_tree(store, files, edition) for edition in range(2)]
        laid_out = [_laid_out(store, trees[0], Path(folder) / f"fresh{number}") for number in range(5)]
        pool = PooledWorkspaces(
            Path(folder) / "pool", ProjectId("p1"), Bounds(SLOTS, 2 << 30), SystemClock(), SystemEntropy()
        )
        await pool.refill(store, trees[0], WHOLE, 1)
        same = [await _claim(pool, store, trees[0]) for _ in range(CLAIMS)]
        moved = [await _claim(pool, store, trees[number % 2]) for number in range(1, CLAIMS)]
        await pool.refill(store, trees[0], WHOLE, SLOTS)
        burst = await asyncio.gather(*(_claim(pool, store, trees[0]) for _ in range(_BURSTS[files])))
        await pool.aclose()
    fresh = statistics.median(laid_out)
    return [
        _row(f"claim, {files} files, same tree", same, fresh, limit_ms),
        _row(f"claim, {files} files, 1 differs", moved, fresh, None),
        _row(f"claim, {files} files, {_BURSTS[files]} at once, {SLOTS} ready", burst, fresh, None),
    ]


def _tree(store: GitContentStore, files: int, edition: int) -> TreeId:
    blobs = store.write_all([b"value = %d\n" % number * 40 for number in range(files)])
    blobs[0] = store.write(b"edition = %d\n" % edition)
    changes = [Change(f"package{number % 60}/module{number}.py", blob) for number, blob in enumerate(blobs)]
    return store.info(store.commit([], changes, message="tree", trailers={}, when=SystemClock().now())).tree


def _laid_out(store: GitContentStore, tree: TreeId, into: Path) -> float:
    started = time.perf_counter()
    store.restore(tree, into)
    return (time.perf_counter() - started) * 1000


async def _claim(pool: PooledWorkspaces, store: GitContentStore, tree: TreeId) -> float:
    """Milliseconds until it is there."""
    started = time.perf_counter()
    async with pool.claim(store, tree, WHOLE) as workspace:
        taken = (time.perf_counter() - started) * 1000
        workspace.keep()
    return taken


def _row(name: str, times_ms: list[float], fresh_ms: float, limit_ms: float | None) -> Row:
    p50, p99 = statistics.median(times_ms), statistics.quantiles(times_ms, n=100)[98]
    return Row(
        name,
        f"p50 {p50:.1f} p99 {p99:.1f} ms",
        f"laid out {fresh_ms:.1f} ms",
        p50 / fresh_ms,
        "told" if limit_ms is None else f"p99 <= {limit_ms:.0f} ms",
        limit_ms is None or p99 <= limit_ms,
    )


def _second_run() -> Row:
    """The second of two equal runs, in turns with the pool and without; what else is kept between runs is there both times."""
    prepare = [sys.executable, str(ROOT / "tests" / "acceptance" / "repositories.py"), "django"]
    subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
    times: dict[str, list[float]] = {"8": [], "0": []}
    with tempfile.TemporaryDirectory(prefix="cavalcade-bench-") as folder:
        for slots in times:
            shutil.copytree(SOURCE, Path(folder) / slots / "repo", symlinks=True)
            _run(Path(folder) / slots, slots)
        for _ in range(ROUNDS):
            for slots, taken in times.items():
                taken.append(_run(Path(folder) / slots, slots))
    warm, cold = (statistics.median(times[slots]) for slots in ("8", "0"))
    return Row(
        "second rename on django without tests: pool / no pool",
        f"{warm:.2f} s",
        f"{cold:.2f} s",
        warm / cold,
        "< 1",
        warm < cold,
    )


def _run(folder: Path, slots: str) -> float:
    environ = {**os.environ, "CAVALCADE_HOME": str(folder / "home"), "CAVALCADE_POOL": slots}
    objective = "rename django.utils.timezone:make_aware to become_aware"
    command = [sys.executable, "-m", "cavalcade", "run", objective, "--repo", str(folder / "repo"), "--yes"]
    os.sync()
    started = time.perf_counter()
    subprocess.run([*command, "--no-tests", "--json"], env=environ, check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    for row in run():
        sys.stdout.write(f"{row}\n")
