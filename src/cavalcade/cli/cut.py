"""`restore --everything`: the heads of a run and of all its tasks at one instant; of a project, those of each of its runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import msgspec
from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.moment import At
from cavalcade.cli.report import Whole
from cavalcade.cli.rewind import empty_folder
from cavalcade.cli.terminal import Terminal
from cavalcade.content.port import ContentStore
from cavalcade.content.restoring import claimed
from cavalcade.content.trees import EMPTY_TREE
from cavalcade.kernel.canonical import digest_of
from cavalcade.kernel.ids import ProjectId, TaskId, TreeId, run_stream
from cavalcade.supervisor.history import runs_of
from cavalcade.supervisor.targets import Cut, View, cut_at, folder_names
from cavalcade.supervisor.timeline import count

CUT_FILE = "cut.json"


class HeadLine(Whole, frozen=True):
    """`folder` is relative to where the cut was restored; `event` led to `commit` and `tree`."""

    folder: str
    event: str
    version: int
    commit: str
    tree: TreeId


class RunCut(Whole, frozen=True):
    """A run just after `event`. `tasks` are those that had begun, by their ids."""

    run: str
    event: str
    version: int
    time: datetime
    head: HeadLine
    tasks: dict[str, HeadLine]


class CutDocument(Whole, frozen=True):
    """`position` is the last one of the ledger that counted: every run is as it was when that event was recorded."""

    project: str
    position: int
    runs: tuple[RunCut, ...]


async def restore_everything(system: System, terminal: Terminal, at: At, into: Path) -> int:
    """Each head into a folder of its own, and `cut.json` that says what they are. Killed, the same call finishes the work."""
    start = at.moment.state.start
    assert start is not None  # the moment is of a run that has begun
    cuts = await _cuts(system, at)
    document = _document(start.project, at.moment.event.position, cuts, several=at.project is not None)
    token = digest_of(msgspec.to_builtins(document))[:40]
    folder = empty_folder(into, token)
    files = await asyncio.to_thread(_write, system.content(start.project), document, folder, token)
    heads = list(_heads(document))
    said = f"restored {count(len(heads), 'head')} of {count(len(cuts), 'run')}: {count(files, 'file')} in {folder}"
    terminal.say(Text(said))
    for head in heads:
        terminal.say(Text(f"  {head.folder}  #{head.version}  {head.tree[:10]}"))
    terminal.document(document)
    terminal.data(Text(str(folder)))
    return DONE


async def _cuts(system: System, at: At) -> list[Cut]:
    """Of a project: each run that had begun, at its last event that was recorded no later than the moment's."""
    if at.project is None:
        return [cut_at(at.run, await system.runs.history(at.run), at.moment.event)]
    cuts: list[Cut] = []
    for run in await runs_of(system.runs, at.project):
        first = (await system.ledger.read(stream=run_stream(run), limit=1))[0]
        if first.position <= at.moment.event.position:
            history = await system.runs.history(run)
            upto = [each for each in history if each.position <= at.moment.event.position][-1]
            cuts.append(cut_at(run, history, upto))
    return cuts


def _document(project: ProjectId, position: int, cuts: list[Cut], *, several: bool) -> CutDocument:
    return CutDocument(
        project=project,
        position=position,
        runs=tuple(_run_cut(cut, f"{cut.run}/" if several else "") for cut in cuts),
    )


def _run_cut(cut: Cut, above: str) -> RunCut:
    names: Mapping[TaskId, str] = folder_names(cut.tasks)
    return RunCut(
        run=cut.run,
        event=cut.event.event.id,
        version=cut.event.version,
        time=cut.event.event.time,
        head=_head(f"{above}head", cut.head),
        tasks={task: _head(above + names[task], view) for task, view in cut.tasks.items()},
    )


def _head(folder: str, view: View) -> HeadLine:
    return HeadLine(
        folder=folder, event=view.event.event.id, version=view.event.version, commit=view.commit, tree=view.tree
    )


def _heads(document: CutDocument) -> Iterator[HeadLine]:
    for run in document.runs:
        yield run.head
        yield from run.tasks.values()


def _write(content: ContentStore, document: CutDocument, folder: Path, token: str) -> int:
    heads = list(_heads(document))
    for tree in {head.tree for head in heads}:
        content.check(tree)
    with claimed(folder, token):
        files = sum(content.restore(head.tree, folder / head.folder, was=EMPTY_TREE) for head in heads)
        (folder / CUT_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return files
