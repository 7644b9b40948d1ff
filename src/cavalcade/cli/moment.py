"""Which moment of which run is meant, where a run or a project can be named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from cavalcade.cli.compose import System
from cavalcade.cli.find import choose_run, top_folder
from cavalcade.kernel.errors import NotRecorded
from cavalcade.kernel.ids import ProjectId, RunId
from cavalcade.supervisor.history import Moment, moment_of_project, moment_of_run, parse_when


class At(NamedTuple):
    """A moment and the run it was found in; a fork's moment may be one of its parent's events.

    `project` is set where a project was named and not a run, `folder` where it was named by the folder it lies in.
    """

    run: RunId
    moment: Moment
    project: ProjectId | None = None
    folder: Path | None = None


async def find_moment(system: System, what: str, at: str) -> At:
    """Of a run, or the latest of a project; the last one when `at` is empty. Raises NotRecorded, UsageError."""
    when = parse_when(at or "last", system.clock.now())
    run = await named_run(system, what)
    if run is not None:
        return At(run, await moment_of_run(system.runs, run, when))
    project, folder = await project_named(system, what)
    moment = await moment_of_project(system.ledger, system.runs, project, when)
    return At(moment.run, moment, project, folder)


async def named_run(system: System, what: str) -> RunId | None:
    """The run that is meant; None where a project is named. Raises NotRecorded, UsageError."""
    if _like_a_folder(what) and await _project(system, what) is not None:
        return None
    try:
        return choose_run(what, await system.runs.list())
    except NotRecorded:
        if await _project(system, what) is None:
            raise
        return None


async def project_named(system: System, what: str) -> tuple[ProjectId, Path | None]:
    """By its folder, its id or one of its runs; the folder only where that was named. Raises NotRecorded, UsageError."""
    found = await _project(system, what)
    if found is not None:
        return found
    state = await system.runs.load(choose_run(what, await system.runs.list()))
    assert state.start is not None  # a loaded run has begun
    return state.start.project, None


def _like_a_folder(what: str) -> bool:
    return what.startswith(".") or "/" in what


async def _project(system: System, what: str) -> tuple[ProjectId, Path | None] | None:
    if re.fullmatch(r"p[0-9a-f]{16}", what):
        return ProjectId(what), None
    top = _top(what)
    return None if top is None else (await system.projects.at(top), top)


def _top(what: str) -> Path | None:
    folder = Path(what).expanduser()
    return top_folder(folder) if folder.is_dir() else None
