"""A file's bytes as text for analysis, and positions in it.

Analysis works on the *body*: the file as UTF-8 without byte order mark. Offsets are bytes of the body. `SourceText.encode` leads
back to the file's own bytes, so that whatever is not touched stays byte for byte as it was.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from cavalcade.protocol.plan import Place

_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]+)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Position(NamedTuple):
    """A position as the language server protocol counts: `line` from 0, `character` from 0 in UTF-16 code units."""

    line: int
    character: int


@dataclass(frozen=True)
class SourceText:
    """`raw` as stored; `body` for analysis; `encoding` leads from one to the other (`bom` in front)."""

    raw: bytes
    body: bytes
    encoding: str = "utf-8"
    bom: bytes = b""
    odd: str = ""
    """Says what is wrong with the encoding, empty when nothing is."""

    @classmethod
    def of(cls, raw: bytes) -> SourceText:
        """Follows PEP 263: byte order mark, then coding cookie, else UTF-8. What can't be decoded so is read as Latin-1, losslessly."""
        bom = codecs.BOM_UTF8 if raw.startswith(codecs.BOM_UTF8) else b""
        content = raw[len(bom) :]
        encoding = "utf-8" if bom else _declared_encoding(content)
        try:
            text = content.decode(encoding)
            body = content if encoding == "utf-8" else text.encode()
            if text.encode(encoding) == content:
                return cls(raw, body, encoding, bom)
            odd = f"not reversible in its encoding {encoding}"
        except (UnicodeError, LookupError):
            odd = f"can't be decoded as {encoding}"
        return cls(raw, content.decode("latin-1").encode(), "latin-1", bom, odd)

    def encode(self, body: bytes) -> bytes:
        """The file's bytes for a changed body. Raises UnicodeEncodeError when the encoding has no such character."""
        if self.encoding == "utf-8":
            return self.bom + body
        return self.bom + body.decode().encode(self.encoding)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self.body))]

    def line_of(self, offset: int) -> int:
        """Line of an offset, from 1."""
        return bisect_right(self._starts, offset)

    def offset_of_line(self, line: int) -> int:
        """Where a line, from 1, starts."""
        return self._starts[line - 1]

    def line_text(self, line: int) -> str:
        """A line, from 1, without its end."""
        start = self._starts[line - 1]
        end = self._starts[line] if line < len(self._starts) else len(self.body)
        return self.body[start:end].decode(errors="replace").rstrip("\r\n")

    def position(self, offset: int) -> Position:
        line = bisect_right(self._starts, offset) - 1
        before = self.body[self._starts[line] : offset]
        if before.isascii():
            return Position(line, len(before))
        return Position(line, len(before.decode(errors="replace").encode("utf-16-le")) // 2)

    def offset(self, position: Position) -> int:
        """Inverse of `position`; a position past the end of its line is the end of that line."""
        if position.line >= len(self._starts):
            return len(self.body)
        start = self._starts[position.line]
        text = self.line_text(position.line + 1)
        units = text.encode("utf-16-le")[: position.character * 2]
        return start + len(units.decode("utf-16-le", errors="ignore").encode())

    def place(self, path: str, offset: int, why: str = "") -> Place:
        """The place people see: line and column from 1, the column in characters."""
        line = self.line_of(offset)
        before = self.body[self._starts[line - 1] : offset]
        return Place(
            path=path, line=line, column=len(before.decode(errors="replace")) + 1, text=self.line_text(line), why=why
        )


def _declared_encoding(content: bytes) -> str:
    for line in content.split(b"\n", 2)[:2]:
        match = _COOKIE.match(line)
        if match:
            name = match.group(1).decode("ascii")
            return _normal(name)
        if line.strip() and not line.lstrip().startswith(b"#"):
            break
    return "utf-8"


def _normal(name: str) -> str:
    """`utf-8` for each of its names: the body is then the file itself."""
    try:
        normal = codecs.lookup(name).name
    except LookupError:
        return name
    return "utf-8" if normal in {"utf-8", "utf-8-sig"} else normal
