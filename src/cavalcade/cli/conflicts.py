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
from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.ids import CommitId
from cavalcade.protocol.events import ConflictFound, ConflictResolved
from cavalcade.supervisor.reconcile import conflict_named, write_sides
from cavalcade.supervisor.timeline import count


class ListedConflict(Whole, frozen=True):
    """`resolved` is None while it is open."""

    conflict: str
    paths: tuple[str, ...]
    reason: str
    ours: str
    theirs: str
    resolved: ConflictResolved | None


async def list_conflicts(system: System, terminal: Terminal, repo: Path, *, every: bool) -> int:
    """Brings together first what can be, so that the list is of now."""
    repository = top_folder(repo)
    reconciler = system.reconciler(await system.projects.at(repository), repository)
    for payload in await reconciler.reconcile():
        if not isinstance(payload, ConflictFound):
            terminal.say(Text(f"results of {payload.ours} and {payload.theirs} go together: {payload.branch}", "green"))
    state = await reconciler.state()
    found = list(state.conflicts.values()) if every else list(state.open_conflicts())
    listed = [
        ListedConflict(
            conflict=each.conflict,
            paths=each.paths,
            reason=each.reason,
            ours=each.ours.run,
            theirs=each.theirs.run,
            resolved=state.resolved.get(each.conflict, (None,))[0],
        )
        for each in found
    ]
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


def _line(each: ListedConflict) -> Text:
    text = Text(each.conflict, "bold").append(
        f"  {each.ours} and {each.theirs}: {', '.join(each.paths[:4])}", "default"
    )
    if len(each.paths) > 4:
        text.append(f" and {len(each.paths) - 4} more", "default")
    if each.reason:
        text.append(f"  ({each.reason})", "italic default")
    if each.resolved is not None:
        text.append(f"  resolved by {each.resolved.by} ({each.resolved.how}): {each.resolved.branch}", "green")
    return text


async def show(system: System, terminal: Terminal, repo: Path, name: str) -> int:
    found, content = await _found(system, repo, name)
    sheet = Sheet(f"`cavalcade conflicts show {found.conflict} --json`")
    sheet.row("conflict", found.conflict)
    sheet.row("ours", f"run {found.ours.run} at {found.ours.commit[:10]}")
    sheet.row("theirs", f"run {found.theirs.run} at {found.theirs.commit[:10]}")
    if found.reason:
        sheet.row("because", found.reason)
    sheet.several("at", found.places, lambda place: f"{place}  {place.why}")
    patches = {side: await asyncio.to_thread(_patch, content, found, side) for side in ("ours", "theirs")}
    terminal.document({"conflict": found, "patches": patches})
    terminal.data(sheet.table)
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for side, patch in patches.items():
        terminal.data(Text(f"{side}:", "bold"))
        for line in patch.splitlines():
            terminal.data(Text(line, styles.get(line[:1], "default")))
    return DONE


def _patch(content: ContentStore, found: ConflictFound, side: str) -> str:
    """What one side did to the conflict's paths."""
    commit: CommitId = (found.ours if side == "ours" else found.theirs).commit
    diffs = content.diff(content.tree_of(found.base), content.tree_of(commit))
    return "".join(diff.patch for diff in diffs if {diff.path, diff.old_path} & set(found.paths))


async def open_conflict(system: System, terminal: Terminal, repo: Path, name: str, into: Path) -> int:
    found, content = await _found(system, repo, name)
    folder = empty_folder(into)
    files = await asyncio.to_thread(write_sides, content, found, folder)
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
        raise UsageError("how to resolve it is not clear", expected="either --take ours|theirs or --from DIR")
    repository = top_folder(repo)
    reconciler = system.reconciler(await system.projects.at(repository), repository)
    found = conflict_named(await reconciler.state(), name)
    files = None if edited is None else _edited(found, edited)
    resolved = await reconciler.resolve(found.conflict, take or "edited", terminal.user, files)
    terminal.document(resolved)
    terminal.say(Text(f"conflict {found.conflict} resolved ({resolved.how}); branch {resolved.branch}", "green"))
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


async def _found(system: System, repo: Path, name: str) -> tuple[ConflictFound, ContentStore]:
    repository = top_folder(repo)
    project = await system.projects.at(repository)
    state = await system.reconciler(project, repository).state()
    return conflict_named(state, name), system.content(project)
