"""A program that edits files in every way there is, keeps a log of its own, and leaves each state alone until it is on record.

`python eventful.py LOG STORE` in the top folder of a repository. Each line of LOG is a JSON object of every file: mode, as git names it,
and SHA-1 of the blob. It knows nothing of the recorder but the commit that its content store names for the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIMIT_S = 60.0


def state() -> dict[str, list[str]]:
    """Everything but `.git` and what is ignored."""
    found: dict[str, list[str]] = {}
    for top, folders, files in os.walk("."):
        folders[:] = [name for name in folders if name != ".git" and not os.path.islink(os.path.join(top, name))]
        for name in os.listdir(top):
            path = Path(top, name)
            if name.endswith(".log") or not (path.is_symlink() or path.is_file()):
                continue
            found[path.as_posix()] = _entry(path)
        del files
    return found


def _entry(path: Path) -> list[str]:
    if path.is_symlink():
        mode, data = "120000", os.readlink(path).encode()
    else:
        mode, data = ("100755" if path.stat().st_mode & 0o100 else "100644"), path.read_bytes()
    return [mode, hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()]


def on_record(store: str) -> dict[str, list[str]]:
    """The last state that is kept of this run."""
    name = f"refs/runs/{os.environ['CAVALCADE_RUN']}/head"
    listed = subprocess.run(
        ["git", "-C", store, "ls-tree", "-r", "-z", name], capture_output=True, text=True, check=False
    )
    found: dict[str, list[str]] = {}
    for line in listed.stdout.split("\0"):
        if line:
            facts, _, path = line.partition("\t")
            mode, _, blob = facts.split()
            found[path] = [mode, blob]
    return found


def wait_until_recorded(store: str) -> dict[str, list[str]]:
    mine = state()
    limit = time.monotonic() + LIMIT_S
    while on_record(store) != mine:
        if time.monotonic() > limit:
            sys.exit(f"not recorded within {LIMIT_S} s: {sorted(mine.items() ^ on_record(store).items())[:10]}")
        time.sleep(0.01)
    return mine


def write(path: str, data: bytes | str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data if isinstance(data, bytes) else data.encode())


def append(path: str, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def burst() -> None:
    for number in range(100):
        write(f"burst/part{number % 7}/file{number}.txt", f"{number}\n")


def save_like_an_editor() -> None:
    write("prices.py.new", "saved = 1\n")
    os.replace("prices.py.new", "prices.py")


def save_like_vim() -> None:
    write(".prices.py.swp", b"\0swap")
    os.rename("prices.py", "prices.py~")
    write("prices.py", "saved = 2\n")
    os.unlink("prices.py~")
    os.unlink(".prices.py.swp")


def swap_files() -> None:
    os.rename("prices.py", "other")
    os.rename("README.md", "prices.py")
    os.rename("other", "README.md")


def run(*command: str) -> Callable[[], None]:
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL) and None


STEPS: tuple[Callable[[], object], ...] = (
    lambda: write("new.txt", "one\n"),
    lambda: append("new.txt", b"two\n"),
    run("sed", "-i", "s/two/TWO/", "new.txt"),
    save_like_an_editor,
    save_like_vim,
    run("git", "mv", "sub/inner.txt", "moved.txt"),
    burst,
    run("bash", "-c", "for f in burst/part0/*; do echo again >> $f; done; rm -r burst/part1"),
    lambda: os.rename("burst", "deep"),
    lambda: os.rename("deep/part2", "part2"),
    lambda: write("part2/below/in/it.txt", "deep\n"),
    lambda: os.symlink("prices.py", "link"),
    lambda: (os.unlink("link"), os.symlink("README.md", "link")),
    lambda: (os.unlink("link"), write("link", "a file now\n")),
    lambda: os.symlink("part2", "to-folder"),
    lambda: write("binary.bin", bytes(range(256)) * 40),
    lambda: os.chmod("prices.py", 0o755),
    lambda: os.chmod("prices.py", 0o644),
    lambda: (shutil.rmtree("deep"), write("deep", "a folder was here\n")),
    lambda: (os.unlink("deep"), write("deep/again.txt", "a file was here\n")),
    lambda: write("empty", b""),
    lambda: write("größe und mehr.txt", "ü\n"),
    lambda: write("huge.bin", os.urandom(1 << 20) * 9),
    lambda: append("huge.bin", b"more"),
    lambda: os.truncate("huge.bin", 5),
    swap_files,
    lambda: os.link("README.md", "hard"),
    lambda: (write("ignored.log", "nothing"), write("beside.txt", "seen\n")),
    lambda: os.unlink("moved.txt"),
    run("git", "checkout", "-q", "--", "prices.py", "README.md"),
)


def main(log: str, store: str) -> None:
    with open(log, "w", encoding="utf-8") as file:
        for step in STEPS:
            step()
            file.write(json.dumps(wait_until_recorded(store)) + "\n")
        write("last.txt", "nobody waited for this one\n")
        file.write(json.dumps(state()) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
