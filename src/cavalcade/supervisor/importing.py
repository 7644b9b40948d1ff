"""Taking over a record from a file: everything in it is checked first, in a place of its own, and only then let in.

The events are taken in by a scratch ledger, which knows every rule of a chain; when it and all the content hold together, its parcels go
into the real one. Content comes before the events that name it, references after: a kill leaves nothing half known, and doing it again
finishes it.
"""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from itertools import islice
from pathlib import Path

from cavalcade.content.packing import Arrived, set_run_references
from cavalcade.kernel.errors import ChainDiverged, ContentError, ExportDamaged, LedgerError, LedgerUnwritable
from cavalcade.kernel.ids import OriginId, ProjectId
from cavalcade.ledger.chain import parse_body
from cavalcade.ledger.outbox import agree, check_same
from cavalcade.ledger.parcels import PARCEL_EVENTS, parcels
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.protocol.envelope import Sealed
from cavalcade.protocol.plan import Struct
from cavalcade.supervisor.export_file import Manifest, ProjectPart, Reader, pack_name
from cavalcade.supervisor.inventory import Inventory, named_by_plans
from cavalcade.supervisor.projects import Projects


class TakenOver(Struct, frozen=True):
    """One project: how many `objects` were new; `repository` is its folder at the exporter, `folder` where it is looked for here;
    `content` whether the file has any; `different` are references that this installation has elsewhere and that stayed as they were."""

    project: ProjectId
    repository: str
    folder: str
    objects: int
    content: bool
    different: tuple[str, ...] = ()


class Imported(Struct, frozen=True):
    """`events` are those that were new here."""

    origin: OriginId
    events: int
    projects: tuple[TakenOver, ...]


class Arrival:
    """An export that has been checked against itself. Made by `arrived`."""

    def __init__(
        self, manifest: Manifest, ledger: Ledger, inventory: Inventory, packs: Mapping[ProjectId, Arrived]
    ) -> None:
        self.manifest = manifest
        self._ledger = ledger
        self._inventory = inventory
        self._packs = packs

    async def check_against(self, ours: Ledger) -> None:
        """Whether it goes together with what `ours` holds. Raises ChainDiverged; nothing has changed then."""
        held = await agree(self._ledger, ours)
        for origin, head in (await self._ledger.heads()).items():
            if origin == ours.origin or head.seq <= held[origin].seq:
                await check_same(ours, origin, head)
        if not await ours.read(limit=1):
            return
        async for parcel in parcels(self._ledger, _seqs(held)):
            events = [parse_body(sealed.body.encode()).event.id for sealed in parcel.events]
            found = await asyncio.gather(*map(ours.find, events))
            # One of the same origin was taken in by another import meanwhile: `ingest` compares it.
            others = (known.event.id for known in found if known and known.origin != parcel.origin)
            if taken := next(others, None):
                raise ChainDiverged(
                    f"an event of origin {parcel.origin} has an id that another event has here: {taken}",
                    hint="nothing was imported. `cavalcade verify` in both installations",
                )

    async def take_over(
        self, ours: Ledger, projects: Projects, content: Callable[[ProjectId], Path], folders: Mapping[ProjectId, Path]
    ) -> Imported:
        """Lets everything in that isn't here yet, after `check_against`, and registers the projects that lie in other `folders` here."""
        objects: dict[ProjectId, int] = {}
        for part in self.manifest.projects:
            if pack := self._packs.get(part.project):
                objects[part.project] = await asyncio.to_thread(pack.install, content(part.project), part.shallow)
        before = await self._held_of_theirs(ours)
        async for parcel in parcels(self._ledger, _seqs(await agree(self._ledger, ours))):
            await ours.ingest(parcel.origin, parcel.events)
        for project, folder in folders.items():
            await projects.register(project, folder)
        found = [
            await self._taken_over(part, projects, content(part.project), objects.get(part.project, 0))
            for part in self.manifest.projects
        ]
        events = await self._held_of_theirs(ours) - before
        return Imported(origin=self.manifest.origin, events=events, projects=tuple(found))

    async def _held_of_theirs(self, ours: Ledger) -> int:
        """How many events of the file's origins are here; our own chain only we continue."""
        origins = {chain.origin for chain in self.manifest.chains} - {ours.origin}
        return sum(head.seq for origin, head in (await ours.heads()).items() if origin in origins)

    async def _taken_over(self, part: ProjectPart, projects: Projects, store: Path, objects: int) -> TakenOver:
        has_content = part.project in self._packs
        different = await asyncio.to_thread(set_run_references, store, part.references) if has_content else []
        return TakenOver(
            project=part.project,
            repository=part.repository,
            folder=await projects.folder(part.project) or self._inventory.projects[part.project].repository,
            objects=objects,
            content=has_content,
            different=tuple(different),
        )


