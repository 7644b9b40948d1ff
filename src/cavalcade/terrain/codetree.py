"""The Python code of one tree, without any process: which names a module has, where a name comes from, what no longer resolves.

Pure over a `TreeReader` and an `Index`. Gates compare two of these; recipes and the resolvers build on one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from cavalcade.content.port import Entry, TreeReader
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol.plan import Place
from cavalcade.terrain.facts import Definition, FileFacts, Import
from cavalcade.terrain.index import Index
from cavalcade.terrain.modules import ModuleMap

_MODULE_ATTRIBUTES = frozenset(
    {
        "__name__",
        "__doc__",
        "__file__",
        "__path__",
        "__package__",
        "__spec__",
        "__loader__",
        "__dict__",
        "__builtins__",
        "__cached__",
    }
)


class Origin(NamedTuple):
    """Where a name of a module comes from: a definition at module level of `path`, or (definition None) the module itself."""

    module: str
    path: str
    name: str
    definition: Definition | None


class BrokenImport(NamedTuple):
    """An import or use of `module`.`name` in `path` which the tree does not have."""

    path: str
    line: int
    module: str
    name: str


class CodeTree:
    """`index` may be shared by any number of trees."""

    def __init__(self, reader: TreeReader, index: Index, tree: TreeId) -> None:
        self.index = index
        self.tree = tree
        self.entries: Mapping[str, Entry] = reader.entries(tree)
        self._reader = reader
        self._names: dict[tuple[str, str], tuple[Origin, ...] | None] = {}

    @cached_property
    def modules(self) -> ModuleMap:
        pyproject = self.entries.get("pyproject.toml")
        regular = [path for path, entry in self.entries.items() if entry.mode in {0o100644, 0o100755}]
        return ModuleMap(regular, self._reader.read(pyproject.blob) if pyproject else None)

    def facts(self, path: str) -> FileFacts:
        """Raises KeyError for a path outside the tree."""
        return self.index.analyse(self.entries[path].blob)

    def origins(self, module: str, name: str, *, near: str = "") -> tuple[Origin, ...] | None:
        """Where `module.name` comes from, through re-exports and star imports; several when it is bound more than once.

        Empty: the module has no such name. None: can't be known (a module outside the tree is involved, or names made at run time).
        """
        key = (module, name)
        if key not in self._names:
            self._names[key] = self._search(module, name, near, frozenset())
        return self._names[key]

    def _search(self, module: str, name: str, near: str, seen: frozenset[tuple[str, str]]) -> tuple[Origin, ...] | None:
        paths = self.modules.paths(module, near=near)
        if not paths:
            if self.modules.exists(f"{module}.{name}"):
                return (self._module_origin(f"{module}.{name}"),)
            return () if self.modules.exists(module) else None
        found: dict[Origin, None] = {}
        unknown = False
        for path in paths:
            result = self._search_file(module, path, name, seen | {(module, name)})
            unknown = unknown or result is None
            found.update(dict.fromkeys(result or ()))
        submodule = f"{module}.{name}"
        if self.modules.exists(submodule) and (not found or unknown):
            return (*found, self._module_origin(submodule))
        return None if unknown and not found else tuple(found)

    def _module_origin(self, module: str) -> Origin:
        paths = self.modules.paths(module)
        return Origin(module, paths[0] if paths else "", "", None)

    def _search_file(
        self, module: str, path: str, name: str, seen: frozenset[tuple[str, str]]
    ) -> tuple[Origin, ...] | None:
        facts = self.facts(path)
        found: dict[Origin, None] = {}
        unknown = facts.dynamic or bool(facts.problems)
        for definition in facts.definitions:
            if definition.name == name and not definition.scope:
                found[Origin(module, path, name, definition)] = None
        for imported in facts.imports:
            if not self._binds(imported, name):
                continue
            result = self._follow(path, imported, name, seen)
            if result is None:
                unknown = True
            found.update(dict.fromkeys(result or ()))
        if found:
            return tuple(found)
        return None if unknown or name in _MODULE_ATTRIBUTES else ()

    @staticmethod
    def _binds(imported: Import, name: str) -> bool:
        if imported.scope:
            return False
        if imported.name == "*":
            return True
        return imported.alias == name or (
            not imported.renamed and not imported.name and imported.alias.split(".")[0] == name
        )

    def _follow(
        self, path: str, imported: Import, name: str, seen: frozenset[tuple[str, str]]
    ) -> tuple[Origin, ...] | None:
        target = self.modules.absolute(path, imported.level, imported.module)
        if not target or not self.modules.exists(target):
            return None
        if not imported.name:
            module = target if imported.renamed else target.split(".")[0]
            return (self._module_origin(module),)
        wanted = name if imported.name == "*" else imported.name
        if (target, wanted) in seen:
            return ()
        if imported.name == "*" and not self.star_exports(target, wanted):
            return ()
        return self._search(target, wanted, path, seen)

    def star_exports(self, module: str, name: str) -> bool:
        """`from module import *` may bring `name`."""
        for path in self.modules.paths(module):
            facts = self.facts(path)
            if facts.exports is None:
                return not name.startswith("_")
            if any(entry.name == name for entry in facts.exports) or facts.exports_open:
                return True
        return False

    def broken_imports(self, paths: Iterable[str]) -> Iterator[BrokenImport]:
        """Imports in these files, and uses of imported modules' names, that the tree's own modules certainly don't have.

        Compare with the tree before: what is here and was not there, a change broke.
        """
        for path in paths:
            if path not in self.entries or not self.modules.name(path):
                continue
            facts = self.facts(path)
            for imported in facts.imports:
                yield from self._broken_import(path, imported)
            yield from self._broken_uses(path, facts)
            yield from self._broken_exports(path, facts)

    def _broken_import(self, path: str, imported: Import) -> Iterator[BrokenImport]:
        target = self.modules.absolute(path, imported.level, imported.module)
        if not target or (imported.level == 0 and not self.modules.exists(target.split(".")[0])):
            return
        if not self.modules.exists(target):
            if imported.level or self._wholly_here(target):
                yield BrokenImport(path, imported.line, target, "")
        elif imported.name not in {"", "*"} and self.origins(target, imported.name, near=path) == ():
            yield BrokenImport(path, imported.line, target, imported.name)

    def _wholly_here(self, module: str) -> bool:
        """The parent is a regular package of this tree, so that no other folder can add modules to it."""
        parent = module.rpartition(".")[0]
        return bool(parent) and bool(self.modules.paths(parent))

    def _broken_uses(self, path: str, facts: FileFacts) -> Iterator[BrokenImport]:
        """Dotted uses whose root is surely one module of the tree: bound once, by an import at module level."""
        bound = {definition.name for definition in facts.definitions}
        roots: dict[str, list[Import]] = {}
        for imported in facts.imports:
            roots.setdefault(imported.alias.split(".")[0], []).append(imported)
        for use in facts.uses:
            imports = roots.get(use.chain[0], [])
            if not imports or use.chain[0] in bound or any(i.name == "*" for i in imports):
                continue
            module = self._root_module(path, imports)
            if module:
                yield from self._broken_chain(path, use.line, module, use.chain[1:])

    def _root_module(self, path: str, imports: list[Import]) -> str:
        found: set[str] = set()
        for imported in imports:
            target = self.modules.absolute(path, imported.level, imported.module)
            if not imported.name:
                found.add(target if imported.renamed else target.split(".")[0])
                continue
            origins = self.origins(target, imported.name, near=path) if target else None
            if not origins or any(origin.definition is not None for origin in origins):
                return ""
            found.update(origin.module for origin in origins)
        return found.pop() if len(found) == 1 else ""

    def _broken_chain(self, path: str, line: int, module: str, chain: tuple[str, ...]) -> Iterator[BrokenImport]:
        for name in chain:
            if not self.modules.paths(module):
                return
            origins = self.origins(module, name, near=path)
            if origins == () and name not in _MODULE_ATTRIBUTES:
                yield BrokenImport(path, line, module, name)
            if not origins or len(origins) != 1 or origins[0].definition is not None:
                return
            module = origins[0].module

    def _broken_exports(self, path: str, facts: FileFacts) -> Iterator[BrokenImport]:
        module = self.modules.name(path)
        for entry in facts.exports or ():
            if self.origins(module, entry.name, near=path) == ():
                yield BrokenImport(path, entry.line, module, entry.name)

    def place(self, path: str, offset: int, why: str = "") -> Place:
        return self.index.source(self.entries[path].blob).place(path, offset, why)
