"""Runs ruff over blobs: one process for many, each blob's findings remembered.

A process costs 4 ms, so a server is not worth its state. The blobs lie in a scratch folder under neutral names; only what ruff
decides by (stub, package `__init__`) is kept of the real one.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from cavalcade.content.port import TreeReader
from cavalcade.kernel.errors import ToolFailed
from cavalcade.kernel.ids import BlobId

SELECTED = "E9,F"
_ARGUMENTS = (
    "check",
    "--isolated",
    "--no-cache",
    "--exit-zero",
    "--quiet",
    "--select",
    SELECTED,
    "--output-format",
    "json",
)
_REMEMBERED = 8192
_BATCH = 400
_LIMIT_S = 60.0


class Hit(NamedTuple):
    """One ruff finding; `line` and `column` from 1, `text` the line it is on."""

    code: str
    message: str
    line: int
    column: int
    text: str


class Source(NamedTuple):
    """What ruff's answer depends on."""

    blob: BlobId
    kind: str
    """File name: `__init__.py`, `__init__.pyi`, `module.py` or `module.pyi`."""
    python: str
    """`py311`"""


class _Location(msgspec.Struct):
    row: int
    column: int


class _Row(msgspec.Struct):
    filename: str
    message: str
    location: _Location | None = None
    code: str | None = None


def kind_of(path: str) -> str:
    name = path.rpartition("/")[2]
    if name in ("__init__.py", "__init__.pyi"):
        return name
    return "module.pyi" if name.endswith(".pyi") else "module.py"


def find_ruff() -> Path:
    """The ruff that was installed with this interpreter, whatever PATH says. Raises ToolFailed."""
    for folder in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        for name in ("ruff", "ruff.exe"):
            if (folder / name).is_file():
                return folder / name
    raise ToolFailed(
        f"there is no ruff beside {sys.executable}",
        expected="the ruff that cavalcade depends on",
        hint="install cavalcade again",
    )


class Ruff:
    """Findings by blob, remembered for the last few thousand."""

    def __init__(self, binary: Path | None = None) -> None:
        self._binary = binary
        self._version = ""
        self._known: OrderedDict[Source, tuple[Hit, ...]] = OrderedDict()

    def version(self) -> str:
        """Asked of the binary itself. Raises ToolFailed."""
        if not self._version:
            try:
                done = subprocess.run(
                    [self._path(), "--version"], capture_output=True, text=True, timeout=_LIMIT_S, check=True
                )
            except (OSError, subprocess.SubprocessError) as exc:
                raise ToolFailed(f"ruff does not start: {exc}", hint="install cavalcade again") from exc
            self._version = done.stdout.split()[-1]
        return self._version

    async def check(self, sources: Iterable[Source], reader: TreeReader) -> dict[Source, tuple[Hit, ...]]:
        """The findings of each. Raises ToolFailed, ObjectMissing."""
        wanted = list(dict.fromkeys(sources))
        found = {source: self._known[source] for source in wanted if source in self._known}
        missing = [source for source in wanted if source not in found]
        for python in sorted({source.python for source in missing}):
            group = [source for source in missing if source.python == python]
            for start in range(0, len(group), _BATCH):
                found.update(await self._run(group[start : start + _BATCH], python, reader))
        for source in wanted:
            self._known[source] = found[source]
            self._known.move_to_end(source)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    async def _run(self, sources: list[Source], python: str, reader: TreeReader) -> dict[Source, tuple[Hit, ...]]:
        contents = [reader.read(source.blob) for source in sources]
        names = [f"{number}/{source.kind}" for number, source in enumerate(sources)]
        with tempfile.TemporaryDirectory(prefix="cavalcade-lint-", dir=_memory_folder()) as scratch:
            _lay_out(Path(scratch), dict(zip(names, contents, strict=True)))
            output = await _execute([self._path(), *_ARGUMENTS, "--target-version", python, *names], scratch)
        try:
            rows = msgspec.json.decode(output, type=list[_Row])
        except msgspec.DecodeError as exc:
            raise ToolFailed(
                f"ruff's answer can't be read: {exc}", expected="JSON", hint="install cavalcade again"
            ) from exc
        hits: list[list[Hit]] = [[] for _ in sources]
        lines = [data.splitlines() for data in contents]
        for row in rows:
            number = int(Path(row.filename).parent.name)
            hits[number].append(_hit(row, lines[number]))
        return {source: tuple(found) for source, found in zip(sources, hits, strict=True)}

    def _path(self) -> Path:
        if self._binary is None:
            self._binary = find_ruff()
        return self._binary


def _lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        for name, data in files.items():
            file = folder / name
            file.parent.mkdir()
            file.write_bytes(data)
    except OSError as exc:
        raise ToolFailed(f"no scratch file for ruff could be written: {exc}", hint="make room on the disk") from exc


def _hit(row: _Row, lines: list[bytes]) -> Hit:
    line, column = (row.location.row, row.location.column) if row.location else (0, 0)
    text = lines[line - 1].decode("utf-8", "replace").strip() if 0 < line <= len(lines) else ""
    return Hit(row.code or "syntax", row.message, line, column, text)


async def _execute(command: list[str | Path], folder: str) -> bytes:
    """Standard output. The environment is empty but for what bounds its threads, so that no RUFF_* variable decides."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={"RAYON_NUM_THREADS": "1" if len(command) < 30 else "2"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as exc:
        raise ToolFailed(f"ruff does not start: {exc}", hint="install cavalcade again") from exc
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _LIMIT_S)
    except TimeoutError as exc:
        raise ToolFailed(f"ruff did not end within {_LIMIT_S:.0f} s", hint="look at the load of this machine") from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ToolFailed(f"ruff ended with {process.returncode}: {errors.decode(errors='replace')[:500]}")
    return output


def _memory_folder() -> str | None:
    """A folder that lives in memory where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
