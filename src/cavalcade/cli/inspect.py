"""`runs`, `show`, `log`: what is on the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from msgspec import structs
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cavalcade.cli.compose import System
from cavalcade.cli.drive import exit_status, report_of
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run, top_folder
from cavalcade.cli.plan_view import next_commands
from cavalcade.cli.progress import TONES
from cavalcade.cli.report import Whole
from cavalcade.cli.report_view import headline, report_sheet
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.errors import NotARepository, UsageError
from cavalcade.kernel.ids import RunId, run_stream
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import (
    RecordingEnded,
    RunAborted,
    RunCompleted,
    RunFailed,
    RunStopped,
    decode,
    known_types,
)
from cavalcade.supervisor.history import runs_of
from cavalcade.supervisor.timeline import Row, row_of, short_type

_CLOSING = (RecordingEnded, RunCompleted, RunStopped, RunAborted, RunFailed)


class RunLine(Whole, frozen=True):
    """`phase` is the run's, or `cut_off` for a recording whose recorder is gone."""

    """`parent` is the run that it was forked from, else empty; `shared` the number of the last event that both have."""

    run: str
    parent: str
    shared: int
    phase: str
    started: datetime
    repository: str
    objective: str
    branch: str


async def list_runs(system: System, terminal: Terminal, repo: Path, *, every: bool, tree: bool) -> int:
    """The project's runs, newest last; all runs outside of a project. With `tree` each fork below its parent."""
    found = [await _run_line(system, run) for run in await _wanted(system, repo, every=every)]
    if not found:
        terminal.document(found)
        terminal.say('no runs yet; start one: cavalcade run "rename module:old to new"')
    elif tree:
        show_families(terminal, families(found))
    else:
        terminal.document(found)
        _show_table(terminal, found, every=every)
    return DONE


def _show_table(terminal: Terminal, found: Sequence[RunLine], *, every: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("run", "phase", "started", "objective"):
        table.add_column(name, no_wrap=name != "objective", overflow="fold")
    for line in found:
        objective = Text(line.objective).append(f"  {line.repository}" if every else "", "dim")
        table.add_row(line.run, line.phase.replace("_", " "), f"{line.started.astimezone():%Y-%m-%d %H:%M}", objective)
    terminal.data(table)


class Family(RunLine, frozen=True):
    forks: tuple[Family, ...]


def families(lines: Sequence[RunLine]) -> list[Family]:
    """Each run with its forks, oldest first. A fork whose parent is not among them stands by itself."""
    known = {line.run for line in lines}
    forks: dict[str, list[RunLine]] = {}
    for line in lines:
        forks.setdefault(line.parent if line.parent in known else "", []).append(line)

    def grown(line: RunLine) -> Family:
        return Family(**structs.asdict(line), forks=tuple(map(grown, forks.get(line.run, ()))))

    return [grown(line) for line in forks.get("", ())]


def show_families(terminal: Terminal, found: Sequence[Family]) -> None:
    """A drawn tree on a terminal, indented lines in a pipe."""
    terminal.document(found)
    if terminal.stdout.isatty():
        for family in found:
            terminal.data(_drawn(family, Tree(_family_text(family), guide_style="dim")))
    else:
        for family in found:
            terminal.data(*_indented(family, 0))


def _drawn(family: Family, tree: Tree) -> Tree:
    for fork in family.forks:
        _drawn(fork, tree.add(_family_text(fork)))
    return tree


def _indented(family: Family, depth: int) -> list[Text]:
    below = [line for fork in family.forks for line in _indented(fork, depth + 1)]
    return [Text("  " * depth).append(_family_text(family)), *below]


_PHASE_STYLES = {"completed": "green", "stopped": "red", "failed": "red", "aborted": "yellow", "halted": "yellow"}


def _family_text(family: Family) -> Text:
    phase = family.phase.replace("_", " ")
    text = Text.assemble((family.run, "bold"), "  ", (phase, _PHASE_STYLES.get(family.phase, "cyan")))
    if family.parent:
        text.append(f"  from #{family.shared}", "dim")
    return text.append(f"  {family.objective}")


async def _wanted(system: System, repo: Path, *, every: bool) -> Sequence[RunId]:
    if every:
        return await system.runs.list()
    try:
        project = await system.projects.at(top_folder(repo))
    except NotARepository:
        return await system.runs.list()
    return await runs_of(system.runs, project)


async def _run_line(system: System, run: RunId) -> RunLine:
    state = await system.runs.load(run)
    first = (await system.ledger.read(stream=run_stream(run), limit=1))[0]
    assert state.start is not None  # a loaded run has begun
    return RunLine(
        run=run,
        parent=state.parent or "",
        shared=state.shared,
        phase="cut_off" if state.phase == "recording" and not system.is_driven(run) else state.phase,
        started=first.event.time,
        repository=state.start.repository,
        objective=state.objective,
        branch=state.branch,
    )


async def show(system: System, terminal: Terminal, text: str, *, everything: bool) -> int:
    run = choose_run(text, await system.runs.list())
    report = await report_of(system, run)
    terminal.document(report)
    terminal.data(headline(report), report_sheet(report, everything=everything).table)
    if report.phase == "awaiting_human":
        terminal.say(next_commands(run))
    elif report.recording is not None and report.phase == "recording" and not report.recording.cut_off:
        terminal.say(f"watch it: cavalcade log {run} --follow")
    elif report.phase == "halted" or exit_status(report) == 3:
        terminal.say(f"go on with it: cavalcade resume {run}")
    return DONE


async def log(system: System, terminal: Terminal, text: str, types: Sequence[str], *, follow: bool) -> int:
    """Every event, oldest first; with `follow` also those to come, until the run is closed."""
    run = choose_run(text, await system.runs.list())
    wanted = chosen_types(types)
    if not follow:
        for recorded in await system.runs.history(run):
            _tell(terminal, run, recorded, wanted)
        return DONE
    async for recorded in system.runs.follow(run):
        _tell(terminal, run, recorded, wanted)
        if recorded.stream == run_stream(run) and isinstance(decode(recorded.event), _CLOSING):
            break
    return DONE


def chosen_types(given: Sequence[str]) -> frozenset[str]:
    """Short names that begin as asked: `edit` is all that happens to edits. Raises UsageError."""
    known = [short_type(name) for name in known_types()]
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    found: set[str] = set()
    for name in names:
        bare = short_type(name) if name.startswith("cavalcade.") else name
        matching = [one for one in known if one == bare or one.startswith(f"{bare}.")]
        if not matching:
            raise UsageError(f"there are no events of type {name!r}", expected=", ".join(known))
        found.update(matching)
    return frozenset(found)


def _tell(terminal: Terminal, run: RunId, recorded: Recorded, wanted: frozenset[str]) -> None:
    """What a fork shares is marked with the run that it happened in."""
    row = row_of(recorded)
    if wanted and row.type not in wanted:
        return
    if terminal.json:
        terminal.line(recorded)
    else:
        owner = RunId(recorded.stream.removeprefix(run_stream(RunId(""))))
        terminal.data(log_text(row) if owner == run else log_text(row).append(f"  (in run {owner})", "dim"))


def log_text(row: Row) -> Text:
    text = Text(f"#{row.version:<4}", "bold")
    text.append(f"{row.time.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] + "  ", "dim")
    text.append(f"{row.type:<21}", "dim").append(f"{row.task:<4}")
    return text.append(row.text, TONES[row.tone])
