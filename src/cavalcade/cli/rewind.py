"""`diff` and `restore`: any moment of a run, compared or brought back."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from rich.table import Table
from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run, top_folder
from cavalcade.cli.report import Whole
from cavalcade.cli.terminal import Terminal
from cavalcade.content.port import FileDiff
from cavalcade.kernel.errors import ContentError, NotRecorded, UsageError
from cavalcade.kernel.ids import ProjectId, TreeId
from cavalcade.supervisor.history import Moment, moment_of_project, moment_of_run, parse_when
from cavalcade.supervisor.timeline import count, row_of
from cavalcade.supervisor.why import tip_of


class Restored(Whole, frozen=True):
    run: str
    event: str
    version: int
    tree: str
    commit: str
    files: int
    into: str
    branch: str


class DiffLine(Whole, frozen=True):
    path: str
    old_path: str
    status: str
    added: int
    removed: int
    binary: bool


class DiffDocument(Whole, frozen=True):
    run: str
    old: TreeId
    new: TreeId
    files: tuple[DiffLine, ...]
    patch: str


async def diff(system: System, terminal: Terminal, text: str, at: str, *, stat: bool) -> int:
    """From where the run began to its result, to how far it has come, or to a moment of it."""
    run = choose_run(text, await system.runs.list())
    state = await system.runs.load(run)
    content = system.content_of(state)
    assert state.start is not None  # a loaded run has begun
    old = state.start.base.tree
    moment = await moment_of_run(system.runs, run, parse_when(at, system.clock.now())) if at else None
    new = moment.tree if moment else content.tree_of(tip_of(state))
    files = await asyncio.to_thread(content.diff, old, new)
    patch = "".join(file.patch if file.patch.endswith("\n") or not file.patch else file.patch + "\n" for file in files)
    lines = tuple(DiffLine(**{name: getattr(file, name) for name in DiffLine.__struct_fields__}) for file in files)
    terminal.document(DiffDocument(run=run, old=old, new=new, files=lines, patch="" if stat else patch))
    if not files:
        terminal.say("nothing differs")
    elif stat:
        terminal.data(_stat(files))
    else:
        _show_patch(terminal, patch)
    return DONE


def _stat(files: list[FileDiff]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True, justify="right")
    for file in files:
        moved = f"{file.old_path} -> {file.path}" if file.status == "R" else file.path
        table.add_row(file.status, moved, "binary" if file.binary else f"+{file.added} -{file.removed}")
    total = f"+{sum(file.added for file in files)} -{sum(file.removed for file in files)}"
    table.add_row("", count(len(files), "file"), total)
    return table


def _show_patch(terminal: Terminal, patch: str) -> None:
    """As git writes it: byte for byte in a pipe, coloured on a terminal."""
    if terminal.json:
        return
    if not terminal.stdout.isatty():
        terminal.stdout.write(patch)
        terminal.stdout.flush()
        return
    styles = {"+": "green", "-": "red", "@": "cyan"}
    terminal.data(Text("\n").join(Text(line, styles.get(line[:1], "default")) for line in patch.splitlines()))


async def restore(system: System, terminal: Terminal, text: str, at: str, into: Path | None, branch: str) -> int:
    """Into an empty or absent folder, or as a new branch of the user's repository. Exactly one of the two."""
    if (into is None) == (not branch):
        raise UsageError("where to restore to is not clear", expected="either --into DIR or --branch NAME")
    if branch.startswith("-"):
        raise UsageError(f"{branch!r} is no good name for a branch", expected="a name that doesn't begin with a dash")
    moment = await _moment(system, text, at)
    content = system.content_of(moment.state)
    row = row_of(moment.event)
    files = 0
    folder = empty_folder(into) if into is not None else None
    if folder is not None:
        files = await asyncio.to_thread(content.restore, moment.tree, folder)
        where = f"{count(files, 'file')} in {folder}"
    else:
        assert moment.state.start is not None  # the moment is of a run that has begun
        repository = Path(moment.state.start.repository)
        await asyncio.to_thread(content.publish, repository, branch, moment.commit)
        where = f"branch {branch} in {repository}"
    terminal.say(Text(f"restored #{row.version} of run {moment.run} ({row.text}): {where}"))
    terminal.document(
        Restored(
            run=moment.run,
            event=moment.event.event.id,
            version=row.version,
            tree=moment.tree,
            commit=moment.commit,
            files=files,
            into=str(folder or ""),
            branch=branch,
        )
    )
    terminal.data(Text(str(folder or branch)))
    return DONE


def empty_folder(into: Path) -> Path:
    """The absolute path of an absent or empty folder. Raises ContentError."""
    folder = Path(os.path.abspath(into.expanduser()))
    if folder.is_dir() and not any(folder.iterdir()):
        return folder
    if os.path.lexists(folder):
        kind = "is not empty" if folder.is_dir() else "is no folder"
        raise ContentError(f"{folder} {kind}", expected="an empty folder, or a name that is not taken")
    if not folder.parent.is_dir():
        raise ContentError(f"there is no folder {folder.parent}", hint=f"make it first: mkdir -p {folder.parent}")
    return folder


async def _moment(system: System, text: str, at: str) -> Moment:
    """Of a run, or of a project by its folder or id."""
    when = parse_when(at, system.clock.now())
    project = await _project(system, text) if text.startswith(".") or "/" in text else None
    if project is None:
        try:
            return await moment_of_run(system.runs, choose_run(text, await system.runs.list()), when)
        except NotRecorded:
            project = await _project(system, text)
            if project is None:
                raise
    return await moment_of_project(system.ledger, system.runs, project, when)


async def _project(system: System, text: str) -> ProjectId | None:
    """By its folder, or by its id; None when it is neither."""
    if re.fullmatch(r"p[0-9a-f]{16}", text):
        return ProjectId(text)
    top = _top(text)
    return None if top is None else await system.projects.at(top)


def _top(text: str) -> Path | None:
    folder = Path(text).expanduser()
    return top_folder(folder) if folder.is_dir() else None
