"""The fence at the moment of writing: a command in a sandbox may write where its task may, and what it does beside is undone.

The gate `fence` judges a change when it is to be stored. This is the same fence one step earlier, by the same rules (`paths`):

1. before: what may not be written is read-only in the sandbox (`Command.writable`, `Command.read_only`). A file that doesn't exist yet
   needs its folder writable; what else is in that folder is read-only one by one.
2. after: the two trees are compared, no link followed. What lies outside the fence (new files, links, protected names, what was moved)
   is removed, or restored from a copy made before.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from cavalcade.gates import paths
from cavalcade.kernel.errors import SandboxUnavailable, UsageError
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox, Told
from cavalcade.sandbox.scratch import discard

_MOST_PARTS = 500
"""Mounts for one command: beyond, what a folder holds is only compared and restored afterwards."""
_DEEPEST = 200
_LONGEST = 3000
"""Levels and bytes of a path: what goes beyond is outside, so that all that stays can be opened by its path."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True)
class _Entry:
    """What a path is: type and size, and for the others what tells one file from another."""

    mode: int
    inode: int
    size_bytes: int
    modified_ns: int
    links: int

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


class Boundary:
    """For one command on one workspace, a scratch copy. Use as a context; `settle` after the command has ended."""

    def __init__(self, workspace: Path, allowed: Iterable[str]) -> None:
        """`allowed` as in the gate's setting `fence.allowed`: exact paths and `dir/**`. Raises UsageError for a writable file that has
        a second name (hard link): what is written to one is written to both."""
        self._workspace, self._allowed = workspace, frozenset(allowed)
        self._before = dict(_scan(workspace))
        self._open_folders = self._folders_for_new_files()
        self._parts = self._find_parts()
        self._stack = ExitStack()
        self._kept: dict[str, Path | str] = {}
        for path, entry in self._before.items():
            if entry.links > 1 and self.may_write(path) and stat.S_ISREG(entry.mode):
                raise UsageError(
                    f"{path!r} can't be opened for writing: it has a second name (hard link)",
                    expected="a file with one name",
                )

    def __enter__(self) -> Boundary:
        store = Path(tempfile.mkdtemp(prefix="cavalcade-fence-"))
        self._stack.callback(discard, store)
        for number, path in enumerate(self._to_keep()):
            source = self._workspace / path
            if stat.S_ISLNK(self._before[path].mode):
                self._kept[path] = os.readlink(source)
            else:
                self._kept[path] = Path(shutil.copy2(source, store / str(number), follow_symlinks=False))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def may_write(self, path: str) -> bool:
        """Whether the fence lets a file be made, changed or removed."""
        if paths.malformed(path) or not paths.matches(path, self._allowed):
            return False
        return path in self._allowed or not paths.protection(path)

    def command(self, command: Command) -> Command:
        """The same, with what it may not write to read-only."""
        writable, read_only = self._parts
        if len(writable) + len(read_only) > _MOST_PARTS:
            read_only = [path for path in read_only if self._before[path].is_folder][:_MOST_PARTS]
        return replace(command, writable=tuple(writable), read_only=tuple(read_only))

    def _find_parts(self) -> tuple[list[str], list[str]]:
        writable: list[str] = []
        read_only: list[str] = []
        open_here = {"": self._folder_open("")}
        if open_here[""]:
            writable.append(".")
        for path, entry in self._before.items():  # outer before inner
            outer = open_here[path.rpartition("/")[0]]
            inner = self._folder_open(path) if entry.is_folder else self.may_write(path)
            if entry.is_folder:
                open_here[path] = inner
            if inner != outer and not stat.S_ISLNK(entry.mode):
                (writable if inner else read_only).append(path)
        return writable, read_only

    def settle(self) -> tuple[str, ...]:
        """Undoes what lies outside; its paths. Raises SandboxUnavailable when something changed that was mounted read-only."""
        after = dict(_scan(self._workspace, repair=True))
        outside = sorted(path for path in {*self._before, *after} if self._is_outside(path, after))
        top = os.open(self._workspace, _FOLDER)
        try:
            for path in outside:
                _remove(self._workspace, top, path)
            for path in outside:
                if path in self._before:
                    self._restore(top, path)
        finally:
            os.close(top)
        return tuple(outside)

    def _is_outside(self, path: str, after: dict[str, _Entry]) -> bool:
        old, new = self._before.get(path), after.get(path)
        if new is not None and new.is_folder:
            return _too_deep(path) or ((old is None or not old.is_folder) and not self._may_hold(path))
        if new is not None and not (stat.S_ISREG(new.mode) or stat.S_ISLNK(new.mode)):
            return old is None or old.inode != new.inode
        if old is not None and old.is_folder:  # gone, or a file now
            return not self._may_hold(path)
        if self.may_write(path):
            return False
        return old is None or new is None or self._differs(path, old, new)

    def _differs(self, path: str, old: _Entry, new: _Entry) -> bool:
        if (stat.S_IFMT(old.mode), old.mode & 0o111, old.size_bytes) != (
            stat.S_IFMT(new.mode),
            new.mode & 0o111,
            new.size_bytes,
        ):
            return True
        kept = self._kept.get(path)
        if kept is None:
            return (old.inode, old.modified_ns) != (new.inode, new.modified_ns)
        if isinstance(kept, str):
            return os.readlink(self._workspace / path) != kept
        return _read(self._workspace / path) != kept.read_bytes()

    def _folder_open(self, folder: str) -> bool:
        """Whether anything may be made right in a folder."""
        return folder in self._open_folders or (
            not any(paths.is_git_folder(part) for part in folder.split("/"))
            and paths.matches(
                f"{folder}/\0" if folder else "\0", (pattern for pattern in self._allowed if pattern.endswith("**"))
            )
        )

    def _may_hold(self, folder: str) -> bool:
        """Whether a folder may exist for the sake of what may be in it."""
        if paths.malformed(folder):
            return False
        return self._folder_open(folder) or any(allowed.startswith(f"{folder}/") for allowed in self._allowed)

    def _folders_for_new_files(self) -> frozenset[str]:
        """For each path that doesn't exist yet, and each link, the nearest folder that does."""
        found: set[str] = set()
        for allowed in self._allowed:
            path = allowed.removesuffix("/**")
            entry = self._before.get(path)
            if allowed == "**" or paths.malformed(path) or (entry is not None and not stat.S_ISLNK(entry.mode)):
                continue
            folder = path.rpartition("/")[0]
            while folder and folder not in self._before:
                folder = folder.rpartition("/")[0]
            if not folder or self._before[folder].is_folder:
                found.add(folder)
        return frozenset(found)

    def _to_keep(self) -> Iterator[str]:
        """What a guest may reach though it may not write it: links, what can be moved with a folder around it, what isn't mounted."""
        crowded = len(self._parts[0]) + len(self._parts[1]) > _MOST_PARTS
        movable = {"": False}
        for path, entry in self._before.items():  # outer before inner
            outer = path.rpartition("/")[0]
            is_open = self._folder_open(outer)
            if entry.is_folder:
                movable[path] = movable[outer] or (is_open and self._folder_open(path))
            elif (movable[outer] or (is_open and (crowded or stat.S_ISLNK(entry.mode)))) and not self.may_write(path):
                yield path

    def _restore(self, top: int, path: str) -> None:
        """Folders around it are made anew where something else is in their place: no link is followed."""
        kept = self._kept.get(path)
        outer, _, name = path.rpartition("/")
        at = _open_folder(top, path if self._before[path].is_folder else outer, make=True)
        try:
            if isinstance(kept, str):
                os.symlink(kept, name, dir_fd=at)
            elif kept is not None:
                _copy(kept, name, at)
            elif not self._before[path].is_folder:
                raise SandboxUnavailable(
                    f"{path!r} changed though it was read-only in the sandbox",
                    hint="don't use this sandbox: it doesn't hold here. `cavalcade doctor` says what it is",
                )
        finally:
            os.close(at)


