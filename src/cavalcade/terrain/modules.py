"""Which file is which module: source roots, packages, relative imports. Works on paths only."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, cast

_SUFFIXES = (".py", ".pyi")
Table = Mapping[str, Any]


def source_roots(paths: Iterable[str], pyproject: bytes | None) -> tuple[str, ...]:
    """Folders that stand on the import path, most specific first; the last is the repository's own root, written as empty text.

    `src/`, `lib/` and what `pyproject.toml` declares for setuptools, hatch, poetry, pdm and uv, where it is written literally.
    """
    folders = {path.split("/", 1)[0] for path in paths if "/" in path}
    packages = {path.rsplit("/", 1)[0] for path in paths if path.endswith(("/__init__.py", "/__init__.pyi"))}
    roots = {name for name in ("src", "lib", "python") if name in folders and name not in packages}
    roots.update(root for root in _declared_roots(pyproject) if root not in packages)
    roots.discard("")
    return (*sorted(roots, key=lambda root: (-root.count("/"), root)), "")


def _declared_roots(pyproject: bytes | None) -> set[str]:
    if not pyproject:
        return set()
    try:
        tools = _table(tomllib.loads(pyproject.decode(errors="replace")).get("tool"))
    except tomllib.TOMLDecodeError:
        return set()
    roots: set[str] = set()
    setuptools = _table(tools.get("setuptools"))
    roots.update(_texts(_table(_table(setuptools.get("packages")).get("find")).get("where")))
    package_dir = _table(setuptools.get("package-dir"))
    roots.update(_texts([folder for name, folder in package_dir.items() if name == ""]))
    wheel = _table(_table(_table(_table(tools.get("hatch")).get("build")).get("targets")).get("wheel"))
    roots.update(path.rpartition("/")[0] for path in _texts(wheel.get("packages")))
    roots.update(_texts(list(_table(wheel.get("sources")))))
    for item in cast("list[Any]", _table(tools.get("poetry")).get("packages") or []):
        roots.update(_texts([_table(item).get("from")]))
    roots.update(_texts([_table(_table(tools.get("pdm")).get("build")).get("package-dir")]))
    roots.update(_texts([_table(_table(tools.get("uv")).get("build-backend")).get("module-root")]))
    return {root.strip("/").removeprefix("./") for root in roots if root not in {".", "./"}}


def _table(value: object) -> Table:
    return cast("Table", value) if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in cast("list[object]", value) if isinstance(item, str)] if isinstance(value, list) else []


class ModuleMap:
    """Module names of a tree's Python files.

    A file's own name follows from the most specific source root above it. A file can also be imported by the name it has from
    the first folder above it that is no package (pytest and scripts put that folder on the path).
    """

    def __init__(self, paths: Iterable[str], pyproject: bytes | None = None) -> None:
        self.python_paths = tuple(sorted(path for path in paths if path.endswith(_SUFFIXES)))
        self.roots = source_roots(self.python_paths, pyproject)
        self._packages = {
            p.rpartition("/")[0] for p in self.python_paths if p.rpartition("/")[2] in {"__init__.py", "__init__.pyi"}
        }
        self._names = {path: self._name_under(path, self._root_of(path)) for path in self.python_paths}
        self._paths: dict[str, list[str]] = {}
        for path, name in self._names.items():
            self._paths.setdefault(name, []).append(path)
        self._other: dict[str, list[str]] = {}
        for path in self.python_paths:
            other = self._name_under(path, self._import_folder(path))
            if other != self._names[path]:
                self._other.setdefault(other, []).append(path)
        self._folders = self._namespaces()

    def _namespaces(self) -> set[str]:
        names = {*self._names.values(), *self._other}
        return {name[:at] for name in names for at, character in enumerate(name) if character == "."}

    def _root_of(self, path: str) -> str:
        return next(root for root in self.roots if not root or path.startswith(root + "/"))

    def _import_folder(self, path: str) -> str:
        folder = path.rpartition("/")[0]
        while folder in self._packages and folder:
            folder = folder.rpartition("/")[0]
        return folder

    @staticmethod
    def _name_under(path: str, root: str) -> str:
        inner = path[len(root) + 1 :] if root else path
        stem = inner.rpartition(".")[0]
        if stem == "__init__":
            return root.rpartition("/")[2]
        return stem.removesuffix("/__init__").replace("/", ".")

    def name(self, path: str) -> str:
        """The module a path holds, empty when it is no Python file of this tree."""
        return self._names.get(path, "")

    def names(self, path: str) -> tuple[str, ...]:
        """Every name it can be imported by, its own first."""
        own = self.name(path)
        if not own:
            return ()
        other = self._name_under(path, self._import_folder(path))
        return (own,) if other == own else (own, other)

    def paths(self, module: str, *, near: str = "") -> tuple[str, ...]:
        """The files of a module: `.py` first, then a stub beside it; empty when the tree has none.

        Where several files can go by that name, those next to the importing file `near` win, then the tree's order.
        """
        found = self._paths.get(module) or self._nearest(self._other.get(module, []), near)
        return tuple(sorted(found, key=lambda path: (path.endswith(".pyi"), path)))

    @staticmethod
    def _nearest(paths: list[str], near: str) -> list[str]:
        if len(paths) < 2:
            return paths

        def shared(path: str) -> int:
            return next(
                (i for i, (a, b) in enumerate(zip(path, near, strict=False)) if a != b), min(len(path), len(near))
            )

        best = max(shared(path) for path in paths)
        nearest = [path for path in paths if shared(path) == best]
        return [path for path in nearest if path.rpartition(".")[0] == nearest[0].rpartition(".")[0]]

    def exists(self, module: str) -> bool:
        """There is a file or a namespace folder of that name."""
        return module in self._paths or module in self._other or module in self._folders

    def is_package(self, path: str) -> bool:
        return path.rpartition("/")[2] in {"__init__.py", "__init__.pyi"}

    def absolute(self, path: str, level: int, module: str) -> str:
        """The module that an import in file `path` names: `level` dots and `module`. Empty when it leaves the tree."""
        if level == 0:
            return module
        parts = self.name(path).split(".")
        keep = len(parts) - (level - 1 if self.is_package(path) else level)
        if keep < 0 or (keep == 0 and not module):
            return ""
        return ".".join([*parts[:keep], *([module] if module else [])])

    def modules(self) -> list[str]:
        return sorted(self._paths)
