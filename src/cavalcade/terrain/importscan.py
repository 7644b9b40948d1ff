"""Imports of a file by a scan over its bytes: fast enough for every file of a large repository, for the import graph only.

It reads more than there is (an import inside a docstring counts), never less, so what follows from it is on the safe side.
"""

from __future__ import annotations

import re

import msgspec

_IMPORT = re.compile(
    rb"^[ \t]*(?:>>> )?(?:"
    rb"from[ \t]+([.\w]+)[ \t]+import\b[ \t]*(\([^)]*\)|[^\n;#\\]*(?:\\\r?\n[^\n;#\\]*)*)"
    rb"|import[ \t]+([^\n;#\\]*(?:\\\r?\n[^\n;#\\]*)*))",
    re.MULTILINE,
)
_INLINE = re.compile(rb"[;:][ \t]*((?:from[ \t]+[.\w]+[ \t]+)?import[ \t]+[^\n;#]+)")
_BY_NAME = re.compile(rb"(?:import_module|__import__|importorskip)\([ \t\r\n]*[\"']([.\w]+)[\"']")
_COMMENT = re.compile(rb"#[^\n]*")
_NAME = re.compile(rb"[\w.]+|\*")


_CLASS = re.compile(rb"^[ \t]*class[ \t]+\w+[^(:\n]*\((.{1,2000}?)\)[ \t]*:", re.MULTILINE | re.DOTALL)
_WORD = re.compile(rb"[\w\x80-\xff]+")
_RENAMED = re.compile(rb"([\w\x80-\xff]+)[ \t]+as[ \t]+[\w\x80-\xff]+")


class ImportLine(msgspec.Struct, frozen=True, array_like=True):
    """`from <level dots><module> import <names>`; `import a, b` is one line each, without names."""

    module: str
    level: int
    names: tuple[str, ...]


def scan(data: bytes) -> tuple[ImportLine, ...]:
    """The imports in a file, each once."""
    found: dict[ImportLine, None] = {}
    if b"import" not in data:
        return ()
    _scan_lines(data, found)
    for match in _INLINE.finditer(data):
        _scan_lines(match.group(1), found)
    for match in _BY_NAME.finditer(data):
        found[_line(match.group(1), ())] = None
    return tuple(found)


def _scan_lines(data: bytes, found: dict[ImportLine, None]) -> None:
    for origin, names, modules in _IMPORT.findall(data):
        if origin:
            found[_line(origin.replace(b" ", b""), _names(names))] = None
        else:
            for name in _names(modules):
                found[ImportLine(name, 0, ())] = None


def _line(origin: bytes, names: tuple[str, ...]) -> ImportLine:
    module = origin.lstrip(b".")
    return ImportLine(module.decode(errors="replace"), len(origin) - len(module), names)


def _names(part: bytes) -> tuple[str, ...]:
    plain = _COMMENT.sub(b"", part).replace(b"\\", b" ").strip(b"() \t\r\n")
    names: list[str] = []
    for item in plain.split(b","):
        match = _NAME.match(item.strip())
        if match:
            names.append(match.group().decode(errors="replace"))
    return tuple(names)


def base_names(data: bytes) -> tuple[str, ...]:
    """The words in the base classes of a file, and the names that it imports under another; more rather than fewer."""
    if b"class" not in data:
        return ()
    found: dict[str, None] = {}
    for bases in _CLASS.findall(data):
        found.update((name.decode(errors="replace"), None) for name in _WORD.findall(bases))
    if found:
        found.update((name.decode(errors="replace"), None) for name in _RENAMED.findall(data))
    return tuple(found)
