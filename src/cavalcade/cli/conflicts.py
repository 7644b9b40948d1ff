"""`conflicts`: what two installations made of one project apart, listed, looked at and settled."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import top_folder
from cavalcade.cli.lists import Sheet
from cavalcade.cli.report import Whole
from cavalcade.cli.rewind import empty_folder
from cavalcade.cli.terminal import Terminal
from cavalcade.content.port import ContentStore
from cavalcade.domain.divergence import ProjectState
from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.ids import OriginId, ProjectId
from cavalcade.protocol.events import ConflictFound, ConflictResolved, DivergenceMerged, Side
from cavalcade.supervisor.reconcile import Reconciler, conflict_named, write_sides
from cavalcade.supervisor.timeline import count


class ListedConflict(Whole, frozen=True):
    """`ours` is what was made on this installation. `resolved` is None while it is open, `how` then empty."""

    conflict: str
    paths: tuple[str, ...]
    reason: str
    ours: str
    theirs: str
    how: str
    resolved: ConflictResolved | None


async def bring_together(system: System, terminal: Terminal, project: ProjectId, repository: Path) -> Reconciler:
    """Settles what can be settled of the results that were made apart, and says what became of them."""
    reconciler = system.reconciler(project, repository)
    for told in await reconciler.reconcile():
        match told:
            case DivergenceMerged():
                text = f"results of {told.ours} and {told.theirs} were made apart and go together: branch {told.branch}"
                terminal.say(Text(text, "green"))
            case ConflictFound():
                terminal.say(Text(_apart(told), "yellow"))
    return reconciler


def _apart(found: ConflictFound) -> str:
    why = found.reason or f"both changed {', '.join(found.paths)}"
    return (
        f"results of {found.ours.run} and {found.theirs.run} were made apart and don't go together ({why}): "
        f"cavalcade conflicts show {found.conflict}"
    )


async def list_conflicts(system: System, terminal: Terminal, repo: Path, *, every: bool) -> int:
    """Brings together first what can be, so that the list is of now."""
    repository = top_folder(repo)
    reconciler = await bring_together(system, terminal, await system.projects.at(repository), repository)
    state = await reconciler.state()
    found = list(state.conflicts.values()) if every else list(state.open_conflicts())
    listed = [_listed(each, state, system.ledger.origin) for each in found]
    terminal.document(listed)
    if not listed:
        terminal.say("no conflicts" if every else "no open conflicts")
    for each in listed:
        terminal.data(_line(each))
    if any(each.resolved is None for each in listed):
        terminal.say(
            "look at one: cavalcade conflicts show NAME; settle it: cavalcade conflicts resolve NAME --take ours"
        )
    return DONE


def _listed(found: ConflictFound, state: ProjectState, own: OriginId) -> ListedConflict:
    ours, theirs = sides_of(found, own)
    resolved = state.resolved.get(found.conflict, (None,))[0]
    return ListedConflict(
        conflict=found.conflict,
        paths=found.paths,
        reason=found.reason,
        ours=ours.run,
        theirs=theirs.run,
        how=_how(found, resolved) if resolved else "",
        resolved=resolved,
    )


def is_turned(found: ConflictFound, own: OriginId) -> bool:
    """Whether the record's `theirs` is what was made here: it orders sides so that all ledgers name a conflict alike."""
    return found.theirs.origin == own and found.ours.origin != own


def sides_of(found: ConflictFound, own: OriginId) -> tuple[Side, Side]:
    """Ours and theirs, as somebody at this installation means it."""
    return (found.theirs, found.ours) if is_turned(found, own) else (found.ours, found.theirs)


def _how(found: ConflictFound, resolved: ConflictResolved) -> str:
    taken = {"ours": found.ours, "theirs": found.theirs}.get(resolved.how)
    return f"as run {taken.run} has it" if taken else "edited"


