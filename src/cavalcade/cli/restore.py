"""`restore` and `saved`: any moment brought back, into a folder, as a branch, or over the user's own working tree."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.cut import restore_everything
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import top_folder
from cavalcade.cli.moment import find_moment, named_run, project_named
from cavalcade.cli.report import Whole
from cavalcade.cli.rewind import empty_folder
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.ids import CommitId, EventId, ProjectId, RunId, TreeId
from cavalcade.protocol.envelope import Recorded
from cavalcade.supervisor.history import parse_when
from cavalcade.supervisor.locating import locate
from cavalcade.supervisor.project_stream import ProjectStream
from cavalcade.supervisor.saving import find_saved, saved_in
from cavalcade.supervisor.targets import (
    Everything,
    OfAgent,
    OfTask,
    Target,
    TheMoment,
    View,
    agent_at,
    parse_target,
    task_at,
)
from cavalcade.supervisor.timeline import count, row_of

_SHOWN = 4
"""Paths in one line."""


class Asked(NamedTuple):
    """The command line, as typed."""

    what: str
    at: str = ""
    task: str = ""
    agent: str = ""
    everything: bool = False
    saved: str = ""
    into: Path | None = None
    branch: str = ""
    in_place: bool = False
    replace_ignored: bool = False


class Restored(Whole, frozen=True):
    """`saved` names what the working tree held before, when it was restored in place."""

    run: str
    event: str
    version: int
    tree: str
    commit: str
    files: int
    into: str
    branch: str
    saved: str
    notes: tuple[str, ...]


class SavedLine(Whole, frozen=True):
    name: str
    time: datetime
    repository: str
    commit: str
    tree: str
    paths: tuple[str, ...]
    more: int


class _Found(NamedTuple):
    """What is to be brought back, and where it belongs. `said` is it in words; `event` is None for saved work."""

    project: ProjectId
    repository: Path
    commit: CommitId
    tree: TreeId
    said: str
    run: RunId
    event: Recorded | None


async def restore(system: System, terminal: Terminal, asked: Asked) -> int:
    """Into exactly one of: a folder, a branch, the working tree. Raises UsageError, NotRecorded, ContentError."""
    target = parse_target(asked.task, asked.agent, everything=asked.everything)
    _check(asked, target)
    if isinstance(target, Everything) and asked.into is not None:
        return await restore_everything(system, terminal, await find_moment(system, asked.what, asked.at), asked.into)
    found = await (_saved(system, asked) if asked.saved else _recorded(system, asked, target))
    restored = await _place(system, terminal, asked, found)
    for note in restored.notes:
        terminal.say(Text(note))
    terminal.document(restored)
    terminal.data(Text(restored.saved or restored.into or restored.branch))
    return DONE


def _check(asked: Asked, target: Target) -> None:
    ways = [asked.into is not None, bool(asked.branch), asked.in_place]
    if sum(ways) != 1:
        raise UsageError(
            "where to restore to is not clear",
            expected="one of --into DIR, --branch NAME and --in-place",
            hint="`cavalcade restore --help` shows what is possible",
        )
    if asked.branch.startswith("-"):
        raise UsageError(
            f"{asked.branch!r} is no good name for a branch", expected="a name that doesn't begin with a dash"
        )
    if asked.replace_ignored and not asked.in_place:
        raise UsageError("--replace-ignored is about the working tree", expected="--in-place beside it")
    if isinstance(target, Everything) and asked.into is None:
        raise UsageError("--everything is more than one tree", expected="--into DIR beside it")
    if asked.saved and (asked.at or asked.task or asked.agent or asked.everything):
        raise UsageError(
            "saved work is no moment of a run", expected="--saved without --at, --task, --agent, --everything"
        )


async def _place(system: System, terminal: Terminal, asked: Asked, found: _Found) -> Restored:
    content = system.content(found.project)
    files, saved, notes = 0, "", tuple[str, ...]()
    folder: Path | None = None
    if asked.in_place:
        folder = found.repository
        with system.workplace(found.project, folder) as workplace:
            event = found.event.event.id if found.event else EventId("")
            done = await workplace.restore(
                found.tree, run=found.run, event=event, replace_ignored=asked.replace_ignored
            )
        files, saved, notes = done.files, done.saved, done.notes
        terminal.say(Text(f"what was there is saved as {saved} ({count(done.dirty, 'uncommitted path')})"))
        terminal.say(Text(f"bring it back: cavalcade restore {found.project} --saved {saved} --in-place"))
        where = f"{count(files, 'file')} changed in {folder}; HEAD, branches and index are as they were"
    elif asked.into is not None:
        folder = empty_folder(asked.into, found.tree)
        files = await asyncio.to_thread(content.restore, found.tree, folder)
        where = f"{count(files, 'file')} in {folder}"
    else:
        await asyncio.to_thread(content.check, found.tree)
        await asyncio.to_thread(content.publish, found.repository, asked.branch, found.commit)
        where = f"branch {asked.branch} in {found.repository}"
    terminal.say(Text(f"restored {found.said}: {where}"))
    return Restored(
        run=found.run,
        event=found.event.event.id if found.event else "",
        version=found.event.version if found.event else 0,
        tree=found.tree,
        commit=found.commit,
        files=files,
        into=str(folder or ""),
        branch=asked.branch,
        saved=saved,
        notes=notes,
    )


async def _recorded(system: System, asked: Asked, target: Target) -> _Found:
    if isinstance(target, TheMoment) and (found := await _located(system, asked)):
        return found
    at = await find_moment(system, asked.what, asked.at)
    event, view, whose = at.moment.event, View(at.moment.event, at.moment.commit, at.moment.tree), ""
    if isinstance(target, OfTask | OfAgent):
        history = await system.runs.history(at.run)
        if isinstance(target, OfTask):
            view, whose = task_at(history, event, target.task), f"task {target.task} at "
        else:
            view, whose = agent_at(history, event, target.agent), f"what {target.agent} saw at "
    start = at.moment.state.start
    assert start is not None  # the moment is of a run that has begun
    said = f"{whose}{_said(view.event, at.run)}"
    return _Found(start.project, at.folder or Path(start.repository), view.commit, view.tree, said, at.run, view.event)


async def _located(system: System, asked: Asked) -> _Found | None:
    """Without reading the run's whole history; None where that has to be."""
    run = await named_run(system, asked.what)
    when = parse_when(asked.at or "last", system.clock.now())
    found = await locate(system.ledger, run, when) if run else None
    if run is None or found is None:
        return None
    repository = await system.projects.folder(found.start.project) or found.start.repository
    _, commit, tree = found.view
    said = _said(found.event, run)
    return _Found(found.start.project, Path(repository), commit, tree, said, run, found.event)


