"""Where Cavalcade keeps what it knows. Never inside the user's repository."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import ProjectId, RunId


class DataFolder(NamedTuple):
    """`root` holds the truth (ledger, content); `cache` what can be thrown away at any time."""

    root: Path
    cache: Path

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite3"

    @property
    def signing_key(self) -> Path:
        """Private: signs the heads of the ledger."""
        return self.root / "signing-key"

    def content(self, project: ProjectId) -> Path:
        return self.root / "projects" / _name(project) / "content.git"

    @property
    def outbox(self) -> Path:
        """What receivers acknowledged."""
        return self.root / "outbox.sqlite3"

    def lock(self, held: RunId | ProjectId) -> Path:
        return self.root / "locks" / f"{_name(held)}.lock"

    @property
    def stop_file(self) -> Path:
        """While it is there nothing starts, and whatever runs stops."""
        return self.root / "stop"

    def workspace(self, run: RunId) -> Path:
        """Scratch copies of a run; removed when it ends."""
        return self.cache / "workspaces" / _name(run)

    @property
    def pool(self) -> Path:
        """Workspaces that lie ready."""
        return self.cache / "pool"

    @property
    def imports(self) -> Path:
        """What has arrived and is being checked."""
        return self.cache / "imports"

    @property
    def index_cache(self) -> Path:
        return self.cache / "index.sqlite3"

    @property
    def probes(self) -> Path:
        return self.cache / "probes.json"


def data_folder(environ: Mapping[str, str]) -> DataFolder:
    """`CAVALCADE_HOME` if set (cache below it), else the XDG base directories."""
    if own := environ.get("CAVALCADE_HOME"):
        root = Path(own).expanduser().absolute()
        return DataFolder(root, root / "cache")
    home = Path(environ.get("HOME", "~")).expanduser()
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return DataFolder(data / "cavalcade", cache / "cavalcade")


def project_id(repository: Path, *, besides: str = "") -> ProjectId:
    """One project per repository folder: its resolved path decides. `besides` tells it from one that had the folder before."""
    text = str(repository.resolve()) + (f"\0{besides}" if besides else "")
    return ProjectId("p" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16])


def _name(given: str) -> str:
    """Ids come out of events, and those may come from elsewhere: none leads out of the data folder. Raises LedgerDamaged."""
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}", given):
        raise LedgerDamaged(f"the record holds the id {given!r}", expected="letters and digits")
    return given
