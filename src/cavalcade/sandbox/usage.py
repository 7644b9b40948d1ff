"""What a running command uses, read from the kernel: its processes, and how its folder grows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")
_DEEPEST = 200
"""Folders nested deeper than `_DEEPEST` are counted as unreadable: an honest tree has none, and each level costs a descriptor."""


@dataclass(frozen=True)
class ProcessUse:
    """Of a process and all its descendants. `cpu_s` includes descendants that have ended and were waited for."""

    pids: tuple[int, ...]
    tasks: int
    rss_bytes: int
    cpu_s: float


def process_use(root: int) -> ProcessUse:
    """Process `root` and its descendants; all zero when it is gone."""
    pids: list[int] = []
    tasks, pages, ticks = 0, 0, 0
    for pid in descendants(root):
        fields = _stat(pid)
        if fields is None:
            continue
        pids.append(pid)
        ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))  # utime, stime, cutime, cstime
        tasks += int(fields[17])
        pages += max(int(fields[21]), 0)
    return ProcessUse(tuple(pids), tasks, pages * _PAGE, ticks / _TICKS)


def tasks_of(uid: int) -> int:
    """How many processes and threads a user has on this machine."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}").st_uid == uid:
                    fields = _stat(int(name))
                    count += int(fields[17]) if fields else 0
    return count


def parent_of(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def proportional_bytes(pids: tuple[int, ...]) -> int:
    """Resident memory with pages that several processes share divided among them; plain where the kernel won't say."""
    total = 0
    for pid in pids:
        text = _read(f"/proc/{pid}/smaps_rollup")
        at = text.find(b"\nPss:")
        if at >= 0:
            total += int(text[at + 5 :].split(maxsplit=1)[0]) * 1024
        else:
            fields = _stat(pid)
            total += int(fields[21]) * _PAGE if fields else 0
    return total


def descriptors(pids: tuple[int, ...]) -> int:
    """The most that one of the processes has open; 0 before Linux 6.2, which doesn't tell it at a glance."""
    most = 0
    for pid in pids:
        try:
            most = max(most, os.stat(f"/proc/{pid}/fd").st_size)
        except OSError:
            continue
    return most


def unlinked_bytes(pids: tuple[int, ...], device: int) -> int:
    """Space on `device` held by files that have no name any more but are open in one of the processes."""
    sizes: dict[int, int] = {}
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                info = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if info.st_dev == device and info.st_nlink == 0:
                sizes[info.st_ino] = info.st_blocks * 512
    return sum(sizes.values())


def descendants(root: int) -> Iterator[int]:
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += _children(pid)


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(f"/proc/{pid}/task/{thread}/children").split()]


def _stat(pid: int) -> list[bytes] | None:
    """Fields of proc(5) `stat` from the third on: the second is the command's name in brackets, and may hold anything."""
    text = _read(f"/proc/{pid}/stat")
    return text[text.rindex(b")") + 2 :].split() if text else None


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class FolderUse:
    """`unreadable` folders could not be listed, so what is in them is not counted. `large` files hold at least as much as was asked."""

    size_bytes: int = 0
    files: int = 0
    unreadable: int = 0
    large: int = 0

    def __add__(self, other: FolderUse) -> FolderUse:
        return FolderUse(
            self.size_bytes + other.size_bytes,
            self.files + other.files,
            self.unreadable + other.unreadable,
            self.large + other.large,
        )


def folder_use(
    folder: Path, visit: Callable[[str, int, os.stat_result], None] | None = None, *, large_bytes: int = 1 << 62
) -> FolderUse:
    """Allocated bytes and number of entries below `folder`, never following a symbolic link, also while it is changed.

    `visit` gets each entry's name, the open descriptor of the folder it is in, and its stat.
    Raises OSError when `folder` itself can't be opened.
    """
    size, files, unreadable, large = 0, 0, 0, 0
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    levels: list[tuple[int, Iterator[os.DirEntry[str]]]] = []
    try:
        levels.append((top, _entries(top)))
        while levels:
            level, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                os.close(levels.pop()[0])
                continue
            try:
                info = entry.stat(follow_symlinks=False)
                if visit:
                    visit(entry.name, level, info)
                files += 1
                size += info.st_blocks * 512
                large += info.st_blocks * 512 >= large_bytes
                if entry.is_dir(follow_symlinks=False):
                    inner = _enter(entry.name, level) if len(levels) < _DEEPEST else None
                    unreadable += inner is None
                    if inner is not None:
                        levels.append((inner, _entries(inner)))
            except FileNotFoundError:
                continue
        return FolderUse(size, files, unreadable, large)
    finally:
        for level, _ in levels:
            os.close(level)


def _entries(descriptor: int) -> Iterator[os.DirEntry[str]]:
    with os.scandir(descriptor) as entries:
        yield from entries


def _enter(name: str, folder: int) -> int | None:
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        return None
