"""A run that is killed at any of its writes and resumed ends as one that nobody disturbed.

Bug class this catches: work done twice or not at all after a crash, half-written results, a user's repository touched on the way.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cavalcade.testing.crashing import CRASHED

DRIVER = Path(__file__).with_name("run_driver.py")
OBJECTIVE = "rename shop.prices:total to grand_total"
SLICES = 8
FILES = {
    "shop/__init__.py": 'from shop.prices import total\n\n__all__ = ["total"]\n',
    "shop/prices.py": "def total(items):\n    return sum(items)\n",
    "shop/till.py": "from shop import prices\n\n\ndef pay(items):\n    return prices.total(items)\n",
}
GIT = {
    "GIT_AUTHOR_NAME": "me",
    "GIT_AUTHOR_EMAIL": "me@localhost",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "me",
    "GIT_COMMITTER_EMAIL": "me@localhost",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, env={**os.environ, **GIT}, check=True, capture_output=True, text=True
    )
    return done.stdout


def make_repository(folder: Path) -> Path:
    """A small project with one commit and uncommitted work of every kind."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "A shop")
    (folder / "shop/till.py").write_text(FILES["shop/till.py"] + "\n\nOPEN = True\n")
    (folder / "notes.txt").write_text("not added yet\n")
    return folder


class Ended(NamedTuple):
    """What a run leaves behind, without what may differ: ids, times, durations and the commits that carry them."""

    phase: str
    events: list[dict[str, Any]]
    refs: list[str]
    tree: str
    user: dict[str, str]


def drive(home: Path, repository: Path, fuse: int, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DRIVER), str(home), str(repository), OBJECTIVE, str(fuse), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def user_state(repository: Path) -> dict[str, str]:
    """Every file of the working tree and of `.git`, but objects and the result branch."""
    added = (".git/objects/", ".git/refs/heads/cavalcade", ".git/logs/refs/heads/cavalcade")
    paths = (path for path in repository.rglob("*") if path.is_file())
    named = {path.relative_to(repository).as_posix(): path for path in paths}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if not name.startswith(added)
    }


def normal(event: dict[str, Any]) -> dict[str, Any]:
    data = json.loads(json.dumps(event["data"]))
    for volatile in ("commit", "parent", "proposal", "branch", "repository", "project", "base", "plan"):
        data.pop(volatile, None)
    if "receipt" in data:
        data["receipt"] = {key: data["receipt"].get(key) for key in ("gate", "before", "after", "verdict", "result_digest")}
    return {"type": event["type"], "data": data}


def outcome(home: Path, repository: Path, printed: str) -> Ended:
    environ = {**os.environ, "CAVALCADE_HOME": str(home)}
    listed = subprocess.run(
        [sys.executable, "-m", "cavalcade", "log", "last", "--all", "--json"],
        cwd=repository,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    events = [normal(json.loads(line)["event"]) for line in listed.stdout.splitlines()]
    refs = sorted(line.split()[1] for line in git(repository, "for-each-ref").splitlines())
    branches = [ref for ref in git(repository, "for-each-ref", "--format=%(refname)").split() if "cavalcade" in ref]
    trees = {git(repository, "rev-parse", f"{branch}^{{tree}}").strip() for branch in branches}
    assert len(trees) == 1
    return Ended(printed.split()[0], events, refs, trees.pop(), user_state(repository))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, int]:
    folder = tmp_path_factory.mktemp("undisturbed")
    repository = make_repository(folder / "repository")
    before = user_state(repository)
    done = drive(folder / "home", repository, 0)
    assert done.returncode == 0, done.stderr
    ended = outcome(folder / "home", repository, done.stdout)
    assert ended.phase == "completed"
    assert ended.user == before
    return ended, int(done.stdout.split()[1])


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(SLICES))
def test_a_run_killed_at_any_write_and_resumed_ends_as_an_undisturbed_one(
    part: int, undisturbed: tuple[Ended, int], tmp_path: Path
) -> None:
    expected, crossings = undisturbed
    assert crossings > 2 * SLICES
    for fuse in range(1 + part, crossings + 1, SLICES):
        folder = tmp_path / str(fuse)
        repository = make_repository(folder / "repository")
        before = user_state(repository)
        died = drive(folder / "home", repository, fuse)
        assert died.returncode == CRASHED, died.stderr
        assert user_state(repository) == before, f"killed at write {fuse}"
        again = drive(folder / "home", repository, 0, "resume")
        assert again.returncode == 0, again.stderr
        ended = outcome(folder / "home", repository, again.stdout)
        assert ended._replace(refs=[]) == expected._replace(refs=[]), f"killed at write {fuse}"
        assert len(ended.refs) == len(expected.refs)
