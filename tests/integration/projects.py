"""A git project made by git itself, a data folder of its own, and the `cavalcade` command on both: what whole-command tests share."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cavalcade.cli.app import command_line
from cavalcade.cli.terminal import Terminal

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
SHOP = {
    "prices.py": "def total(items):\n    return sum(items)\n",
    "test_prices.py": "from prices import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n",
    "README.md": "Call `total()`.\n",
}
OBJECTIVE = "rename prices:total to sum_prices"


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"exit status {self.status}\n{self.out[-4000:]}\n{self.err[-4000:]}"


@dataclass(frozen=True)
class Project:
    """`folder` is the repository's top folder. `environ` is added to what the command sees."""

    folder: Path
    home: Path
    environ: dict[str, str] = field(default_factory=dict[str, str])

    def all_environ(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        own = {"CAVALCADE_HOME": str(self.home), "HOME": str(self.home), "PATH": os.environ["PATH"], "NO_COLOR": "1"}
        if "PYTHONPATH" in os.environ:  # processes of the command import what these tests do
            own["PYTHONPATH"] = os.environ["PYTHONPATH"]
        return {**own, **self.environ, **(more or {})}

    def __call__(self, *arguments: str, **environ: str) -> Said:
        """The command in this process, with nobody at the terminal."""
        out, err = io.StringIO(), io.StringIO()
        status = command_line(arguments, Terminal(self.all_environ(environ), io.StringIO(), out, err))
        return Said(status, out.getvalue(), err.getvalue())

    def run(self, *more: str, objective: str = OBJECTIVE, tests: bool = False, **environ: str) -> Said:
        """`cavalcade run` on this project; tests, where they are wanted, under the interpreter of these tests."""
        judged = ("--python", sys.executable) if tests else ("--no-tests",)
        return self("run", objective, "--repo", str(self.folder), *judged, *more, **environ)

    def process(self, *arguments: str, before: Sequence[str] = (), **environ: str) -> Said:
        """The command in a process of its own; `before` are words in front of it, a program that starts it."""
        done = subprocess.run(
            [*before, sys.executable, "-m", "cavalcade", *arguments],
            cwd="/",
            env=self.all_environ(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """The command under way, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "cavalcade", *arguments],
            cwd="/",
            env=self.all_environ(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def git(self, *arguments: str, status: int = 0) -> str:
        return git(self.folder, *arguments, status=status)

    @property
    def store(self) -> Path:
        """The content store of this one project."""
        (found,) = self.home.glob("projects/*/content.git")
        return found

    def branches(self) -> list[str]:
        """The result branches."""
        return self.git("for-each-ref", "--format=%(refname:short)", "refs/heads/cavalcade").split()


def git(folder: Path, *arguments: str, status: int = 0) -> str:
    """What git writes. `status` is the exit status that is right."""
    done = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        env={**os.environ, **GIT},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def a_project(tmp: Path, files: Mapping[str, str] = SHOP, *, name: str = "shop") -> Project:
    """One commit on `main`."""
    folder = (tmp / name).resolve()
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    write_files(folder, files)
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "A shop")
    return Project(folder, (tmp / "home").resolve())


class Seen(NamedTuple):
    """A file as it lies there: kind and permissions, and its content or where it leads."""

    mode: int
    content: str


def state_of(folder: Path) -> dict[str, Seen]:
    """Everything below a folder, `.git` included, but the access of it."""
    found: dict[str, Seen] = {}
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(top, name)
            found[path.relative_to(folder).as_posix()] = _seen(path)
    return found


def _seen(path: Path) -> Seen:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return Seen(mode, os.readlink(path))
    if stat.S_ISREG(mode):
        return Seen(mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return Seen(mode, "")


def assert_untouched(before: Mapping[str, Seen], folder: Path, *, git_folder: str = ".git") -> None:
    """All that was there is there to the bit; what is new is objects and result branches only."""
    after = state_of(folder)
    assert {name: after.get(name) for name in before} == before
    allowed = (f"{git_folder}/objects/", f"{git_folder}/refs/heads/cavalcade")
    assert [name for name in after if name not in before and not name.startswith(allowed)] == []


def files_in(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Files and links below a folder, `.git` left out: mode as git names it, and content."""
    found: dict[str, tuple[str, bytes]] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name == ".git" or name.startswith(".git/") or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = ("120000", os.readlink(path).encode())
        else:
            found[name] = ("100755" if path.stat().st_mode & 0o100 else "100644", path.read_bytes())
    return found


def files_of(store: Path, tree: str) -> dict[str, tuple[str, bytes]]:
    """The same of a tree or commit, as git itself tells it. Submodules are left out."""
    found: dict[str, tuple[str, bytes]] = {}
    for line in git(store, "ls-tree", "-r", "-z", tree).split("\0"):
        if line:
            facts, _, name = line.partition("\t")
            mode, kind, blob = facts.split()
            if kind == "blob":
                found[name] = (mode, blob_of(store, blob))
    return found


def blob_of(store: Path, blob: str) -> bytes:
    done = subprocess.run(["git", "cat-file", "blob", blob], cwd=store, check=True, capture_output=True)
    return done.stdout


def wait_until(holds: Callable[[], bool], what: str, *, timeout_s: float = 60) -> None:
    """Looks again and again, since nobody tells; fails when it takes too long."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s} s"
        pause.wait(0.02)


class Process(NamedTuple):
    """A process that can't be taken for a later one with its number."""

    pid: int
    started: str
    command: str

    @property
    def alive(self) -> bool:
        found = _process(self.pid)
        return found is not None and found[0].started == self.started


def descendants(pid: int) -> list[Process]:
    """Every process below `pid`, sandboxed ones too: the kernel shows them to the outside."""
    parents: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (found := _process(int(name))) is not None:
            parents.setdefault(found[1], []).append(found[0])
    below: list[Process] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        below += children
        waiting += [child.pid for child in children]
    return below


def _process(pid: int) -> tuple[Process, int] | None:
    """The process and its parent; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else (Process(pid, fields[19], command), int(fields[1]))
