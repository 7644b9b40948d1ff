"""The question, opened: which file became which, its bytes, and the settings of a gate."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import msgspec

from cavalcade.content.port import Entry, TreeReader
from cavalcade.gates.port import Question
from cavalcade.kernel.errors import UsageError

T = TypeVar("T")

REGULAR_MODES = (0o100644, 0o100755)
SYMLINK_MODE = 0o120000
GITLINK_MODE = 0o160000


class FileChange(NamedTuple):
    """One path of a question. `before` is the entry it came from (a moved file's: the one at its old path), None when new;
    `after` is None when the path is gone."""

    path: str
    before: Entry | None
    after: Entry | None


def setting(question: Question, key: str, kind: type[T], default: T) -> T:
    """The value under `key`, checked against `kind`. Raises UsageError when it doesn't fit."""
    text = question.config.get(key)
    if text is None:
        return default
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as exc:
        raise UsageError(
            f"gate setting {key} is {text[:80]!r}: {exc}", expected=f"JSON of {kind}", hint="correct the setting"
        ) from exc


def moves(question: Question) -> dict[str, str]:
    """Planned moves, new path to old path (setting `moves`)."""
    return setting(question, "moves", dict[str, str], {})


def changed_files(question: Question, reader: TreeReader) -> list[FileChange]:
    """The changes at the question's paths, sorted; paths whose entry is the same in both trees are left out."""
    before, after, origin = reader.entries(question.before), reader.entries(question.after), moves(question)
    found: list[FileChange] = []
    for path in sorted(set(question.paths)):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if old is None and path in origin and origin[path] not in after:
            old = before.get(origin[path])
        found.append(FileChange(path, old, new))
    return found


def is_regular(entry: Entry | None) -> bool:
    return entry is not None and entry.mode in REGULAR_MODES


def regular_bytes(entry: Entry | None, reader: TreeReader) -> bytes | None:
    """A regular file's content; None for nothing, symlinks and submodules."""
    return reader.read(entry.blob) if entry is not None and is_regular(entry) else None


def is_python(path: str) -> bool:
    return path.endswith((".py", ".pyi", ".pyw"))
