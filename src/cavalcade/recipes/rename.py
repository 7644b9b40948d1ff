"""Recipe *rename*: a function, class, variable, method, attribute or parameter; modules are in `rename_module.py`.

What changes for certain: what syntax, scopes and imports prove, what a resolver confirms, `__all__` entries and stubs. What may mean the
symbol and can't be proven becomes a residual edit and is listed. Plain text is a mention.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cavalcade.kernel.errors import RecipeRefused, UsageError
from cavalcade.protocol.decision import Alternative, Decision
from cavalcade.protocol.plan import EditKind, Mention, Place, RecipeCall
from cavalcade.recipes import names
from cavalcade.recipes.edits import EditSet, Replacement, dedupe
from cavalcade.recipes.exports import reordered
from cavalcade.recipes.port import Outcome
from cavalcade.recipes.rename_module import rename_module
from cavalcade.recipes.textual import Reading, Texts
from cavalcade.terrain.classes import Family
from cavalcade.terrain.meaning import ClassId
from cavalcade.terrain.references import Findings
from cavalcade.terrain.source import SourceText
from cavalcade.terrain.symbols import Symbol
from cavalcade.terrain.terrain import Terrain
from cavalcade.terrain.tokens import Token, word_pattern

_DUNDER = re.compile(r"__\w+__\Z")
_TELLING = re.compile(r".*(_\w|[a-z0-9][A-Z])")
"""A word that prose would not use by chance: it has an underscore within or a capital."""

_DESCRIBED = re.compile(rb" ?[:=]| \(")
"""What follows a parameter in the usual styles of docstrings: `:param x:`, `x : int`, `x (int): `, `x=1`."""


@dataclass(frozen=True)
class Rename:
    """`symbol` and `to` are the arguments of the call."""

    name: str = "rename"
    summary: str = "gives a symbol a new name wherever it is used, re-exported or listed"
    usage: tuple[str, ...] = (
        "rename flask.helpers:get_root_path to find_root_path",
        "rename click.core:Command.invoke to run",
        "rename click.utils:echo(nl) to newline",
        "rename module jinja2.nodes to jinja2.syntax",
    )

    async def plan(self, call: RecipeCall, terrain: Terrain) -> Outcome:
        """Raises SymbolNotFound, SymbolAmbiguous, NameNotUsable, RecipeRefused."""
        try:
            asked, new = call.arguments["symbol"], call.arguments["to"].strip()
        except KeyError as exc:
            raise UsageError(
                f"rename needs {exc.args[0]!r}", expected="a symbol and its new name", hint=self.usage[0]
            ) from exc
        terrain.warm()
        kind, _, rest = asked.strip().partition(" ")
        symbol = terrain.symbols.module(rest) if kind == "module" and rest else terrain.find(asked)
        if symbol.kind == "module":
            return await rename_module(terrain, symbol, new, call.mentions)
        names.check_word(symbol.name, new)
        return await _Plan(terrain, symbol, new, call.mentions).outcome()


class _Plan:
    def __init__(self, terrain: Terrain, symbol: Symbol, new: str, mentions: tuple[Mention, ...]) -> None:
        self._terrain = terrain
        self._symbol = symbol
        self._new = new
        self._asked = mentions
        self._edits = EditSet(terrain)
        self._mentions: list[Place] = []
        self._unresolved: list[Place] = []
        self._decisions: list[Decision] = []

    async def outcome(self) -> Outcome:
        terrain, symbol = self._terrain, self._symbol
        family = terrain.family(symbol)
        functions = self._functions(family)
        await self._check_family(family)
        findings = await terrain.references(symbol, functions)
        self._check_name(family, functions, findings)
        self._take_code(findings)
        self._take_text(findings)
        self._take_documents()
        self._note_silence(findings)
        return Outcome(
            edits=self._edits.file_edits(),
            unresolved=dedupe([*self._unresolved, *self._edits.places("residual")]),
            mentions=dedupe(self._mentions),
            problems=_problems(terrain, findings),
            decisions=tuple(self._decisions),
        )

    def _functions(self, family: Family) -> frozenset[ClassId]:
        """The functions that share a parameter: the function, or the overrides of a method that have it too."""
        symbol = self._symbol
        if symbol.kind != "parameter":
            return frozenset()
        method = symbol.qualname.rpartition(".")[2]
        here = {
            ClassId(path, symbol.qualname)
            for path in symbol.homes
            if self._has_parameter(ClassId(path, symbol.qualname))
        }
        if symbol.owner is None or method == "__init__":
            return frozenset(here | {ClassId(symbol.path, symbol.qualname)})
        family = self._terrain.classes.family(symbol.owner, method)
        others = {ClassId(owner.path, f"{owner.qualname}.{method}") for owner in family.owners}
        sharing = {other for other in others if self._has_parameter(other)}
        if len(sharing) > 1:
            self._decide_family(
                f"Which definitions of {method} take the parameter {symbol.name} along?", sorted(sharing)
            )
        return frozenset(here | sharing)

    def _has_parameter(self, function: ClassId) -> bool:
        return self._symbol.name in self._terrain.symbols.parameters(function)

    async def _check_family(self, family: Family) -> None:
        """Refuses what Python or a base outside the tree calls by its name."""
        symbol = self._symbol
        if symbol.kind == "parameter" or symbol.owner is None:
            return
        if _DUNDER.match(symbol.name):
            raise RecipeRefused(
                f"{symbol} is called by Python itself under that name", hint="a special method keeps its name"
            )
        defining, unseen = await self._terrain.defined_outside(family, symbol.name)
        for base, place in sorted(defining.items()):
            raise RecipeRefused(
                f"{symbol} overrides {base}.{symbol.name}, which is defined outside this repository",
                expected="a method that only this repository defines",
                hint="whoever calls it through that base would no longer find it",
                places=(place,),
            )
        if len(family.owners) > 1:
            self._decide_family(f"Which definitions of {symbol.name} change together?", sorted(family.owners))
        if unseen:
            bases = ", ".join(f"{base} (of {place})" for base, place in sorted(unseen.items()))
            self._decisions.append(
                Decision(
                    question=f"Do bases outside the repository define {symbol.name}?",
                    choice="taken as not",
                    rationale=f"their source is not to be seen from here: {bases}",
                    rejected=(Alternative(choice="refuse", why="most such bases don't"),),
                    confidence=0.7,
                )
            )

    def _decide_family(self, question: str, members: list[ClassId]) -> None:
        listed = ", ".join(f"{path}:{name}" for path, name in members)
        self._decisions.append(
            Decision(
                question=question,
                choice=listed,
                rationale="they override or are overridden by each other, so a call through one may reach any of them",
                rejected=(
                    Alternative(
                        choice="only the one named", why="calls through a base or subclass would find the old name"
                    ),
                    Alternative(
                        choice="every definition by that name",
                        why="classes without common ancestry mean something else",
                    ),
                ),
                confidence=0.95,
            )
        )

    def _check_name(self, family: Family, functions: frozenset[ClassId], findings: Findings) -> None:
        if self._symbol.kind == "parameter":
            names.check_parameter(self._terrain, functions, self._new, findings.same)
        elif self._symbol.owner is not None:
            names.check_member(self._terrain, family, self._new)
        else:
            names.check_module_level(self._terrain, self._symbol, self._new, findings.same)
            if names.shadows_builtin(self._new):
                self._decisions.append(
                    Decision(
                        question=f"May {self._new} hide the builtin of that name?",
                        choice="yes",
                        rationale="no file that sees the new name uses the builtin",
                        confidence=0.8,
                    )
                )

    def _take_code(self, findings: Findings) -> None:
        for token in findings.same:
            self._replace("reference", token, "")
        for token, why in findings.unknown:
            self._replace("residual", token, why)
        for token in findings.broken:
            self._replace("residual", token, "in a file with syntax errors")

    def _replace(self, kind: EditKind, token: Token, why: str) -> None:
        self._edits.add(kind, token.path, Replacement(token.start, token.end, self._new, why))

    def _take_text(self, findings: Findings) -> None:
        texts = Texts(self._terrain, self._symbol, findings)
        near = {token.path for token in findings.same}
        for token in findings.text:
            if self._symbol.kind == "parameter" and not self._concerns_parameter(token, near):
                continue
            source = self._terrain.files.python(token.path).source
            reading = texts.read(token)
            if token.role == "export" and reading.sort == "reference":
                for replacement in reordered(token, self._new):
                    self._edits.add("reference", token.path, replacement)
            self._take_reading(reading, token.path, source, token.start, token.end)

    def _concerns_parameter(self, token: Token, near: set[str]) -> bool:
        """A parameter's name is a common word: only text in files that use it, and docstrings of its own functions, are its business."""
        return token.path in near

    def _take_documents(self) -> None:
        if self._symbol.kind == "parameter":
            return
        texts = Texts(self._terrain, self._symbol, Findings())
        pattern = word_pattern(self._symbol.name)
        for path in self._terrain.files.with_word(self._symbol.name):
            source = self._terrain.files.text(path)
            if source is None or self._terrain.code.modules.name(path):
                continue
            for match in pattern.finditer(source.body):
                self._take_reading(texts.document(path, source, *match.span()), path, source, *match.span())

    def _take_reading(self, reading: Reading, path: str, source: SourceText, start: int, end: int) -> None:
        replacement = Replacement(start, end, self._new, reading.why)
        if reading.sort == "reference":
            self._edits.add("reference", path, replacement)
        elif reading.kind in self._asked and (reading.sort == "unresolved" or self._is_telling(source, start, end)):
            self._edits.add("mention", path, replacement)
        elif reading.sort == "unresolved":
            self._edits.add("residual", path, replacement)
        else:
            self._mentions.append(source.place(path, start, reading.why))

    def _is_telling(self, source: SourceText, start: int, end: int) -> bool:
        """A plain English word is changed in prose only where it is written as code."""
        if _TELLING.match(self._symbol.name):
            return True
        before, after = source.body[start - 1 : start], source.body[end : end + 1]
        if self._symbol.kind == "parameter" and _DESCRIBED.match(source.body, end):
            return True
        return before in {b"`", b".", b":", b"~"} or after in {b"`", b"("}

    def _note_silence(self, findings: Findings) -> None:
        for resolver, why in sorted(findings.silent.items()):
            self._decisions.append(
                Decision(
                    question=f"What does {resolver} say?",
                    choice="went on without it",
                    rationale=why,
                    rejected=(
                        Alternative(choice="stop", why="what it would have settled is listed as unresolved instead"),
                    ),
                    confidence=0.6,
                )
            )


def _problems(terrain: Terrain, findings: Findings) -> tuple[Place, ...]:
    """Files that could not be read wholly, among those in which the word stands."""
    paths = {token.path for group in (findings.same, findings.other, findings.text, findings.broken) for token in group}
    found: list[Place] = []
    for path in sorted(paths):
        source = terrain.files.python(path).source
        if source.odd:
            found.append(Place(path=path, line=1, text=source.line_text(1), why=source.odd))
        problem = next(iter(terrain.code.facts(path).problems), None)
        if problem is not None:
            found.append(source.place(path, problem.start, "syntax error"))
    return tuple(found)
