"""What a person means by a run, a project, a file, a line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cavalcade.config.paths import data_folder
from cavalcade.kernel.errors import LedgerUnwritable, NotARepository, NotRecorded, UsageError
from cavalcade.kernel.ids import RunId

_SHOWN = 8


def choose_run(text: str, runs: Sequence[RunId]) -> RunId:
    """`last`, an id, its branch, or the beginning or end of one. `runs` oldest first. Raises NotRecorded, UsageError."""
    wanted = text.strip().removeprefix("cavalcade/")
    if not runs:
        raise NotRecorded("there are no runs yet", hint='start one: cavalcade run "rename module:old to new"')
    if wanted == "last":
        return runs[-1]
    if wanted in runs:
        return RunId(wanted)
    found = [run for run in runs if wanted and (run.startswith(wanted) or run.endswith(wanted))]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{len(found)} runs begin or end with {wanted!r}",
            expected="one run",
            hint="give more of it",
            places=_newest(found),
        )
    raise NotRecorded(f"there is no run {text!r}", hint="`cavalcade runs` lists the runs", places=_newest(runs))


def _newest(runs: Sequence[RunId]) -> tuple[str, ...]:
    shown = tuple(reversed(runs[-_SHOWN:]))
    return (*shown, f"... and {len(runs) - _SHOWN} more") if len(runs) > _SHOWN else shown


def top_folder(start: Path) -> Path:
    """The repository's top folder that `start` lies in. Raises UsageError when there is no such folder, NotARepository."""
    folder = start.expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"{start} is not a folder", expected="a folder inside a git repository")
    if any("\udc80" <= char <= "\udcff" for char in str(folder)):
        raise UsageError(f"the path {str(folder)!r} is not UTF-8", expected="a folder that can be put on the record")
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    if (folder / "HEAD").is_file() and (folder / "objects").is_dir():
        return folder  # bare: the import says what is wrong with that
    raise NotARepository(
        f"{folder} is not in a git repository", hint="go there with cd, or name it with --repo; `git init` makes one"
    )


def make_data_folder(environ: Mapping[str, str]) -> None:
    """Where the record lies. Raises LedgerUnwritable."""
    folder = data_folder(environ).root
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise LedgerUnwritable(
            f"the data folder {folder} can't be made: {exc.strerror}",
            hint="make room for it, or name another one: export CAVALCADE_HOME=DIR",
        ) from exc


def home_folder(environ: Mapping[str, str]) -> Path:
    """The person's own: it is never shown to the tests."""
    return Path(environ.get("HOME") or Path.home())


def path_in(repository: Path, text: str, cwd: Path) -> str:
    """A path as the project knows it: seen from `cwd` when something is there, else from the top folder.

    Raises UsageError for a path outside.
    """
    given = Path(text).expanduser()
    here = Path(os.path.normpath(cwd.resolve() / given))
    inside = here.is_relative_to(repository)
    if given.is_absolute() and not inside:
        raise UsageError(f"{text} is not in {repository}", expected="a path inside the project")
    if inside and (given.is_absolute() or os.path.lexists(here)):
        return here.relative_to(repository).as_posix()
    normal = os.path.normpath(text)
    if normal.startswith(".."):
        raise UsageError(f"{text} leads out of {repository}", expected="a path inside the project")
    return Path(normal).as_posix()


def split_place(text: str) -> tuple[str, int]:
    """`FILE:LINE`. Raises UsageError."""
    path, _, line = text.rpartition(":")
    if not path or not re.fullmatch(r"0*[1-9][0-9]{0,8}", line):
        raise UsageError(
            f"{text[:200]!r} names no line",
            expected="FILE:LINE, for example src/app.py:12",
            hint="`cat -n FILE` numbers its lines",
        )
    return path, int(line)
