"""The file in which a whole record travels to another installation: a ZIP archive, so that a cut-off one is known at once.

events.jsonl                 every sealed event, one a line, in the order of the exporter's positions, over all origins
projects/<id>/objects.pack   what the project's events and `refs/runs/*` reach, as git packs it, with its index (.idx)
manifest.json                written last: what there is, and the SHA-256 of each part
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec

from cavalcade.kernel.errors import ExportDamaged
from cavalcade.kernel.ids import CommitId, OriginId, ProjectId
from cavalcade.protocol.envelope import Sealed
from cavalcade.protocol.plan import Struct

FORMAT = 1
EVENTS = "events.jsonl"
MANIFEST = "manifest.json"
MAX_LINE_BYTES = 1 << 16
"""A sealed event has at most 20 KiB, and quotes double in a string."""
_MAX_MANIFEST_BYTES = 256 << 20
_PIECE = 1 << 20
_PROJECT = re.compile(r"p[0-9a-f]{16}")


class Member(Struct, frozen=True):
    name: str
    size_bytes: int
    sha256: str


class Chain(Struct, frozen=True):
    """One origin's chain, from its first event to `seq`."""

    origin: OriginId
    seq: int
    hash: str


class ProjectPart(Struct, frozen=True):
    """`repository` is where the project lies at the exporter. `objects` 0: no content in the file, because it was not asked for
    (`left_out`) or not at hand. `lacking` are objects that events name and the exporter never had; `shallow` as in git."""

    project: ProjectId
    repository: str
    objects: int = 0
    left_out: bool = False
    references: dict[str, CommitId] = {}  # noqa: RUF012 - msgspec copies it
    shallow: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()


class Manifest(Struct, frozen=True):
    format: int
    program: str
    time: datetime
    origin: OriginId
    events: int
    chains: tuple[Chain, ...]
    projects: tuple[ProjectPart, ...]
    members: tuple[Member, ...]


Read = Callable[[IO[bytes]], bytes]
"""Takes the next piece of an open part; empty at its end."""


def pack_name(project: ProjectId, end: str) -> str:
    return f"projects/{project}/objects.{end}"


class Writer:
    """Fills an archive part by part."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.members: list[Member] = []

    @contextmanager
    def member(self, name: str, *, compress: bool) -> Generator[MemberWriter]:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        with self._archive.open(info, "w", force_zip64=True) as file:
            writer = MemberWriter(file)
            yield writer
        self.members.append(Member(name=name, size_bytes=writer.size_bytes, sha256=writer.digest.hexdigest()))

    def file(self, name: str, source: Path) -> None:
        with source.open("rb") as data, self.member(name, compress=False) as out:
            while piece := data.read(_PIECE):
                out.write(piece)

    def manifest(self, manifest: Manifest) -> None:
        info = zipfile.ZipInfo(MANIFEST)
        info.compress_type = zipfile.ZIP_DEFLATED
        self._archive.writestr(info, msgspec.json.format(msgspec.json.encode(manifest), indent=2))


class MemberWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.size_bytes += len(data)


class Reader:
    """An export as it lies there. Everything read through this is compared with the manifest. Raises ExportDamaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reading("the file"):
            self._file = path.open("rb")
        try:
            self._open(path)
        except BaseException:
            self._file.close()
            raise

    def _open(self, path: Path) -> None:
        with self._reading("the file"):
            if (start := self._file.read(4)) != b"PK\3\4":
                raise ExportDamaged(
                    f"{path} is no export of Cavalcade: it begins with {start!r}",
                    expected="a file that `cavalcade ledger export` made",
                    hint="make one at the other installation: cavalcade ledger export FILE",
                )
            self._archive = zipfile.ZipFile(self._file)
        self.manifest = self._manifest()
        self._members = {member.name: member for member in self.manifest.members}

    def close(self) -> None:
        self._archive.close()
        self._file.close()

    def lines(self) -> Iterator[Sealed]:
        """The events one by one; what is wrong with the part as a whole is raised behind the last."""
        decode = msgspec.json.Decoder(Sealed).decode
        for number, line in enumerate(self._pieces(EVENTS, lambda file: file.readline(MAX_LINE_BYTES)), start=1):
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise self.damaged(f"line {number} of {EVENTS} is no event ({exc})") from exc

    def extract(self, name: str, to: Path) -> None:
        with to.open("wb") as out:
            for piece in self._pieces(name, lambda file: file.read(_PIECE)):
                out.write(piece)

    def damaged(self, problem: str) -> ExportDamaged:
        return ExportDamaged(
            f"{self.path} is damaged: {problem}", hint="nothing was imported; export again, or copy the file again"
        )

    def _pieces(self, name: str, read: Read) -> Iterator[bytes]:
        member = self._members.get(name)
        if member is None:
            raise self.damaged(f"the manifest doesn't name {name}")
        digest, size = hashlib.sha256(), 0
        with self._reading(name):
            file = self._archive.open(name)
        with file:
            while piece := self._piece(name, file, read):
                digest.update(piece)
                size += len(piece)
                yield piece
        if size != member.size_bytes or digest.hexdigest() != member.sha256:
            raise self.damaged(
                f"{name} has {size} bytes with SHA-256 {digest.hexdigest()}, not {member.size_bytes} with {member.sha256}"
            )

    def _piece(self, name: str, file: IO[bytes], read: Read) -> bytes:
        with self._reading(name):
            return read(file)

    def _manifest(self) -> Manifest:
        with self._reading(MANIFEST):
            data = self._archive.open(MANIFEST).read(_MAX_MANIFEST_BYTES)
        try:
            (number,) = re.findall(rb'^\{\s*"format":\s*(\d+)', data) or [b"0"]
            if int(number) > FORMAT:
                raise ExportDamaged(
                    f"{self.path} has format {int(number)}; this program knows up to {FORMAT}",
                    hint="import it with the version of Cavalcade that wrote it, or a newer one",
                )
            manifest = msgspec.json.decode(data, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self.damaged(f"{MANIFEST} can't be read ({exc})") from exc
        names = [part.project for part in manifest.projects]
        if len(set(names)) < len(names) or not all(map(_PROJECT.fullmatch, names)):
            raise self.damaged(f"{MANIFEST} names the projects {names[:5]}")
        return manifest

    @contextmanager
    def _reading(self, what: str) -> Generator[None]:
        try:
            yield
        except KeyError as exc:
            raise self.damaged(f"{what} is missing in it") from exc
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as exc:
            raise self.damaged(f"{what} is cut off or altered ({exc})") from exc
        except OSError as exc:
            raise ExportDamaged(
                f"{self.path} can't be read: {exc.strerror}",
                expected="a file that `cavalcade ledger export` made",
                hint="name it as it is seen from here, or copy it again",
            ) from exc
