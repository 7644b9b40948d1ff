"""The documentation as tests see it: code blocks and links, and which blocks are run by which test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from repositories import ROOT

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in _BLOCK.finditer(text)]


def demo_block() -> Block:
    """What `test_demo.py` runs."""
    return _readme("make demo\n")


def install_block() -> Block:
    """What `test_wheel.py` runs."""
    return _readme("python3 -m venv ")


def _readme(beginning: str) -> Block:
    (block,) = (block for block in blocks(ROOT / "README.md") if block.text.startswith(beginning))
    return block


def links(page: Path) -> Iterator[str]:
    """Relative ones, as written."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    yield from (target for target in _LINK.findall(prose) if "://" not in target)


def anchors(page: Path) -> set[str]:
    """What can stand behind `#` in a link to this page."""
    headings = _HEADING.findall(_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
