"""Where Cavalcade keeps what it knows. Never inside the user's repository."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cavalcade.kernel.ids import ProjectId, RunId


class DataFolder(NamedTuple):
    """`root` holds the truth (ledger, content); `cache` what can be thrown away at any time."""

    root: Path
    cache: Path

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.sqlite3"

    def content(self, project: ProjectId) -> Path:
        return self.root / "projects" / project / "content.git"

    def lock(self, run: RunId) -> Path:
        return self.root / "locks" / f"{run}.lock"

    def workspace(self, run: RunId) -> Path:
        """Scratch copies of a run; removed when it ends."""
        return self.cache / "workspaces" / run

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


def project_id(repository: Path) -> ProjectId:
    """One project per repository folder: its resolved path decides."""
    return ProjectId(
        "p" + hashlib.sha256(str(repository.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    )
