"""The terrain of one tree: its code index, the resolvers beside it, and the questions that recipes ask of both."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cavalcade.content.port import TreeReader
from cavalcade.kernel.errors import ServerGone
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol.plan import Place
from cavalcade.terrain.affected import AffectedTests, ImportGraph, affected_tests
from cavalcade.terrain.classes import Classes, Family
from cavalcade.terrain.codetree import CodeTree
from cavalcade.terrain.files import Files
from cavalcade.terrain.index import Index
from cavalcade.terrain.judges import Judge, MemberJudge, ModuleJudge, ModuleLevelJudge, ParameterJudge
from cavalcade.terrain.meaning import ClassId, Reader
from cavalcade.terrain.references import Findings, Search
from cavalcade.terrain.resolvers import Pyrefly, Resolver, Spot, Ty
from cavalcade.terrain.symbols import Symbol, Symbols
from cavalcade.terrain.tokens import Role, word_pattern

_MOST_OWNERS_ASKED = 24
"""A resolver is asked for the references of that many members of a family; the rest is found by asking each candidate."""


class Terrain:
    """Made by `open`. Nothing is read or started before it is asked for."""

    def __init__(
        self,
        reader: TreeReader,
        tree: TreeId,
        index: Index,
        workspace: Path,
        python: Path | None,
        *,
        tests_matter: bool = True,
    ) -> None:
        self.code = CodeTree(reader, index, tree)
        self.files = Files(reader, self.code, workspace)
        self.reader = Reader(self.code, self.files.python)
        self.classes = Classes(self.code, self.reader)
        self.symbols = Symbols(self.code, self.files, self.classes)
        self.graph = ImportGraph(self.code)
        self._tests_matter = tests_matter
        environ = _tool_environment(os.environ)
        self.ty: Resolver = Ty(workspace, self.files.text, environ=environ, python=python, roots=self._roots)
        self.pyrefly: Resolver = Pyrefly(workspace, self.files.text, environ=environ, python=python, roots=self._roots)

    def _roots(self) -> tuple[str, ...]:
        return self.code.modules.roots

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        reader: TreeReader,
        tree: TreeId,
        *,
        workspace: Path,
        cache: Path | None,
        python: Path | None = None,
        tests_matter: bool = True,
    ) -> AsyncGenerator[Terrain]:
        """`workspace` is a folder that holds `tree`; `cache` the index's file; `python` the interpreter of the project's environment.

        `tests_matter`: `affected_tests` will be asked, so the import graph is made while a resolver is at work.

        Resolver processes start at the first need and are gone when this is left.
        """
        index = Index(reader, cache)
        terrain = cls(reader, tree, index, workspace, python, tests_matter=tests_matter)
        try:
            yield terrain
        finally:
            await terrain.ty.aclose()
            await terrain.pyrefly.aclose()
            index.close()

    def warm(self) -> None:
        """Starts the first resolver in the background."""
        self.ty.warm()

    def find(self, text: str) -> Symbol:
        """Raises SymbolNotFound, SymbolAmbiguous."""
        return self.symbols.find(text)

    def occurrences(self, word: str) -> Iterator[tuple[Place, Role | None]]:
        """Every place of a word in the tree and what it is there; None in files that are not Python."""
        for path in self.files.with_word(word):
            source = self.files.text(path)
            if self.code.modules.name(path):
                for token in self.files.python(path).tokens(word):
                    yield self.code.place(path, token.start), token.role
            elif source is not None:
                for match in word_pattern(word).finditer(source.body):
                    yield source.place(path, match.start()), None

    def family(self, symbol: Symbol) -> Family:
        """The classes that share a member's name; empty for what is no member."""
        if symbol.owner is None:
            return Family(frozenset(), frozenset(), ())
        return self.classes.family(symbol.owner, symbol.name.rpartition(".")[2])

    def judge(self, symbol: Symbol, functions: frozenset[ClassId] = frozenset()) -> Judge:
        """`functions` are those that share a parameter, for a parameter."""
        if symbol.kind == "module":
            return ModuleJudge(self.code, self.reader, self.files.python, symbol.module)
        if symbol.kind == "parameter":
            return ParameterJudge(self.reader, self.files.python, self.classes, functions, symbol.name)
        if symbol.owner is not None:
            return MemberJudge(self.reader, self.files.python, self.classes, self.family(symbol), symbol.name)
        return ModuleLevelJudge(self.code, self.reader, self.files.python, frozenset(symbol.homes), symbol.name)

    def definitions(self, symbol: Symbol, functions: Iterable[ClassId] = ()) -> tuple[Spot, ...]:
        """Where a symbol is defined, its family included."""
        if symbol.kind == "parameter":
            tokens = (self.symbols.parameters(function)[symbol.name] for function in sorted(functions))
            return tuple(Spot(token.path, token.start) for token in tokens)
        if symbol.kind == "module":
            return tuple(Spot(path, 0) for path in symbol.homes)
        return self.symbols.spots(symbol, sorted(self.family(symbol).owners))

    async def references(self, symbol: Symbol, functions: frozenset[ClassId] = frozenset()) -> Findings:
        """Every occurrence of the symbol's word, by what it is."""
        spots = self.definitions(symbol, functions)
        asked = spots if symbol.owner is None else tuple({spot.path: spot for spot in spots}.values())
        if symbol.kind == "module":
            asked = ()
        search = Search(self.files, self.ty, self.pyrefly, meanwhile=self._meanwhile)
        named = tuple(spot for function in functions for spot in self._function_spots(function))
        return await search.run(
            symbol.name, self.judge(symbol, functions), asked[:_MOST_OWNERS_ASKED], known=(*spots, *named)
        )

    def _meanwhile(self) -> None:
        if self._tests_matter:
            _ = self.graph.importers

    def _function_spots(self, function: ClassId) -> tuple[Spot, ...]:
        found = self.code.facts(function.path).definitions
        return tuple(Spot(function.path, d.start) for d in found if d.qualname == function.qualname)

    async def defined_outside(self, family: Family, name: str) -> tuple[dict[str, str], dict[str, str]]:
        """Bases outside the tree: those that define the name, each with where; and those nobody can look into, each with its class."""
        defining: dict[str, str] = {}
        unseen: dict[str, str] = {}
        for owner, base in family.external:
            try:
                spots = await self.ty.probe(owner.path, base, name)
            except ServerGone:
                spots = None
            if spots:
                defining[base] = f"{owner.path}:{owner.qualname}"
            elif spots is None:
                unseen[base] = f"{owner.path}:{owner.qualname}"
        return defining, unseen

    def dependents(self, paths: Iterable[str]) -> set[str]:
        """The paths and all that import them, transitively."""
        return self.graph.dependents(paths)

    def affected_tests(self, changed: Iterable[str]) -> AffectedTests:
        return affected_tests(self.code, changed, self.graph)


def _tool_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a resolver gets of the environment: where it may look for programs and keep its cache; nothing that leads it elsewhere."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME")
    return {name: environ[name] for name in kept if name in environ}
