"""Bringing a repository's objects into the store: hard links where the file system can, copies where it can't."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cavalcade.content.objectstore import replace_file, side_by_side, sync_folder

_FANOUT = re.compile(r"[0-9a-f]{2}")
_LOOSE = re.compile(r"[0-9a-f]{38}")
_PACK = re.compile(r"(pack-[0-9a-f]{40})\.pack")
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
_MOST_ALTERNATES = 5
"""As deep as git follows them."""


def link_objects(source: Path, target: Path) -> None:
    """All objects of folder `source` (and its alternates) that folder `target` doesn't have yet. Durable on return.

    The files are shared with the user's repository and never written to, by either side: git replaces objects, it doesn't change them.
    A pack that a `git gc` takes away meanwhile comes back under another name, so the listing is read again. Raises OSError.
    """
    for folder in _with_alternates(source, 0):
        for _ in range(3):
            if _link_folder(folder, target):
                break


def copy_shallow(source: Path, store: Path) -> bool:
    """Takes over where a shallow clone's history ends, so that walks stop there. Whether the source is shallow."""
    commits = shallow_commits(source)
    end_history(store, commits)
    return bool(commits)


def shallow_commits(folder: Path) -> set[str]:
    """The commits of a bare repository whose parents are missing on purpose."""
    try:
        return set((folder / "shallow").read_text("ascii").split())
    except FileNotFoundError:
        return set()


def end_history(store: Path, commits: set[str]) -> None:
    """Walks stop at these commits from now on. Raises OSError."""
    known = shallow_commits(store)
    if not commits <= known:
        replace_file(store / "shallow", "".join(f"{commit}\n" for commit in sorted(known | commits)).encode())


def _with_alternates(objects: Path, depth: int) -> Iterator[Path]:
    yield objects
    try:
        lines = (objects / "info" / "alternates").read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        if line and not line.startswith(b"#") and depth < _MOST_ALTERNATES:
            folder = objects / os.fsdecode(line)
            if folder.is_dir():
                yield from _with_alternates(folder, depth + 1)


def _link_folder(source: Path, target: Path) -> bool:
    """False when files vanished on the way."""
    complete = True
    touched: list[Path] = []
    for file in _packs(source / "pack", target / "pack"):
        complete = _link(str(file), str(target / "pack" / file.name)) and complete
        touched.append(target / "pack")
    for folder in filter(_FANOUT.fullmatch, _names(source)):
        here, there = source / folder, target / folder
        missing = [name for name in _names(here) - _names(there) if _LOOSE.fullmatch(name)]
        if missing:
            there.mkdir(exist_ok=True)
            touched.append(there)
        for name in missing:
            complete = _link(f"{here}/{name}", f"{there}/{name}") and complete
    if touched:
        side_by_side(sync_folder, [*dict.fromkeys(touched), target])
    return complete


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _packs(source: Path, target: Path) -> list[Path]:
    """Packs before their indexes: a pack without an index is not looked at, an index without its pack is an error."""
    names, have = _names(source), _names(target)
    bases = [match[1] for name in sorted(names) if (match := _PACK.fullmatch(name)) and f"{match[1]}.idx" in names]
    missing = [base for base in bases if f"{base}.idx" not in have]
    return [source / f"{base}{end}" for base in missing for end in (".pack", ".idx")]


def _link(source: str, target: str) -> bool:
    try:
        os.link(source, target)
    except FileExistsError:
        return True
    except FileNotFoundError:
        return False
    except OSError as exc:
        if exc.errno not in _NO_LINK:
            raise
        return _copy(Path(source), Path(target))
    return True


def _copy(source: Path, target: Path) -> bool:
    handle, temporary = tempfile.mkstemp(prefix="tmp_obj_", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as out, source.open("rb") as data:
            shutil.copyfileobj(data, out, 1 << 20)
            out.flush()
            os.fchmod(out.fileno(), 0o444)
            os.fsync(out.fileno())
        os.rename(temporary, target)
    except FileNotFoundError:
        return False
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
    return True