@asynccontextmanager
async def arrived(file: Path, scratch: Path, open_ledger: Callable[[Path], Ledger]) -> AsyncGenerator[Arrival]:
    """Unpacks and checks an export in a folder of its own below `scratch`, which goes when this is left.

    `open_ledger` makes a ledger in a file. Raises ExportDamaged, naming what is wrong; LedgerUnwritable when there is no room.
    """
    reader = Reader(file)
    try:
        with _own_folder(scratch) as folder:
            ledger = await asyncio.to_thread(open_ledger, folder / "ledger.sqlite3")
            try:
                inventory = await _take_in(reader, ledger)
                packs = {
                    part.project: await asyncio.to_thread(_checked, reader, part, inventory, folder)
                    for part in reader.manifest.projects
                    if part.objects
                }
                yield Arrival(reader.manifest, ledger, inventory, packs)
            finally:
                await ledger.aclose()
    finally:
        reader.close()


@contextmanager
def _own_folder(scratch: Path) -> Generator[Path]:
    """A new folder below `scratch`, locked while it is used; what killed imports left behind is removed. Raises LedgerUnwritable."""
    with ExitStack() as used:
        try:
            scratch.mkdir(parents=True, exist_ok=True)
            with _locked(scratch / "lock"):
                for left in scratch.glob("import-*"):
                    with suppress(BlockingIOError), _locked(left / "lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
                        shutil.rmtree(left)
                folder = Path(tempfile.mkdtemp(prefix="import-", dir=scratch))
                used.enter_context(_locked(folder / "lock"))
        except OSError as exc:
            raise LedgerUnwritable(
                f"{scratch} can't be used: {exc.strerror}", hint="make room for what arrives"
            ) from exc
        used.callback(shutil.rmtree, folder)
        yield folder


@contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Generator[None]:
    """Held by the kernel, so it goes when the process goes, however it ends. Raises OSError, BlockingIOError when it isn't to wait."""
    with path.open("ab") as file:
        fcntl.flock(file, how)
        yield


async def _take_in(reader: Reader, ledger: Ledger) -> Inventory:
    manifest, lines = reader.manifest, reader.lines()
    inventory = Inventory(manifest.origin)
    read = 0
    while page := await asyncio.to_thread(lambda: list(islice(lines, PARCEL_EVENTS))):
        read += len(page)
        for origin, events in _by_origin(page, reader):
            await _ingest(reader, ledger, origin, events)
            for sealed in events:
                inventory.add(origin, parse_body(sealed.body.encode()).event)
    found = await ledger.verify()
    if found.bad_position is not None:
        raise reader.damaged(f"event {found.bad_position} of {found.events}: {found.problem}")
    if unknown := {part.project for part in manifest.projects} ^ inventory.projects.keys():
        raise reader.damaged(f"manifest and events tell of other projects: {min(unknown)}")
    said = {chain.origin: OriginHead(chain.seq, chain.hash) for chain in manifest.chains}
    if said != dict(await ledger.heads()) or not read == found.events == manifest.events:
        raise reader.damaged(f"{read} events are in it, which are not those that the manifest tells of")
    return inventory


def _by_origin(page: list[Sealed], reader: Reader) -> Iterator[tuple[OriginId, list[Sealed]]]:
    """Consecutive events of one origin."""
    group: list[Sealed] = []
    owner = OriginId("")
    for sealed in page:
        try:
            origin = parse_body(sealed.body.encode()).origin
        except ValueError as exc:  # msgspec.DecodeError and UnicodeError are
            raise reader.damaged(f"an event's body can't be read ({exc})") from exc
        if group and origin != owner:
            yield owner, group
            group = []
        owner = origin
        group.append(sealed)
    if group:
        yield owner, group


async def _ingest(reader: Reader, ledger: Ledger, origin: OriginId, events: list[Sealed]) -> None:
    try:
        await ledger.ingest(origin, events)
    except LedgerUnwritable:
        raise
    except LedgerError as exc:
        raise reader.damaged(exc.what) from exc


def _checked(reader: Reader, part: ProjectPart, inventory: Inventory, folder: Path) -> Arrived:
    """The project's pack, every object of it, and that nothing is missing of what events and references name."""
    named = inventory.projects[part.project]
    pack, idx = folder / f"{part.project}.pack", folder / f"{part.project}.idx"
    reader.extract(pack_name(part.project, "pack"), pack)
    reader.extract(pack_name(part.project, "idx"), idx)
    try:
        arrived_pack = Arrived(pack, idx, folder / f"{part.project}.git")
        roots = (named.all() - set(part.lacking)) | set(part.references.values())
        arrived_pack.check(roots, part.shallow, objects=part.objects)
        plans = named.plans - set(part.lacking)
        arrived_pack.follow(named_by_plans(arrived_pack.read, plans), part.shallow)
    except (ContentError, LedgerError) as exc:
        if isinstance(exc, ExportDamaged):
            raise
        raise reader.damaged(f"project {part.project}: {exc.what}") from exc
    return arrived_pack


def _seqs(heads: Mapping[OriginId, OriginHead]) -> dict[OriginId, int]:
    return {origin: head.seq for origin, head in heads.items()}