def _line(each: ListedConflict) -> Text:
    text = Text(each.conflict, "bold").append(
        f"  {each.ours} and {each.theirs}: {', '.join(each.paths[:4])}", "default"
    )
    if len(each.paths) > 4:
        text.append(f" and {len(each.paths) - 4} more", "default")
    if each.reason:
        text.append(f"  ({each.reason})", "italic default")
    if each.resolved is not None:
        text.append(f"  resolved by {each.resolved.by} ({each.how}): {each.resolved.branch}", "green")
    return text


async def show(system: System, terminal: Terminal, repo: Path, name: str) -> int:
    found, content = await _chosen(system, repo, name)
    sheet = Sheet(f"`cavalcade conflicts show {found.conflict} --json`")
    sheet.row("conflict", found.conflict)
    sides = dict(zip(("ours", "theirs"), sides_of(found, system.ledger.origin), strict=True))
    for name, side in sides.items():
        sheet.row(name, f"run {side.run} at {side.commit[:10]}")
    if found.reason:
        sheet.row("because", found.reason)
    sheet.several("at", found.places, lambda place: f"{place}  {place.why}")
    patches = {name: await asyncio.to_thread(_patch, content, found, side) for name, side in sides.items()}
    terminal.document({"conflict": found, "patches": patches})
    terminal.data(sheet.table)
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for side, patch in patches.items():
        terminal.data(Text(f"{side}:", "bold"))
        for line in patch.splitlines():
            terminal.data(Text(line, styles.get(line[:1], "default")))
    return DONE


def _patch(content: ContentStore, found: ConflictFound, side: Side) -> str:
    """What one side did to the conflict's paths."""
    diffs = content.diff(content.tree_of(found.base), content.tree_of(side.commit))
    return "".join(diff.patch for diff in diffs if {diff.path, diff.old_path} & set(found.paths))


async def open_conflict(system: System, terminal: Terminal, repo: Path, name: str, into: Path) -> int:
    found, content = await _chosen(system, repo, name)
    folder = empty_folder(into)
    sides = sides_of(found, system.ledger.origin)
    files = await asyncio.to_thread(write_sides, content, found, folder, sides)
    terminal.document({"conflict": found.conflict, "folder": str(folder), "files": [str(file) for file in files]})
    terminal.data(Text("\n".join(str(folder / path) for path in found.paths)))
    terminal.say(
        f"edit {count(len(found.paths), 'file')}, then: cavalcade conflicts resolve {found.conflict} --from {folder}"
    )
    return DONE


async def resolve(
    system: System, terminal: Terminal, repo: Path, name: str, take: str | None, edited: Path | None
) -> int:
    if (take is None) == (edited is None):
        raise UsageError(
            "how to resolve it is not clear",
            expected="either --take ours|theirs or --from DIR",
            hint=f"`cavalcade conflicts show {name}` shows both sides, `cavalcade conflicts open {name} --into DIR` lays them out",
        )
    repository = top_folder(repo)
    reconciler = system.reconciler(await system.projects.at(repository), repository)
    found = conflict_named(await reconciler.state(), name)
    if take is not None and is_turned(found, system.ledger.origin):
        take = "theirs" if take == "ours" else "ours"
    files = None if edited is None else _edited(found, edited)
    resolved = await reconciler.resolve(found.conflict, take or "edited", terminal.user, files)
    terminal.document(resolved)
    terminal.say(
        Text(f"conflict {found.conflict} resolved ({_how(found, resolved)}); branch {resolved.branch}", "green")
    )
    terminal.data(Text(resolved.branch))
    return DONE


def _edited(found: ConflictFound, folder: Path) -> dict[str, bytes]:
    """A path that isn't there is to be removed. Raises UsageError when none is there."""
    files = {path: (folder / path).read_bytes() for path in found.paths if (folder / path).is_file()}
    if not files:
        raise UsageError(
            f"{folder} has none of the conflict's files",
            expected=", ".join(found.paths),
            hint=f"lay them out with `cavalcade conflicts open {found.conflict} --into DIR`",
        )
    return files


async def _chosen(system: System, repo: Path, name: str) -> tuple[ConflictFound, ContentStore]:
    repository = top_folder(repo)
    project = await system.projects.at(repository)
    state = await system.reconciler(project, repository).state()
    return conflict_named(state, name), system.content(project)
