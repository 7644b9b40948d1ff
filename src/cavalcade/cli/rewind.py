"""`diff`: any moment of a run, compared."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rich.table import Table
from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run
from cavalcade.cli.report import Whole
from cavalcade.cli.terminal import Terminal
from cavalcade.content.port import FileDiff
from cavalcade.content.restoring import check_claim
from cavalcade.kernel.errors import ContentError
from cavalcade.kernel.ids import TreeId
from cavalcade.supervisor.history import moment_of_run, parse_when
from cavalcade.supervisor.timeline import count
from cavalcade.supervisor.why import tip_of


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


def empty_folder(into: Path, token: str = "") -> Path:
    """The absolute path of an absent or empty folder, or of one where restoring what `token` names was interrupted.

    Raises ContentError.
    """
    folder = Path(os.path.abspath(into.expanduser()))
    check_claim(folder, token)
    if not folder.parent.is_dir():
        raise ContentError(f"there is no folder {folder.parent}", hint=f"make it first: mkdir -p {folder.parent}")
    return folder
