"""Which tests can notice a change: importers of the changed modules, transitively, and the test files among them."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from functools import cached_property
from typing import Any, NamedTuple, cast

from cavalcade.terrain.codetree import CodeTree
from cavalcade.terrain.importscan import ImportLine


class AffectedTests(NamedTuple):
    """Test files to run; `whole`: every test may be affected, `why` says by what."""

    files: tuple[str, ...]
    whole: bool
    why: str


class TestLayout(NamedTuple):
    """pytest's own rules of what is a test file, with the project's configuration."""

    __test__ = False

    folders: tuple[str, ...]
    patterns: tuple[str, ...]

    def is_test(self, path: str) -> bool:
        inside = not self.folders or any(path == folder or path.startswith(folder + "/") for folder in self.folders)
        name = path.rpartition("/")[2]
        return inside and name.endswith(".py") and any(fnmatch(name, pattern) for pattern in self.patterns)


_DEFAULT_PATTERNS = ("test_*.py", "*_test.py")
_SETTINGS = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")


def layout_of(read: Mapping[str, bytes]) -> TestLayout:
    """From the contents of `pytest.ini`, `pyproject.toml`, `tox.ini`, `setup.cfg`, whichever there are."""
    options: Mapping[str, Any] = {}
    if "pyproject.toml" in read:
        try:
            tool = tomllib.loads(read["pyproject.toml"].decode(errors="replace")).get("tool", {})
            options = cast("Mapping[str, Any]", tool.get("pytest", {}).get("ini_options", {}) or tool.get("pytest", {}))
        except tomllib.TOMLDecodeError:
            options = {}
    for name, section in (("setup.cfg", "tool:pytest"), ("tox.ini", "pytest"), ("pytest.ini", "pytest")):
        if name in read:
            options = _ini_section(read[name], section) or options
    folders = tuple(
        folder.strip("/") for folder in _words(options.get("testpaths")) if folder.strip("/") not in {"", "."}
    )
    patterns = tuple(_words(options.get("python_files"))) or _DEFAULT_PATTERNS
    return TestLayout(() if any("*" in folder for folder in folders) else folders, patterns)


def _ini_section(data: bytes, section: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(data.decode(errors="replace"))
    except configparser.Error:
        return {}
    return dict(parser[section]) if parser.has_section(section) else {}


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [str(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


class ImportGraph:
    """Who imports whom among a tree's Python files, for the tree as it is."""

    def __init__(self, code: CodeTree) -> None:
        self._code = code

    @cached_property
    def importers(self) -> Mapping[str, set[str]]:
        """For each path the paths that import it directly."""
        code = self._code
        paths = code.modules.python_paths
        lines = code.index.imports(code.entries[path].blob for path in paths)
        found: dict[str, set[str]] = {}
        for path in paths:
            for line in lines[code.entries[path].blob]:
                for target in self._targets(path, line):
                    if target != path:
                        found.setdefault(target, set()).add(path)
        return found

    def _targets(self, path: str, line: ImportLine) -> Iterable[str]:
        modules = self._code.modules
        module = modules.absolute(path, line.level, line.module)
        if not module:
            return
        parts = module.split(".")
        for count in range(1, len(parts) + 1):
            yield from modules.paths(".".join(parts[:count]), near=path)
        for name in line.names:
            if name != "*":
                yield from modules.paths(f"{module}.{name}", near=path)

    def dependents(self, paths: Iterable[str]) -> set[str]:
        """The given paths and all that import them, directly or through others."""
        reached = set(paths)
        pending = list(reached)
        while pending:
            for importer in self.importers.get(pending.pop(), ()):
                if importer not in reached:
                    reached.add(importer)
                    pending.append(importer)
        return reached


_BUILD_FILES = re.compile(r"(?:^|/)(?:pyproject\.toml|setup\.(?:py|cfg)|tox\.ini|pytest\.ini|requirements[^/]*\.txt)\Z")


def affected_tests(code: CodeTree, changed: Iterable[str], graph: ImportGraph | None = None) -> AffectedTests:
    """The test files that can notice a change of these paths (paths of the tree before or after; use both for a move).

    A changed or importing `conftest.py` affects every test below its folder; one at the root, changed build or test settings, or a
    changed file that no import leads to (data, templates, C sources) affect the whole suite. Documentation affects none.
    """
    changed = sorted(set(changed))
    graph = graph or ImportGraph(code)
    layout = layout_of(
        {name: code.index.source(code.entries[name].blob).body for name in _SETTINGS if name in code.entries}
    )
    python = [path for path in changed if path.endswith((".py", ".pyi"))]
    for path in changed:
        if _BUILD_FILES.search(path):
            return AffectedTests((), whole=True, why=f"{path} changed, which every test may depend on")
        if path not in python and not _is_documentation(path):
            return AffectedTests((), whole=True, why=f"{path} changed, and what reads it can't be known")
    reached = graph.dependents(
        [*python, *(path + "i" for path in python), *(path.removesuffix("i") for path in python)]
    )
    folders = {path.rpartition("/")[0] for path in reached if path.rpartition("/")[2] == "conftest.py"}
    tests = {path for path in code.modules.python_paths if layout.is_test(path)}
    if "" in folders:
        return AffectedTests((), whole=True, why="the conftest.py at the root depends on the change")
    below = {path for path in tests if any(path.startswith(folder + "/") for folder in folders)}
    files = sorted((tests & reached) | below)
    if tests and len(files) == len(tests):
        return AffectedTests((), whole=True, why="every test file depends on the change")
    return AffectedTests(tuple(files), whole=False, why=f"{len(files)} of {len(tests)} test files import what changed")


def _is_documentation(path: str) -> bool:
    return path.lower().endswith((".rst", ".md", ".txt", ".html", ".svg", ".png", ".po")) or path.startswith(
        ("docs/", "doc/")
    )
