"""`ledger export` and `ledger import`: the record goes to another installation, which goes on with it."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from cavalcade import __version__
from cavalcade.cli.compose import System
from cavalcade.cli.conflicts import bring_together
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import top_folder
from cavalcade.cli.lists import Sheet
from cavalcade.cli.report import Whole
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.ids import ProjectId
from cavalcade.ledger.port import Ledger
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.supervisor.export_file import Manifest
from cavalcade.supervisor.exporting import Exporter
from cavalcade.supervisor.importing import Imported, TakenOver, arrived
from cavalcade.supervisor.timeline import count


class ExportedProject(Whole, frozen=True):
    project: str
    repository: str
    objects: int
    left_out: bool
    lacking: int


class Exported(Whole, frozen=True):
    file: str
    size_bytes: int
    origin: str
    events: int
    projects: tuple[ExportedProject, ...]


async def export_ledger(system: System, terminal: Terminal, file: Path, chosen: Sequence[str]) -> int:
    projects = {await _project(system, text) for text in chosen} if chosen else None
    exporter = Exporter(
        system.ledger,
        system.projects,
        system.folder.content,
        system.clock,
        f"cavalcade {__version__}",
        git=shutil.which("git", path=system.environ.get("PATH")) or "",
    )
    target = Path.cwd() / file
    manifest = await exporter.export(target, chosen=projects)
    terminal.document(_document(manifest, target))
    sheet = Sheet("`cavalcade ledger export --json`", everything=True)
    sheet.row("file", f"{target}, {_size(target):,} bytes")
    sheet.row("events", f"{manifest.events:,} of {count(len(manifest.chains), 'origin')}")
    for part in manifest.projects:
        content = "events only: its content was not chosen" if part.left_out else count(part.objects, "object")
        lacking = f", {count(len(part.lacking), 'object')} never came here" if part.lacking else ""
        sheet.row("project", f"{part.project}  {part.repository}: {content}{lacking}")
    terminal.data(sheet.table)
    return DONE


def _size(file: Path) -> int:
    return file.stat().st_size


def _document(manifest: Manifest, file: Path) -> Exported:
    return Exported(
        file=str(file),
        size_bytes=_size(file),
        origin=manifest.origin,
        events=manifest.events,
        projects=tuple(
            ExportedProject(
                project=part.project,
                repository=part.repository,
                objects=part.objects,
                left_out=part.left_out,
                lacking=len(part.lacking),
            )
            for part in manifest.projects
        ),
    )


async def _project(system: System, text: str) -> ProjectId:
    """By its id, or by its folder. Raises UsageError, NotARepository."""
    if re.fullmatch(r"p[0-9a-f]{16}", text):
        return ProjectId(text)
    return await system.projects.at(top_folder(Path(text)))


async def import_ledger(system: System, terminal: Terminal, file: Path, moved: Sequence[str]) -> int:
    def open_ledger(path: Path) -> Ledger:
        return SqliteLedger(path, clock=system.clock, entropy=system.entropy)

    async with arrived(Path.cwd() / file, system.folder.imports, open_ledger) as arrival:
        folders = _folders(arrival.manifest, moved)
        await arrival.check_against(system.ledger)
        imported = await arrival.take_over(system.ledger, system.projects, system.folder.content, folders)
    terminal.document(imported)
    terminal.data(_sheet(imported).table)
    for part in imported.projects:
        await _advise(terminal, part, file)
        if part.content and await asyncio.to_thread((Path(part.folder) / ".git").exists):
            await bring_together(system, terminal, part.project, Path(part.folder))
    return DONE


def _folders(manifest: Manifest, moved: Sequence[str]) -> dict[ProjectId, Path]:
    """`OLD=NEW`: the project's folder at the exporter, or its id; a folder in its repository here. Raises UsageError, NotARepository."""
    found: dict[ProjectId, Path] = {}
    for text in moved:
        old, equals, new = text.rpartition("=")
        if not equals or not old or not new:
            raise UsageError(f"{text!r} maps no folder", expected="OLD=NEW, the project's folder there and here")
        projects = [part.project for part in manifest.projects if old in (part.repository, part.project)]
        if not projects:
            raise UsageError(
                f"no project in the file is or was at {old}",
                expected="the folder or the id of one of its projects",
                places=tuple(f"{part.project}  {part.repository}" for part in manifest.projects),
            )
        found |= dict.fromkeys(projects, top_folder(Path(new)))
    if len(set(found.values())) < len(found):
        raise UsageError("two projects would lie in one folder", expected="a repository of its own for each")
    return found


def _sheet(imported: Imported) -> Sheet:
    sheet = Sheet("`cavalcade ledger import --json`", everything=True)
    sheet.row("events", f"{imported.events:,} new, from origin {imported.origin}")
    for part in imported.projects:
        sheet.row("project", f"{part.project}  {part.folder}: {count(part.objects, 'object')} new")
    return sheet


async def _advise(terminal: Terminal, part: TakenOver, file: Path) -> None:
    """What a person should know before going on."""
    for name in part.different:
        terminal.say(f"{name} of project {part.project} is elsewhere here, and stayed as it was")
    if not part.content:
        terminal.say(f"the content of project {part.project} is not in the file: its runs can be listed, not shown")
    if not await asyncio.to_thread(Path(part.folder).is_dir):
        hint = shlex.join(["cavalcade", "ledger", "import", str(file), "--repo", f"{part.repository}=DIR"])
        terminal.say(Text(f"project {part.project} was at {part.folder}, which isn't here; say where it is: {hint}"))
