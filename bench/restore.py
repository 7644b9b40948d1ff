"""Restoring a state from the middle of a run, against `git worktree add` of the same tree out of the same store.

The source tree is django's where a source distribution is at hand (`CAVALCADE_BENCH_DJANGO` names its folder), else one of the same
shape, made here. Run alone: `python -m bench.restore`.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from bench.table import Row

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.kernel.ids import CommitId

ROUNDS = 9
EDITS = 40
TARGET = 1.2
FILES = 7_000
WHEN = datetime(2024, 1, 1, tzinfo=UTC)


class _Run(NamedTuple):
    """A store with a run of edits in it; `middle` is the state half way."""

    folder: Path
    store: GitContentStore
    commits: list[CommitId]

    @property
    def middle(self) -> CommitId:
        return self.commits[len(self.commits) // 2]


def run() -> list[Row]:
    """Medians of alternating rounds; `ratio` is the median of the ratios of neighbouring rounds."""
    with tempfile.TemporaryDirectory(prefix="cavalcade-bench-") as folder:
        made = _made(Path(folder))
        return [_whole(made), _step(made), _import(made)]


def _whole(made: _Run) -> Row:
    count = len(made.store.entries(made.store.tree_of(made.middle)))
    return _compared(f"restore mid-run, {count:,} files / git worktree add", made, _restore_all, _worktree_add, TARGET)


def _step(made: _Run) -> Row:
    """Going half a run back in a folder that holds its end, against git's switch in a worktree."""
    ours, peers = made.folder / "step", made.folder / "switch"
    last = made.commits[-1]
    made.store.restore(made.store.tree_of(last), ours)
    _git(made, "worktree", "add", "--quiet", "--detach", str(peers), last)

    def restore(at: _Run) -> float:
        middle, end = at.store.tree_of(at.middle), at.store.tree_of(last)
        took = timed(lambda: at.store.restore(middle, ours, was=end))
        at.store.restore(end, ours, was=middle)
        return took

    def switch(at: _Run) -> float:
        took = timed(lambda: _git(at, "-C", str(peers), "switch", "--quiet", "--detach", at.middle))
        _git(at, "-C", str(peers), "switch", "--quiet", "--detach", last)
        return took

    return _compared(f"restore {EDITS // 2} edits back / git switch", made, restore, switch, TARGET)


def _import(made: _Run) -> Row:
    """Taking over the user's repository, against the limit of half a second."""
    times: list[float] = []
    for number in range(ROUNDS):
        target = made.folder / f"import{number}.git"
        times.append(timed(lambda target=target: GitContentStore(target).import_repository(made.folder / "repo")))
        shutil.rmtree(target)
    took = statistics.median(times)
    return Row(
        "import of the user's repository", f"{took * 1e3:.0f} ms", "limit 500 ms", took / 0.5, "<= 1.0", took <= 0.5
    )


def _compared(
    name: str, made: _Run, ours: Callable[[_Run], float], peer: Callable[[_Run], float], target: float
) -> Row:
    mine: list[float] = []
    other: list[float] = []
    for number in range(ROUNDS):
        pair = [(ours, mine), (peer, other)]
        for measure, times in pair if number % 2 else reversed(pair):
            times.append(measure(made))
    ratio = statistics.median(a / b for a, b in zip(mine, other, strict=True))
    figures = [f"{statistics.median(times) * 1e3:.1f} ms" for times in (mine, other)]
    return Row(name, figures[0], figures[1], ratio, f"<= {target}", ratio <= target)


def _restore_all(made: _Run) -> float:
    """From a store just opened, as a command would, so that nothing is cached."""
    target = made.folder / "ours"
    took = timed(lambda: _reopened(made).restore(made.store.tree_of(made.middle), target))
    shutil.rmtree(target)
    return took


def _worktree_add(made: _Run) -> float:
    target = made.folder / "peer"
    took = timed(lambda: _git(made, "worktree", "add", "--quiet", "--detach", str(target), made.middle))
    _git(made, "worktree", "remove", "--force", str(target))
    return took


def _reopened(made: _Run) -> GitContentStore:
    return GitContentStore(made.folder / "content.git")


def timed(work: Callable[[], object]) -> float:
    """Without what earlier rounds still have to write to the disk."""
    os.sync()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _made(folder: Path) -> _Run:
    repo = folder / "repo"
    source(repo)
    plain_git(repo)
    store = GitContentStore(folder / "content.git")
    base = store.import_repository(repo)
    commits = [base.commit]
    paths = sorted(path for path in store.entries(base.tree) if path.endswith(".py"))
    for number, path in enumerate(random.Random(1).sample(paths, EDITS)):
        entry = store.entries(base.tree)[path]
        blob = store.write(store.read(entry.blob) + b"# edited\n")
        when = WHEN + timedelta(seconds=number)
        change = Change(path, blob, entry.mode)
        commits.append(store.commit([commits[-1]], [change], message=f"edit {number}", trailers={}, when=when))
    return _Run(folder, store, commits)


def plain_git(repo: Path) -> None:
    """A folder becomes a repository with one commit, all of it in a pack."""
    for args in (("init", "--quiet"), ("add", "-A", "-f"), ("commit", "--quiet", "-m", "start"), ("gc", "--quiet")):
        subprocess.run(
            ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0", *args],
            cwd=repo,
            check=True,
        )


def source(repo: Path) -> None:
    given = os.environ.get("CAVALCADE_BENCH_DJANGO", "")
    if given and Path(given).is_dir():
        shutil.copytree(given, repo, symlinks=True, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        return
    rng = random.Random(0)
    for number in range(FILES):
        path = repo / f"package{number % 70}" / f"part{number // 70 % 12}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (
            f"value_{rng.randrange(10_000)} = {rng.randrange(10_000)}" for _ in range(int(rng.expovariate(1 / 180)) + 1)
        )
        path.write_text("\n".join(lines) + "\n")


def _git(made: _Run, *args: str) -> None:
    subprocess.run(["git", "-C", str(made.folder / "content.git"), *args], check=True, capture_output=True)


if __name__ == "__main__":
    for row in run():
        print(row)