def _said(event: Recorded, run: RunId) -> str:
    row = row_of(event)
    return f"#{row.version} of run {run} ({row.text})"


async def _saved(system: System, asked: Asked) -> _Found:
    project, folder = await project_named(system, asked.what)
    history = await ProjectStream(system.ledger, system.clock, system.entropy).history(project)
    work = find_saved(saved_in(history), asked.saved).work
    repository = folder or Path(await system.projects.folder(project) or work.repository)
    return _Found(project, repository, work.commit, work.tree, f"saved work {work.name}", RunId(""), None)


async def list_saved(system: System, terminal: Terminal, repo: Path) -> int:
    """What was saved of a project, oldest first."""
    project = await system.projects.at(top_folder(repo))
    history = await ProjectStream(system.ledger, system.clock, system.entropy).history(project)
    found = [
        SavedLine(
            name=each.work.name,
            time=each.time,
            repository=each.work.repository,
            commit=each.work.commit,
            tree=each.work.tree,
            paths=each.work.paths,
            more=each.work.more,
        )
        for each in saved_in(history)
    ]
    terminal.document(found)
    if not found:
        terminal.say("nothing was saved yet: `cavalcade restore ... --in-place` saves what it replaces")
    for line in found:
        shown = ", ".join(line.paths[:_SHOWN]) + (", ..." if len(line.paths) > _SHOWN or line.more else "")
        text = Text(f"{line.name}  ", "bold").append(f"{line.time.astimezone():%Y-%m-%d %H:%M:%S}  ", "dim")
        dirty = count(len(line.paths) + line.more, "uncommitted path")
        terminal.data(text.append(f"{dirty}{': ' if shown else ''}{shown}", "default"))
    return DONE
