"""What a folder holds, look by look: each look reads what was touched and tells how it differs from the look before.

The content of a file counts as known while its inode, size and times are what they were, unless it was changed so shortly before it was
read that a later change might carry the same times ("racily clean", git's racy-git.txt).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from cavalcade.content.port import Entry, FileContent, FolderReader, Unsettled
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import ContentError
from cavalcade.recorder.watching import Touched, Watch

_RACY_NS = 50_000_000
"""File systems give times by the kernel's tick, 1 to 10 ms apart (FAT and network file systems are left to the full look at the end)."""
_TRIES = 3
_PART = 64
"""Files of one part of a sweep: a millisecond or two."""
_SUBMODULE = 0o160000


class Found(NamedTuple):
    """One path that differs: how it was recorded before, and what it is now (None: gone)."""

    before: Entry | None
    now: FileContent | None


class Look(NamedTuple):
    at: datetime
    changes: Mapping[str, Found]

    @property
    def size_bytes(self) -> int:
        return sum(len(each.now.data) for each in self.changes.values() if each.now and each.now.data)


class _Files:
    """Path → entry, knowing what lies below a folder without asking every path."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries: dict[str, Entry] = {}
        self._below: dict[str, set[str]] = {}
        for path, entry in entries.items():
            self.put(path, entry)

    def get(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def put(self, path: str, entry: Entry) -> None:
        if path not in self._entries:
            for folder in _folders(path):
                self._below.setdefault(folder, set()).add(path)
        self._entries[path] = entry

    def pop(self, path: str) -> Entry | None:
        entry = self._entries.pop(path, None)
        if entry is not None:
            for folder in _folders(path):
                self._below[folder].discard(path)
        return entry

    def below(self, folder: str) -> list[str]:
        """The empty name is the top."""
        return list(self._entries) if not folder else sorted(self._below.get(folder, ()))


def _folders(path: str) -> Iterator[str]:
    """Every folder that it lies in but the top."""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)


class Gaze:
    """The folder as it was last looked at. For one thread."""

    def __init__(self, top: str, reader: FolderReader, watch: Watch, clock: Clock) -> None:
        self._top = os.fsencode(top)
        self._reader = reader
        self._watch = watch
        self._clock = clock
        self._files = _Files({})
        self._stamps: dict[str, _Stamp] = {}
        self._left_out: dict[str, bool] = {}
        self._retry: set[str] = set()
        self._done: set[str] = set()
        """Paths dealt with in this look."""
        self._absent: set[str] = set()
        """Recorded, and missing on purpose."""
        self.unreadable: dict[str, str] = {}
        """Path → why. What was recorded of it, or below it, before stays."""

    def begin(self, entries: Mapping[str, Entry], *, unchanged_since: datetime) -> None:
        """Takes the folder to hold these files. Those that changed shortly before that moment or later are read at the next look."""
        self._files = _Files(entries)
        limit = _nanoseconds(unchanged_since) - _RACY_NS
        for path in entries:
            found = self._stat(path)
            if found is None and self._reader.partial:
                self._absent.add(path)
            if found is not None and max(found.st_ctime_ns, found.st_mtime_ns) < limit:
                self._stamps[path] = _stamp(found)

    def watch_all(self) -> None:
        """Every folder that is looked into is watched from now on."""
        for _ in self._walk(""):
            pass

    def look(self, touched: Touched) -> Look:
        """What differs now. Paths that change while they are read are left for the next look."""
        changes: dict[str, Found] = {}
        retry, self._retry, self._done = self._retry, set(), set()
        if touched.all or any(path.rpartition("/")[2] == ".gitignore" for path in touched.paths):
            self._left_out.clear()
            self._look_into("", changes)
        else:
            for path in sorted(touched.paths | retry):
                self._look_at(path, changes)
        return Look(self._clock.now(), changes)

    @property
    def unsettled(self) -> bool:
        """Whether something changed while it was read, so that another look is due."""
        return bool(self._retry)

    def sweep(self) -> Iterator[Look]:
        """A look at everything in parts, each a short one: other looks may come between."""
        self._left_out.clear()
        for paths in self._parts(""):
            changes: dict[str, Found] = {}
            self._done = set()
            for path in paths:
                self._take(path, changes)
            yield Look(self._clock.now(), changes)

    def _look_at(self, path: str, changes: dict[str, Found]) -> None:
        if path.endswith("/.git"):  # a repository of its own began or ended there
            path = path.removesuffix("/.git")
            self._left_out.pop(path, None)
        if path in self._done or self._is_outside(path):
            return
        found = self._stat(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            self._take(path, changes)
        elif not self._is_submodule(path):
            self._gone(path, changes)
            self._look_into(path, changes)

    def _look_into(self, folder: str, changes: dict[str, Found]) -> None:
        for paths in self._parts(folder):
            for path in paths:
                self._take(path, changes)

    def _parts(self, folder: str) -> Iterator[list[str]]:
        """Every file that is there, then those that were recorded and are not found there any more."""
        seen: set[str] = set()
        part: list[str] = []
        for path in self._walk(folder) if not folder or not self._is_left_out(folder) else ():
            seen.add(path)
            part.append(path)
            if len(part) == _PART:
                yield part
                part = []
        yield part
        yield [path for path in self._files.below(folder) if path not in seen and not self._is_submodule(path)]

    def _walk(self, folder: str) -> Iterator[str]:
        """Files and links below, each folder watched before it is listed."""
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            self._watch.add(here)
            for name, is_folder in self._listed(here):
                path = f"{here}/{name}" if here else name
                if not self._reader.storable(path):
                    continue
                if not is_folder:
                    yield path
                elif not self._is_submodule(path) and not self._is_left_out(path):
                    waiting.append(path)

    def _listed(self, folder: str) -> list[tuple[str, bool]]:
        try:
            with os.scandir(os.path.join(self._top, os.fsencode(folder))) as entries:
                listed = [(os.fsdecode(each.name), each.is_dir(follow_symlinks=False)) for each in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            self._cannot_read(folder or ".", exc)
            return []
        self.unreadable.pop(folder, None)
        return sorted(listed)

    def _is_submodule(self, path: str) -> bool:
        """Recorded as one, and still a folder."""
        known = self._files.get(path)
        if known is None or known.mode != _SUBMODULE:
            return False
        found = self._stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def _is_outside(self, path: str) -> bool:
        """Whether it lies in a `.git`, a submodule, or a folder that is left out."""
        if not self._reader.storable(path):
            return True
        known = self._files.get(path) is not None
        return any(self._is_submodule(folder) or (not known and self._is_left_out(folder)) for folder in _folders(path))

    def _is_left_out(self, folder: str) -> bool:
        """Ignored, or a repository of its own; but not while something below it is recorded."""
        if folder not in self._left_out:
            nested = self._stat(folder + "/.git") is not None
            self._left_out[folder] = nested or self._reader.ignored(folder + "/")
        return self._left_out[folder] and not self._files.below(folder)

    def _is_hidden(self, path: str) -> bool:
        return bool(self.unreadable) and any(each in self.unreadable for each in (path, ".", *_folders(path)))

    def _gone(self, path: str, changes: dict[str, Found]) -> None:
        before = self._files.pop(path)
        self._stamps.pop(path, None)
        self.unreadable.pop(path, None)
        if before is not None:
            changes[path] = Found(before, None)

    def _take(self, path: str, changes: dict[str, Found]) -> None:
        """A path that is no folder."""
        if path in self._done:
            return
        self._done.add(path)
        found = self._stat(path)
        if found is None and (path in self._absent or self._is_hidden(path)):
            return
        self._absent.discard(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            for below in self._files.below(path):  # it was a folder
                self._gone(below, changes)
        if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            self._gone(path, changes)
            return
        before = self._files.get(path)
        if self._stamps.get(path) == _stamp(found) or (before is None and self._is_ignored(path)):
            return
        content = self._read(path, before)
        if content is None:
            return
        self._stamps.pop(path, None)
        if max(found.st_ctime_ns, found.st_mtime_ns) < _nanoseconds(self._clock.now()) - _RACY_NS:
            self._stamps[path] = _stamp(found)
        self.unreadable.pop(path, None)
        if content.entry != before:
            self._files.put(path, content.entry)
            changes[path] = Found(before, content)

    def _is_ignored(self, path: str) -> bool:
        if path not in self._left_out:
            self._left_out[path] = self._reader.ignored(path)
        return self._left_out[path]

    def _read(self, path: str, before: Entry | None) -> FileContent | None:
        """None when it is left for the next look, or can't be read at all."""
        for _ in range(_TRIES):
            try:
                return self._reader.read(path, before)
            except Unsettled:
                continue
            except FileNotFoundError:
                break
            except (OSError, ContentError) as exc:
                self._cannot_read(path, exc)
                return None
        self._retry.add(path)
        return None

    def _cannot_read(self, path: str, exc: OSError | ContentError) -> None:
        self.unreadable[path] = (exc.strerror if isinstance(exc, OSError) else exc.what) or str(exc)

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.lstat(os.path.join(self._top, os.fsencode(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            self._cannot_read(path, exc)
            return None


_Stamp = tuple[int, int, int, int, int]
"""Inode, mode, size, times of content and of the file itself."""


def _stamp(found: os.stat_result) -> _Stamp:
    return (found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6) * 1000
