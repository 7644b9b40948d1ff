"""The code index. Bug class: facts that are wrong, stale, or computed twice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cavalcade.kernel.ids import BlobId
from cavalcade.terrain.facts import FileFacts
from cavalcade.terrain.importscan import ImportLine, scan
from cavalcade.terrain.index import Index
from cavalcade.testing.trees import MemoryTree

SOURCE = """from __future__ import annotations
from typing import TYPE_CHECKING
from ..base import Base as B, other
import os.path, json as j
if TYPE_CHECKING:
    from .types import *
__all__ = ["A", "f"] + extra
__all__.append("late")
class A(B, mixin.M, Generic[T], metaclass=Meta):
    field: int = 1
    def method(self):
        self.made = self.again, x = 1, 2
        def local(): ...
def f():
    from lazily import g
    return os.path.join(j.x)
type Alias = int
"""


def facts_of(source: str) -> FileFacts:
    tree = MemoryTree()
    return Index(tree).analyse(tree.write(source))


def test_definitions_have_their_kind_scope_and_bases() -> None:
    found = {(d.kind, d.qualname) for d in facts_of(SOURCE).definitions}
    assert found >= {
        ("class", "A"),
        ("variable", "A.field"),
        ("function", "A.method"),
        ("attribute", "A.made"),
        ("function", "A.method.local"),
        ("function", "f"),
        ("variable", "Alias"),
    }
    bases = next(d.bases for d in facts_of(SOURCE).definitions if d.name == "A")
    assert bases == ("B", "mixin.M", "Generic")


def test_imports_are_read_in_every_form() -> None:
    found = [(i.level, i.module, i.name, i.alias, i.scope) for i in facts_of(SOURCE).imports]
    assert found == [
        (0, "typing", "TYPE_CHECKING", "TYPE_CHECKING", ""),
        (2, "base", "Base", "B", ""),
        (2, "base", "other", "other", ""),
        (0, "os.path", "", "os.path", ""),
        (0, "json", "", "j", ""),
        (1, "types", "*", "", ""),
        (0, "lazily", "g", "g", "f"),
    ]


def test_exported_names_are_read_and_what_is_not_literal_leaves_them_open() -> None:
    facts = facts_of(SOURCE)
    assert [entry.name for entry in facts.exports or ()] == ["A", "f", "late"]
    assert facts.exports_open
    assert facts_of("x = 1\n").exports is None


def test_dotted_uses_start_at_imported_names() -> None:
    assert [use.chain for use in facts_of(SOURCE).uses] == [("os", "path", "join"), ("j", "x")]


def test_syntax_errors_are_named_and_the_rest_is_read() -> None:
    facts = facts_of("def good(): ...\n\nclass (:\n    pass\n")
    assert [problem.line for problem in facts.problems] == [3]
    assert facts.definitions[0].name == "good"


class CountingTree(MemoryTree):
    reads = 0

    def read(self, blob: BlobId) -> bytes:
        self.reads += 1
        return super().read(blob)


def test_a_blob_is_never_analysed_again_also_by_another_process(tmp_path: Path) -> None:
    tree = CountingTree()
    blob = tree.write(SOURCE)
    first = Index(tree, tmp_path / "deep" / "index.db")
    facts = first.analyse(blob)
    lines = first.imports([blob])
    first.close()
    reads = tree.reads
    second = Index(tree, tmp_path / "deep" / "index.db")
    assert second.analyse(blob) == facts
    assert second.imports([blob]) == lines
    assert tree.reads == reads
    second.close()


def test_two_indexes_write_one_cache_at_once(tmp_path: Path) -> None:
    tree = MemoryTree()
    blobs = [tree.write(f"x{n} = {n}\n") for n in range(40)]
    one, two = Index(tree, tmp_path / "index.db"), Index(tree, tmp_path / "index.db")
    assert [one.analyse(blob) for blob in blobs] == [two.analyse(blob) for blob in reversed(blobs)][::-1]
    one.close()
    two.close()
    with sqlite3.connect(tmp_path / "index.db") as connection:
        assert connection.execute("SELECT count(*) FROM facts").fetchone() == (40,)
    connection.close()


def test_a_damaged_cache_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 40)
    tree = MemoryTree()
    blob = tree.write(SOURCE)
    index = Index(tree, path)
    facts = index.analyse(blob)
    index.close()
    assert path.read_bytes().startswith(b"SQLite format 3")
    again = Index(tree, path)
    assert again.analyse(blob) == facts
    again.close()


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tree = MemoryTree()
    index = Index(tree, tmp_path / "file" / "index.db")
    assert index.analyse(tree.write("x = 1\n")).definitions[0].name == "x"
    index.close()


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        (b"import a.b as c, d\n", [("a.b", 0, ()), ("d", 0, ())]),
        (b"from .a import (  # why\n    b,\n    c as d,\n)\n", [("a", 1, ("b", "c"))]),
        (b"from .. import x\nfrom m import *\n", [("", 2, ("x",)), ("m", 0, ("*",))]),
        (b"from a import b, \\\n    c\n", [("a", 0, ("b", "c"))]),
        (b"if x: import y\n", [("y", 0, ())]),
        (b"importlib.import_module('p.q')\n", [("p.q", 0, ())]),
        (b"\timport z\r\n", [("z", 0, ())]),
        (b"important = 1\n", []),
    ],
)
def test_the_scan_finds_imports_without_a_parser(source: bytes, lines: list[tuple[str, int, tuple[str, ...]]]) -> None:
    assert list(scan(source)) == [ImportLine(*line) for line in lines]


def test_the_scan_takes_time_in_proportion_to_the_file() -> None:
    """Bug class: a pattern that tries every way to split a long line."""
    scan(b"from " + b"a" * 50_000 + b" " * 50_000 + b"\nimport\n" * 10_000 + b"import x" + b"\\\n" * 50_000)
