"""What must be the same before and after a run, to the bit: a person's working tree, index, refs and settings."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_ADDED = ("objects/", "refs/heads/cavalcade/", "logs/refs/heads/cavalcade/")
"""Under `.git`: the result branch and the objects it needs."""


def fingerprint(repository: Path) -> dict[str, str]:
    """Type, mode and content of every file and link, `.git` included, without objects and result branches."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(repository):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for path in (Path(folder) / name for name in (*files, *links)):
            name = path.relative_to(repository).as_posix()
            if not name.startswith(tuple(f".git/{part}" for part in _ADDED)):
                found[name] = _seen(path)
    return found


def _seen(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    return f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