async def run_fenced(
    sandbox: Sandbox, command: Command, limits: Limits, allowed: Iterable[str], *, told: Told | None = None
) -> tuple[Result, tuple[str, ...]]:
    """Runs a command within the fence. The second part of the answer: paths outside that it changed all the same, undone.

    Also undone when the command is cancelled. Raises what the sandbox and `Boundary` raise.
    """
    with Boundary(command.workspace, allowed) as boundary:
        try:
            result = await sandbox.run(boundary.command(command), limits, told=told)
        finally:
            outside = boundary.settle()
        return result, outside


def _scan(workspace: Path, *, repair: bool = False) -> Iterator[tuple[str, _Entry]]:
    """Every entry below, outer before inner, no link followed. `repair` opens folders that their owner may not enter."""
    top = os.open(workspace, _FOLDER)
    waiting = [""]
    try:
        while waiting:
            folder = waiting.pop()
            descriptor = _open_folder(top, folder)
            try:
                for name in sorted(os.listdir(descriptor)):
                    path = f"{folder}/{name}" if folder else name
                    info = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    yield path, _Entry(info.st_mode, info.st_ino, info.st_size, info.st_mtime_ns, info.st_nlink)
                    if stat.S_ISDIR(info.st_mode) and not _too_deep(path):
                        waiting.append(path)
                        if repair and info.st_mode & 0o700 != 0o700:
                            os.chmod(name, 0o700, dir_fd=descriptor)
            finally:
                os.close(descriptor)
    finally:
        os.close(top)


def _too_deep(path: str) -> bool:
    return path.count("/") >= _DEEPEST or len(os.fsencode(path)) > _LONGEST


def _open_folder(top: int, folder: str, *, make: bool = False) -> int:
    """A descriptor of a folder below `top`, through folders alone. `make` puts folders where there are none, whatever else is there."""
    at = os.dup(top)
    for name in filter(None, folder.split("/")):
        try:
            inner = _enter(at, name, make=make)
        finally:
            os.close(at)
        at = inner
    return at


def _enter(at: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
    except NotADirectoryError:
        if not make:
            raise
        os.unlink(name, dir_fd=at)
    os.mkdir(name, dir_fd=at)
    return os.open(name, _FOLDER, dir_fd=at)


def _remove(workspace: Path, top: int, path: str) -> None:
    """Whatever lies there; nothing when it is gone with what was around it, or a folder around it is none any more."""
    outer, _, name = path.rpartition("/")
    try:
        at = _open_folder(top, outer)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=at)
            return
        aside = Path(tempfile.mkdtemp(prefix=".outside-", dir=workspace))
        os.rename(name, f"{aside.name}/it", src_dir_fd=at, dst_dir_fd=top)
        discard(aside)
    except FileNotFoundError:
        return
    finally:
        os.close(at)


def _copy(kept: Path, name: str, folder: int) -> None:
    info = kept.stat()
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    with open(descriptor, "wb") as file, kept.open("rb") as source:
        shutil.copyfileobj(source, file)
        os.fchmod(file.fileno(), stat.S_IMODE(info.st_mode))
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=folder, follow_symlinks=False)


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        return file.read()
