"""A fork that is killed at any write of its making and going on, and gone on with, ends as one that nobody disturbed.

Bug class this catches: a fork that is there by half, work of the parent done twice, a tree that nothing names any more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from cavalcade.testing.whole_runs import a_repository

DRIVER, RUN_DRIVER = (Path(__file__).with_name(name) for name in ("fork_driver.py", "run_driver.py"))
FILES = {
    "shop/__init__.py": 'from shop.prices import total\n\n__all__ = ["total"]\n',
    "shop/prices.py": "def total(items):\n    return sum(items)\n",
}
_OWN = {"commit", "parent", "proposal", "branch", "duration_ms", "plan_hash", "plan", "context_hash"}
"""What differs from fork to fork: names of its own and all that carries them, and durations."""


def normal(value: object) -> object:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {key: normal(inner) for key, inner in fields.items() if key not in _OWN}
    return [normal(inner) for inner in cast("list[object]", value)] if isinstance(value, list) else value


def python(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with one completed run."""
    folder = tmp_path_factory.mktemp("forked")
    a_repository(folder / "shop", FILES)
    ended = python(RUN_DRIVER, folder / "home", folder / "shop", "rename shop.prices:total to grand_total", "0")
    assert ended.startswith("completed")
    return folder / "home"


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("at", "guidance", "writes"),
    [("6", "", 30), ("4", "rename shop.prices:total to sum_all; no tests", 40)],
    ids=["in the middle of an edit", "planned anew"],
)
def test_a_fork_killed_at_any_write_and_gone_on_with_ends_as_an_undisturbed_one(
    at: str, guidance: str, writes: int, home: Path, tmp_path: Path
) -> None:
    written = python(DRIVER, home, tmp_path, at, guidance)
    ends: list[Any] = [normal(json.loads(line)) for line in written.splitlines()]
    assert len(ends) > writes, "every write was the last one once"
    assert ends[-1]["phase"] == "completed"
    for number, end in enumerate(ends, start=1):
        assert end == ends[-1], f"killed at write {number}"
