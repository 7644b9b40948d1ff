"""Putting a whole record into one file: every origin's chain, and the content that it names."""

from __future__ import annotations

import asyncio
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from cavalcade.content.objectstore import sync_folder
from cavalcade.content.packing import known_objects, pack_objects, read_object, run_references
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import LedgerUnwritable, ObjectMissing, UsageError
from cavalcade.kernel.ids import OriginId, ProjectId
from cavalcade.ledger.chain import parse_body
from cavalcade.ledger.parcels import Parcel, parcels
from cavalcade.ledger.port import Ledger
from cavalcade.supervisor.export_file import (
    EVENTS,
    FORMAT,
    Chain,
    Manifest,
    MemberWriter,
    ProjectPart,
    Writer,
    pack_name,
)
from cavalcade.supervisor.inventory import Inventory, Named, named_by_plans
from cavalcade.supervisor.projects import Projects

_COMPRESSION = 3
"""Of 9. Half of an event is hashes and ids, which nothing makes smaller."""


class Exporter:
    """`content` says in which folder a project's content store lies; `program` who writes, for the manifest; `git` is that program,
    if there is one."""

    def __init__(
        self,
        ledger: Ledger,
        projects: Projects,
        content: Callable[[ProjectId], Path],
        clock: Clock,
        program: str,
        *,
        git: str = "",
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._content = content
        self._clock = clock
        self._program = program
        self._git = git

    async def export(self, file: Path, *, chosen: Collection[ProjectId] | None = None) -> Manifest:
        """Writes the record as it stands when this is called, with the content of the `chosen` projects (None: of all).

        The file appears whole or not at all. Raises UsageError when it is there already or a chosen project is unknown; ObjectMissing when
        the content of an own event is not there; LedgerUnwritable when the file can't be written; what reading a ledger raises.
        """
        with _new_file(file) as out, zipfile.ZipFile(out, "w", compresslevel=_COMPRESSION) as archive:
            return await self._fill(Writer(archive), chosen)

    async def _fill(self, writer: Writer, chosen: Collection[ProjectId] | None) -> Manifest:
        inventory = Inventory(self._ledger.origin)
        chains: dict[OriginId, Chain] = {}
        heads = await self._ledger.heads()
        last = sum(head.seq for head in heads.values())  # positions are dense
        with writer.member(EVENTS, compress=True) as out:
            async for parcel in parcels(self._ledger, {}, upto=last):
                await asyncio.to_thread(_write_parcel, parcel, out, inventory)
                chains[parcel.origin] = Chain(origin=parcel.origin, seq=parcel.last, hash=parcel.events[-1].hash)
        if unknown := set(chosen or ()) - inventory.projects.keys():
            raise UsageError(
                f"nothing is on record of project {min(unknown)}", expected=f"one of {sorted(inventory.projects)}"
            )
        parts: list[ProjectPart] = []
        for project, named in inventory.projects.items():
            folder = await self._projects.folder(project) or named.repository
            if chosen is not None and project not in chosen:
                parts.append(ProjectPart(project=project, repository=folder, left_out=True))
            else:
                parts.append(await asyncio.to_thread(self._pack, writer, project, folder, named))
        manifest = Manifest(
            format=FORMAT,
            program=self._program,
            time=self._clock.now(),
            origin=self._ledger.origin,
            events=last,
            chains=tuple(chains.values()),
            projects=tuple(parts),
            members=tuple(writer.members),
        )
        writer.manifest(manifest)
        return manifest

    def _pack(self, writer: Writer, project: ProjectId, repository: str, named: Named) -> ProjectPart:
        folder = self._content(project)
        known = known_objects(folder, named.all())
        if missing := named.own - known:
            raise ObjectMissing(
                f"object {min(missing)}, which an event of project {project} names, is not in {folder}",
                hint="bring the folder back from a backup; `cavalcade verify` says whether the record is whole",
            )
        plans = named_by_plans(read_object(folder), named.plans & known)
        references = run_references(folder)
        part = ProjectPart(
            project=project,
            repository=repository,
            references=references,
            lacking=tuple(sorted(named.others - known)),
        )
        if not (roots := known | plans | set(references.values())):
            return part
        with tempfile.TemporaryDirectory(prefix="cavalcade-export-", dir=folder) as scratch:
            pack = pack_objects(folder, roots, Path(scratch), git=self._git)
            writer.file(pack_name(project, "pack"), pack.pack)
            writer.file(pack_name(project, "idx"), pack.idx)
        return msgspec.structs.replace(part, objects=pack.objects, shallow=pack.shallow)


def _write_parcel(parcel: Parcel, out: MemberWriter, inventory: Inventory) -> None:
    out.write(msgspec.json.Encoder().encode_lines(parcel.events))
    for sealed in parcel.events:
        inventory.add(parcel.origin, parse_body(sealed.body.encode()).event)


@contextmanager
def _new_file(file: Path) -> Generator[IO[bytes]]:
    """Durable under its name when this is left, or not there at all."""
    if os.path.lexists(file):
        raise _taken(file)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
        try:
            with os.fdopen(handle, "w+b") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            os.link(temporary, file)
        finally:
            os.unlink(temporary)
        sync_folder(file.parent)
    except FileExistsError as exc:
        raise _taken(file) from exc
    except OSError as exc:
        raise LedgerUnwritable(
            f"{file} can't be written: {exc.strerror}", hint="name a file in a folder with space left"
        ) from exc


def _taken(file: Path) -> UsageError:
    return UsageError(
        f"{file} is there already", expected="a name that is free", hint="name another file, or move that one"
    )
