"""Renaming or moving a module or package: its files, and everything that imports or names it."""

from __future__ import annotations

import keyword
import re
import sys

from cavalcade.kernel.errors import NameNotUsable, RecipeRefused
from cavalcade.protocol.plan import EditKind, Mention, Place
from cavalcade.recipes import names
from cavalcade.recipes.edits import EditSet, Replacement, dedupe
from cavalcade.recipes.move_imports import ImportMover
from cavalcade.recipes.port import Outcome
from cavalcade.terrain.references import Findings
from cavalcade.terrain.source import SourceText
from cavalcade.terrain.symbols import Symbol
from cavalcade.terrain.terrain import Terrain
from cavalcade.terrain.tokens import Token, word_pattern

_FIXED = frozenset({"__init__", "__main__", "conftest", "setup"})
_IMPORTS_BY_NAME = re.compile(rb"(?:import_module|__import__|importorskip|patch|run_module|find_spec)\(\s*[rb]?[\"']\Z")
_DOCUMENTS = (".rst", ".md", ".txt", ".html", ".adoc", ".po", ".pot")


async def rename_module(terrain: Terrain, symbol: Symbol, to: str, mentions: tuple[Mention, ...]) -> Outcome:
    """`to` is a dotted name, or one word for a new name in the same package. Raises NameNotUsable, RecipeRefused."""
    new = _new_name(symbol, to)
    moves = _moves(terrain, symbol, new)
    _check_free(terrain, new, moves)
    findings = await terrain.references(symbol)
    return _ModulePlan(terrain, symbol, new, moves, mentions).outcome(findings)


def _new_name(symbol: Symbol, to: str) -> str:
    to = to.removesuffix(".py").replace("/", ".") if "/" in to else to
    parent = symbol.module.rpartition(".")[0]
    new = f"{parent}.{to}" if parent and "." not in to else to
    for part in new.split("."):
        if not part.isidentifier() or keyword.iskeyword(part):
            raise NameNotUsable(f"{part!r} can't be part of a module's name", expected="identifiers with dots between")
    if new == symbol.module:
        raise NameNotUsable(f"{new} already has that name", hint="give another new name")
    if symbol.name in _FIXED:
        raise RecipeRefused(
            f"{symbol.module} is found by its name", hint="Python or pytest look for a file of exactly this name"
        )
    if new.startswith(symbol.module + "."):
        raise RecipeRefused(f"{symbol.module} can't be moved into itself", expected="a name outside of it")
    return new


def _moves(terrain: Terrain, symbol: Symbol, new: str) -> dict[str, str]:
    """Old path to new path: the module's file and stub, or all files of a package."""
    inside, target = symbol.module.replace(".", "/"), new.replace(".", "/")
    moves: dict[str, str] = {}
    folders: set[str] = set()
    for path in symbol.homes:
        stem, _, suffix = path.rpartition(".")
        if stem.endswith(f"{inside}/__init__"):
            folders.add(stem.removesuffix("/__init__"))
        elif stem == inside or stem.endswith("/" + inside):
            moves[path] = f"{stem.removesuffix(inside)}{target}.{suffix}"
    if not symbol.homes:
        folders.update(root + "/" + inside if root else inside for root in terrain.code.modules.roots)
    for folder in folders:
        root = folder.removesuffix(inside)
        for path in terrain.code.entries:
            if path.startswith(folder + "/"):
                moves[path] = f"{root}{target}{path.removeprefix(folder)}"
    if not moves:
        raise RecipeRefused(f"no file of {symbol.module} stands where its name says", places=symbol.homes)
    return moves


def _check_free(terrain: Terrain, new: str, moves: dict[str, str]) -> None:
    code = terrain.code
    taken = [path for path in moves.values() if path in code.entries]
    if taken or code.modules.exists(new):
        places = tuple(taken) or code.modules.paths(new) or (new,)
        raise NameNotUsable(f"there is a module {new} already", expected="a free name", places=places)
    package, _, name = new.rpartition(".")
    if package and not code.modules.exists(package):
        raise NameNotUsable(
            f"there is no package {package} to hold {name}", hint="make the package first, with an __init__.py"
        )
    if package and not code.modules.is_package((code.modules.paths(package) or ("__init__.py",))[0]):
        raise NameNotUsable(f"{package} is a module, not a package", places=code.modules.paths(package))
    for origin in code.origins(package, name) or () if package else ():
        if origin.definition is not None:
            place = f"{origin.path}:{origin.definition.line}"
            raise NameNotUsable(f"package {package} has a {origin.definition.kind} {name!r}", places=(place,))
    if not package and name in sys.stdlib_module_names:
        raise NameNotUsable(f"{name!r} is a module of the standard library", hint="it would hide it")


