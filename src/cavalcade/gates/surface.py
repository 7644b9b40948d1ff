"""What the modules of one tree offer to those that import them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from cavalcade.content.port import Entry
from cavalcade.gates.change import is_regular
from cavalcade.terrain.facts import FileFacts, Import
from cavalcade.terrain.index import Index
from cavalcade.terrain.modules import ModuleMap

_GIVEN = frozenset(
    (
        "__name__", "__doc__", "__file__", "__path__", "__package__", "__spec__", "__loader__", "__dict__", "__builtins__", "__all__",
        "__annotations__", "__class__", "__cached__",
    )
)  # fmt: skip
"""Every module has these."""
_MADE_WHEN_BUILT = frozenset(("_version", "version", "__version__", "_build", "__about__"))
"""Modules that build tools write, so that they are missing from the tree."""


class Surface(NamedTuple):
    """`names` a module binds at its top level. `open`: it may have more, which can't be read from its text."""

    names: frozenset[str]
    open: bool


class Surfaces:
    """The modules of one tree, each with all the names it offers, so that two trees can be compared. Answers are remembered."""

    def __init__(self, entries: Mapping[str, Entry], index: Index, modules: ModuleMap) -> None:
        self.entries = entries
        self.modules = modules
        self._index = index
        self._surfaces: dict[str, Surface] = {}

    def facts(self, path: str) -> FileFacts:
        return self._index.analyse(self.entries[path].blob)

    def file_of(self, module: str, near: str) -> str:
        """The file that an import of `module` in file `near` reads; "" when there is none (a namespace package has none).

        A stub sees stubs first, a module sees modules first.
        """
        found = [path for path in self.modules.paths(module, near=near) if self._sees(near, path, module)]
        if near.endswith(".pyi"):
            found.reverse()
        return found[0] if found else ""

    def surface(self, path: str) -> Surface:
        known = self._surfaces.get(path)
        if known is None:
            self._surfaces[path] = Surface(frozenset(), False)  # what a star import in a circle sees
            known = self._surfaces[path] = self._read(path)
        return known

    def starred(self, path: str) -> Surface:
        """What `from module import *` binds."""
        facts, surface = self.facts(path), self.surface(path)
        if facts.exports is None:
            return Surface(frozenset(name for name in surface.names if not name.startswith("_")), surface.open)
        names = {export.name for export in facts.exports}
        if not facts.exports_open:
            return Surface(frozenset(names), False)
        return Surface(frozenset(names | {name for name in surface.names if not name.startswith("_")}), True)

    def offers(self, module: str, name: str, near: str) -> bool:
        """Whether `from module import name` works in file `near`; True also when that can't be known (another distribution's
        module, or a namespace package, of which another distribution may hold a part)."""
        if self.modules.exists(f"{module}.{name}") or name in _GIVEN:
            return True
        path = self.file_of(module, near)
        if not path:
            return True
        surface = self.surface(path)
        return surface.open or name in surface.names or self._bound_oddly(path, name)

    def lacks_module(self, module: str) -> bool:
        """Whether a module that should be in this tree isn't: its parent is a package here, and nothing is there to build it from."""
        parent, _, name = module.rpartition(".")
        if self.modules.exists(module) or not parent or name in _MADE_WHEN_BUILT:
            return False
        package = self.file_of(parent, "")
        if not package:
            return self.lacks_module(parent)
        if self.facts(package).dynamic:
            return False
        stem = f"{package.rpartition('/')[0]}/{name}"
        return not any(path.startswith((f"{stem}.", f"{stem}/")) for path in self.entries)

    def module_behind(self, module: str, name: str, near: str, depth: int = 8) -> str:
        """The module that attribute `name` of `module` is, "" when it is none that is known."""
        path = self.file_of(module, near)
        if path and depth:
            for item in self.facts(path).imports:
                if not item.scope and item.alias == name:
                    return self.imported_module(item, path, depth - 1)
        submodule = f"{module}.{name}"
        return submodule if self.modules.exists(submodule) else ""

    def imported_module(self, item: Import, path: str, depth: int = 8) -> str:
        """The module that an import binds its alias to, "" when it binds something else."""
        if not item.name:
            return item.module if item.renamed else item.module.split(".")[0]
        origin = self.modules.absolute(path, item.level, item.module)
        return self.module_behind(origin, item.name, path, depth) if origin and item.name != "*" else ""

    def _sees(self, near: str, path: str, module: str) -> bool:
        """A file that isn't below a source root is seen by that name from its own folder only (scripts, tests)."""
        if not is_regular(self.entries.get(path)):
            return False
        return self.modules.name(path) == module or near.startswith(import_folder(path, module))

    def _read(self, path: str) -> Surface:
        facts = self.facts(path)
        names = {definition.name for definition in facts.definitions if not definition.scope}
        is_open = facts.dynamic or bool(facts.problems)
        for item in facts.imports:
            if item.scope:
                continue
            if item.name != "*":
                names.add(item.alias.split(".")[0])
                continue
            origin = self.file_of(self.modules.absolute(path, item.level, item.module), path)
            if not origin:
                is_open = True
                continue
            starred = self.starred(origin)
            names |= starred.names
            is_open = is_open or starred.open
        return Surface(frozenset(names), is_open)

    def _bound_oddly(self, path: str, name: str) -> bool:
        """Bound by `global` in a function, by `:=`, by a pattern or by other code that the index doesn't read as a definition."""
        word = re.escape(name).encode()
        oddly = rb"\bglobal\b[^\n#]*\b%s\b|\b%s\s*:=|\bcase\b[^\n#]*\b%s\b" % (word, word, word)
        return re.search(oddly, self._index.source(self.entries[path].blob).body) is not None


def import_folder(path: str, module: str) -> str:
    """The folder, with `/` at its end, that must be on the import path for `path` to be `module`."""
    stem = path.rpartition(".")[0].removesuffix("/__init__")
    return stem.removesuffix(module.replace(".", "/"))
