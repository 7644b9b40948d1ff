"""What a project's `.env` files set: read to know which values must never be recorded, never to act on them."""

from __future__ import annotations

import re
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*[=:]\s*(.*)")
_LARGEST_BYTES = 64 * 1024


def read_dotenv(folder: Path) -> dict[str, str]:
    """The variables of `.env`, `.env.*` and `.envrc` in a folder; of two that differ, the second under its name and its file's.

    Files that can't be read or are no text, and lines that set nothing, are passed over.
    """
    found: dict[str, str] = {}
    for path in sorted({*folder.glob(".env"), *folder.glob(".env.*"), *folder.glob(".envrc")}):
        for name, value in _variables(path):
            if found.setdefault(name, value) != value:
                found[f"{path.name}_{name}"] = value
    return found


def _variables(path: Path) -> list[tuple[str, str]]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return []
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    lines = (_LINE.fullmatch(line) for line in text.splitlines())
    return [(line[1], _value(line[2])) for line in lines if line]


def _value(text: str) -> str:
    """Without its quotes, or without the comment behind it."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'`":
        return text[1:-1]
    return text.split(" #", 1)[0].rstrip()
