"""The files of one tree as text: reading, searching words, parsing. Everything read once is kept for the life of the terrain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from cavalcade.content.port import TreeReader
from cavalcade.terrain.codetree import CodeTree
from cavalcade.terrain.source import SourceText
from cavalcade.terrain.tokens import PythonFile, word_pattern

_LARGEST_TEXT = 4_000_000
_REGULAR = frozenset({0o100644, 0o100755})


class Files:
    """`workspace` holds the same tree on disk: searching there is faster than unpacking every blob. What is found is read from the tree."""

    def __init__(self, reader: TreeReader, code: CodeTree, workspace: Path | None) -> None:
        self._reader = reader
        self.code = code
        self._workspace = workspace
        self._parsed: dict[str, PythonFile] = {}
        self._found: dict[str, tuple[str, ...]] = {}

    def text(self, path: str) -> SourceText | None:
        """A regular file's text; None for what is none or is not in the tree."""
        entry = self.code.entries.get(path)
        if entry is None or entry.mode not in _REGULAR:
            return None
        return self.code.index.source(entry.blob)

    def python(self, path: str) -> PythonFile:
        """Raises KeyError for a path that is not in the tree."""
        known = self._parsed.get(path)
        if known is None:
            blob, index = self.code.entries[path].blob, self.code.index
            known = self._parsed[path] = PythonFile(path, index.source(blob), index.tree(blob), index.analyse(blob))
        return known

    @cached_property
    def _searchable(self) -> tuple[str, ...]:
        return tuple(sorted(path for path, entry in self.code.entries.items() if entry.mode in _REGULAR))

    def with_word(self, word: str) -> tuple[str, ...]:
        """Text files in which the word stands, in order of path."""
        known = self._found.get(word)
        if known is None:
            known = self._found[word] = tuple(self._search(word))
        return known

    def python_with(self, word: str) -> tuple[str, ...]:
        return tuple(path for path in self.with_word(word) if self.code.modules.name(path))

    def _search(self, word: str) -> Iterator[str]:
        plain, pattern = word.encode(), word_pattern(word)
        for path in self._searchable:
            data = self.bytes_of(path)
            if plain in data and b"\0" not in data[:8_000] and len(data) < _LARGEST_TEXT and pattern.search(data):
                yield path

    def bytes_of(self, path: str) -> bytes:
        if self._workspace is not None:
            try:
                with open(f"{self._workspace}/{path}", "rb", buffering=0) as file:
                    return file.read()
            except OSError:
                pass
        return self._reader.read(self.code.entries[path].blob)
