"""A run that is killed at any of its writes and resumed ends as one that nobody disturbed.

Bug class this catches: work done twice or not at all after a crash, half-written results, a user's repository touched on the way.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from cavalcade.config.paths import data_folder
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy
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
    """What a run leaves behind, without what may differ: ids, times, durations, names and commits that carry them."""

    phase: str
    events: list[dict[str, Any]]
    refs: int
    tree: str


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


_VOLATILE = {"commit", "parent", "proposal", "branch", "repository", "project", "base", "plan", "duration_ms"}


def normal(event: Recorded) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(event.event.data)
    receipt = {key: value for key, value in data.pop("receipt", {}).items() if key not in _VOLATILE}
    return {"type": event.event.type, "receipt": receipt} | {k: v for k, v in data.items() if k not in _VOLATILE}


def recorded(home: Path) -> list[dict[str, Any]]:
    """Every event of the one run, as it lies in the ledger."""

    async def read() -> list[Recorded]:
        path = data_folder({"CAVALCADE_HOME": str(home)}).ledger
        ledger = await SqliteLedger.open(path, clock=FakeClock(), entropy=SeededEntropy())
        try:
            return await ledger.read()
        finally:
            await ledger.aclose()

    return [normal(event) for event in asyncio.run(read())]


def outcome(home: Path, repository: Path, printed: str) -> Ended:
    refs = git(repository, "for-each-ref", "--format=%(refname)").split()
    trees = {git(repository, "rev-parse", f"{ref}^{{tree}}").strip() for ref in refs if "cavalcade" in ref}
    assert len(trees) == 1
    return Ended(printed.split()[0], recorded(home), len(refs), trees.pop())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("project") / "repository")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, project: Path) -> tuple[Ended, int]:
    folder = tmp_path_factory.mktemp("undisturbed")
    repository = shutil.copytree(project, folder / "repository")
    before = user_state(repository)
    done = drive(folder / "home", repository, 0)
    assert done.returncode == 0, done.stderr
    ended = outcome(folder / "home", repository, done.stdout)
    assert ended.phase == "completed"
    assert user_state(repository) == before
    return ended, int(done.stdout.split()[1])


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(SLICES))
def test_a_run_killed_at_any_write_and_resumed_ends_as_an_undisturbed_one(
    part: int, undisturbed: tuple[Ended, int], project: Path, tmp_path: Path
) -> None:
    expected, crossings = undisturbed
    assert crossings > 2 * SLICES
    for fuse in range(1 + part, crossings + 1, SLICES):
        folder = tmp_path / str(fuse)
        repository = shutil.copytree(project, folder / "repository")
        before = user_state(repository)
        died = drive(folder / "home", repository, fuse)
        assert died.returncode == CRASHED, died.stderr
        assert user_state(repository) == before, f"killed at write {fuse}"
        again = drive(folder / "home", repository, 0, "resume")
        assert again.returncode == 0, again.stderr
        ended = outcome(folder / "home", repository, again.stdout)
        assert ended == expected, f"killed at write {fuse}"
        assert user_state(repository) == before, f"killed at write {fuse}"
