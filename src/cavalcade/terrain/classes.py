"""Classes of a tree: members, bases, subclasses, and the family of definitions that one method or attribute name has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import NamedTuple

from cavalcade.terrain.codetree import CodeTree
from cavalcade.terrain.facts import Definition
from cavalcade.terrain.meaning import ClassId, Reader


class Bases(NamedTuple):
    """`known` are classes of the tree, in order; `external` the base expressions that lead out of it or can't be read."""

    known: tuple[ClassId, ...]
    external: tuple[str, ...]


class Family(NamedTuple):
    """The classes that define one name which must keep one name: overrides, overridden, siblings through a common subclass or base.

    `related` are all classes that have the name through these, by inheritance too. `external` pairs each of them that has a base
    outside the tree with that base's expression.
    """

    owners: frozenset[ClassId]
    related: frozenset[ClassId]
    external: tuple[tuple[ClassId, str], ...]


class Classes:
    def __init__(self, code: CodeTree, reader: Reader) -> None:
        self._code = code
        self._reader = reader
        self.definition = lru_cache(maxsize=None)(self._definition)
        self.bases = lru_cache(maxsize=None)(self._bases)
        self.subclasses = lru_cache(maxsize=None)(self._subclasses)

    def _definition(self, owner: ClassId) -> Definition | None:
        for definition in self._code.facts(owner.path).definitions:
            if definition.kind == "class" and definition.qualname == owner.qualname:
                return definition
        return None

    def members(self, owner: ClassId, name: str) -> tuple[Definition, ...]:
        """Definitions of a name in the class's own body or on `self` in its methods."""
        found = self._code.facts(owner.path).definitions
        return tuple(d for d in found if d.scope == owner.qualname and d.name == name)

    def _bases(self, owner: ClassId) -> Bases:
        known: list[ClassId] = []
        external: list[str] = []
        definitions = self._code.facts(owner.path).definitions
        for definition in definitions:
            if definition.kind != "class" or definition.qualname != owner.qualname:
                continue
            for text in definition.bases:
                meaning = self._reader.base(owner.path, definition, text)
                if meaning.kind == "class" and meaning.owner is not None and meaning.owner != owner:
                    known.append(meaning.owner)
                elif text not in {
                    "object",
                    "Generic",
                    "Protocol",
                    "t.Generic",
                    "t.Protocol",
                    "typing.Generic",
                    "typing.Protocol",
                    "te.Protocol",
                }:
                    external.append(text)
        return Bases(tuple(dict.fromkeys(known)), tuple(external))

    def ancestors(self, owner: ClassId) -> tuple[ClassId, ...]:
        """The class and its bases in the tree, in the order of look-up (depth first, a close stand-in for C3)."""
        order: dict[ClassId, None] = {}
        pending = [owner]
        while pending:
            current = pending.pop()
            if current not in order:
                order[current] = None
                pending.extend(reversed(self.bases(current).known))
        return tuple(order)

    def _subclasses(self, owner: ClassId) -> tuple[ClassId, ...]:
        """Direct subclasses."""
        short = owner.qualname.rpartition(".")[2]
        found: dict[ClassId, None] = {}
        for path in self._based_on.get(short, ()):
            for definition in self._code.facts(path).definitions:
                candidate = ClassId(path, definition.qualname)
                if definition.kind == "class" and definition.bases and owner in self.bases(candidate).known:
                    found[candidate] = None
        return tuple(found)

    @cached_property
    def _based_on(self) -> Mapping[str, list[str]]:
        """For each last name of a base class, and each name imported under another, the files that may derive from it."""
        found: dict[str, list[str]] = {}
        paths = self._code.modules.python_paths
        names = self._code.index.base_names(self._code.entries[path].blob for path in paths)
        for path in paths:
            for name in names[self._code.entries[path].blob]:
                found.setdefault(name, []).append(path)
        return found

    def descendants(self, owner: ClassId) -> tuple[ClassId, ...]:
        """The class and all that inherit from it."""
        reached: dict[ClassId, None] = {}
        pending = [owner]
        while pending:
            current = pending.pop()
            if current not in reached:
                reached[current] = None
                pending.extend(self.subclasses(current))
        return tuple(reached)

    def family(self, owner: ClassId, name: str) -> Family:
        """The family of `owner.name`, closed over bases and subclasses."""
        owners: set[ClassId] = set()
        related: set[ClassId] = set()
        pending = [owner]
        while pending:
            current = pending.pop()
            if current in owners:
                continue
            owners.add(current)
            for descendant in self.descendants(current):
                related.add(descendant)
                pending.extend(a for a in self.ancestors(descendant) if a not in owners and self.members(a, name))
        ancestry = {ancestor for one in related for ancestor in self.ancestors(one)}
        external = tuple((one, text) for one in sorted(ancestry) for text in self.bases(one).external)
        return Family(frozenset(owners), frozenset(related), external)

    def finds(self, owner: ClassId, name: str, *, after: bool = False) -> ClassId | None:
        """The class in which look-up of a name on `owner` ends; with `after`, the look-up of `super()`."""
        for ancestor in self.ancestors(owner)[1 if after else 0 :]:
            if self.members(ancestor, name):
                return ancestor
        return None

    def is_rooted_here(self, owner: ClassId) -> bool:
        """All its bases are classes of the tree."""
        return not any(self.bases(ancestor).external for ancestor in self.ancestors(owner))