class _ModulePlan:
    def __init__(
        self, terrain: Terrain, symbol: Symbol, new: str, moves: dict[str, str], mentions: tuple[Mention, ...]
    ) -> None:
        self._terrain = terrain
        self._symbol = symbol
        self._new = new
        self._moves = moves
        self._asked = mentions
        self._edits = EditSet(terrain)
        self._mentions: list[Place] = []
        self._same_parent = symbol.module.rpartition(".")[0] == new.rpartition(".")[0]
        self._short = new.rpartition(".")[2]

    def outcome(self, findings: Findings) -> Outcome:
        if self._short != self._symbol.name:
            self._check_scopes(findings)
        self._take_code(findings)
        for token in findings.text:
            source = self._terrain.files.python(token.path).source
            self._take_text(token.path, source, token.start, token.end, token)
        self._take_documents()
        for old, new in self._moves.items():
            self._edits.move(old, new)
        return Outcome(
            edits=self._edits.file_edits(),
            unresolved=dedupe(self._edits.places("residual")),
            mentions=dedupe(self._mentions),
            problems=self._problems(findings),
        )

    def _check_scopes(self, findings: Findings) -> None:
        """Nothing that sees the module by its short name may have the new one already."""
        by_path: dict[str, list[Token]] = {}
        for token in findings.same:
            if token.role in {"load", "import", "alias", "bind", "global"} or self._is_root(token):
                by_path.setdefault(token.path, []).append(token)
        for path, tokens in by_path.items():
            names.check_scopes(self._terrain, self._terrain.files.python(path), tokens, self._short, set())

    def _is_root(self, token: Token) -> bool:
        return token.role == "module" and "." not in self._symbol.module

    def _take_code(self, findings: Findings) -> None:
        mover = ImportMover(self._terrain, self._symbol.module, self._new, self._moves)
        if self._same_parent:
            for token in findings.same:
                self._edits.add("reference", token.path, Replacement(token.start, token.end, self._short))
        else:
            for path in sorted({token.path for token in findings.same}):
                for kind, replacement in mover.rewrite(path, [t for t in findings.same if t.path == path]):
                    self._edits.add(kind, path, replacement)
            for path in self._moves:
                if self._terrain.code.modules.name(path):
                    for replacement in mover.relative_imports(path):
                        self._edits.add("reference", path, replacement)
        for token, why in findings.unknown:
            if token.role != "attribute":
                self._edits.add("residual", token.path, Replacement(token.start, token.end, self._short, why))
        for token in findings.broken:
            why = "in a file with syntax errors"
            self._edits.add("residual", token.path, Replacement(token.start, token.end, self._short, why))

    def _take_text(self, path: str, source: SourceText, start: int, end: int, token: Token | None) -> None:
        """Only dotted names and paths that end in the module count: its last name alone is a common word."""
        old = self._symbol.module
        if token is not None and token.role == "export":
            self._take_export(path, start, end)
            return
        for full, replaced in ((old, self._new), (old.replace(".", "/"), self._new.replace(".", "/"))):
            first = end - len(full.encode())
            if (
                first < 0
                or source.body[first:end] != full.encode()
                or re.match(rb"[\w.]", source.body[max(first - 1, 0) : first])
            ):
                continue
            kind, sort, why = self._sort(path, source, first, token)
            if sort is None:
                self._mentions.append(source.place(path, first, why))
            elif kind in self._asked and sort == "residual":
                self._edits.add("mention", path, Replacement(first, end, replaced, why))
            else:
                self._edits.add(sort, path, Replacement(first, end, replaced, why))
            return

    def _take_export(self, path: str, start: int, end: int) -> None:
        module = self._terrain.code.modules.name(path)
        origins = self._terrain.code.origins(module, self._symbol.name) or ()
        here = module == self._symbol.module.rpartition(".")[0] or any(o.module == self._symbol.module for o in origins)
        if here and not any(o.definition is not None for o in origins):
            self._edits.add("reference", path, Replacement(start, end, self._short, "__all__"))

    def _sort(
        self, path: str, source: SourceText, start: int, token: Token | None
    ) -> tuple[Mention, EditKind | None, str]:
        if token is None:
            if path.lower().endswith(_DOCUMENTS):
                return "docs", "mention" if "docs" in self._asked else None, "document"
            return "strings", "residual", "the module's name outside Python"
        if token.role in {"docstring", "comment"}:
            kind: Mention = "docs" if token.role == "docstring" else "comments"
            return kind, "mention" if kind in self._asked else None, token.role
        if _IMPORTS_BY_NAME.search(source.body[max(0, start - 60) : start]):
            return "strings", "reference", "imported by its name"
        return "docs" if token.role == "doctest" else "strings", "residual", "the module's name in a string"

    def _take_documents(self) -> None:
        pattern = word_pattern(self._symbol.name)
        for path in self._terrain.files.with_word(self._symbol.name):
            source = self._terrain.files.text(path)
            if source is None or self._terrain.code.modules.name(path):
                continue
            for match in pattern.finditer(source.body):
                self._take_text(path, source, *match.span(), None)

    def _problems(self, findings: Findings) -> tuple[Place, ...]:
        places: list[Place] = []
        for path in sorted({token.path for token in findings.broken}):
            problem = self._terrain.code.facts(path).problems[0]
            places.append(self._terrain.code.place(path, problem.start, "syntax error"))
        return tuple(places)
