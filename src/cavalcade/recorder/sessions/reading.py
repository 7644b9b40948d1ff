"""What the readers of session files share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from cavalcade.recorder.port import Entry, Program, Said

T = TypeVar("T")
_LARGEST_FILE = 256 << 20
_MOST_PATHS = 50
"""Of one call: an event has at most 16 KiB."""
_PATH_KEYS = ("file_path", "filePath", "absolute_path", "notebook_path", "path", "paths")
"""Arguments of tools that name files."""


class Loose(msgspec.Struct, frozen=True):
    """Base of foreign records: fields not named here are passed over, those absent have a default."""


class Reading:
    """What one reader has of its program: where it works and since when, and how much was not understood."""

    def __init__(self, program: Program) -> None:
        self._top = os.path.realpath(program.top)
        self.folder = os.path.realpath(program.folder)
        self.started = program.started
        self.left_out = 0

    def decode(self, data: bytes, kind: type[T]) -> T | None:
        """None, and counted, for what has another shape."""
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.left_out += 1
            return None

    def is_here(self, folder: str) -> bool:
        """Whether a session that works in `folder` belongs to the program's own."""
        real = os.path.realpath(folder)
        return bool(folder) and (real == self.folder or real.startswith(f"{self.folder}{os.sep}"))

    def said(self, at: datetime | None, entries: Iterable[Entry]) -> Iterator[Said]:
        """Nothing of what was said before the program was started."""
        if at is not None and at >= self.started:
            yield from (Said(at, entry) for entry in entries)

    def paths(self, arguments: object, folder: str) -> tuple[str, ...]:
        """The files that a tool's arguments name by the usual words, relative to the project; none outside of it."""
        named = mapping(arguments)
        values = [value for key in _PATH_KEYS for value in items(named.get(key)) or [named.get(key)]]
        return self.relative([value for value in values if isinstance(value, str)], folder)

    def relative(self, paths: Iterable[str], folder: str) -> tuple[str, ...]:
        """Paths relative to the project; relative ones are meant from `folder`."""
        found: dict[str, None] = {}
        for path in paths:
            whole = os.path.normpath(os.path.join(folder or self.folder, path))
            real = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
            if real.startswith(f"{self._top}{os.sep}"):
                found[os.path.relpath(real, self._top)] = None
        return tuple(found)[:_MOST_PATHS]


def mapping(value: object) -> dict[str, Any]:
    """A foreign object; empty for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """A foreign list; empty for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def text_of(content: object) -> str:
    """Of a text, of something with a `text`, or of a list of these."""
    if isinstance(content, str):
        return content
    own = mapping(content).get("text")
    return own if isinstance(own, str) else "\n".join(text for each in items(content) if (text := text_of(each)))


class Appended:
    """The lines of files that grow, each once. A last line without its end waits."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}

    def lines(self, file: Path) -> Iterator[bytes]:
        """Raises OSError."""
        done = self._read.get(file, 0)
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < done:  # written anew
                done = 0
            stream.seek(done)
            data = stream.read(min(size - done, _LARGEST_FILE))
        whole = data.rfind(b"\n") + 1
        self._read[file] = done + whole
        yield from (line for line in data[:whole].split(b"\n") if line.strip())


def changed_since(folder: Path, started: datetime, ending: str, *, prefix: str = "") -> list[Path]:
    """Files below a folder, all the way down, that were written after `started`; oldest first. Folders that can't be read have none."""
    found: list[tuple[float, Path]] = []
    waiting = [str(folder)]
    since = started.timestamp() - 1  # file systems count in coarser steps
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.name.endswith(ending) and entry.name.startswith(prefix):
                        written = entry.stat().st_mtime
                        if written >= since:
                            found.append((written, Path(entry.path)))
        except OSError:
            continue
    return [path for _, path in sorted(found)]


def moment(text: str) -> datetime | None:
    """An ISO 8601 time with zone; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def moment_ms(since_1970_ms: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(since_1970_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()
