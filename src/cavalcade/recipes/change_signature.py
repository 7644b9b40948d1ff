"""Recipe *change signature*: the definition gets the new signature, old calls go on through a wrapper, known callers are rewritten.

Where every old call means the same under the new signature (parameters added behind the others, with defaults), there is no wrapper
and no caller changes. Overrides change together. What can't be rewritten (`*args`, values passed on, unknown types) is listed: the
wrapper takes it, with a DeprecationWarning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tree_sitter import Node

from cavalcade.kernel.errors import RecipeRefused, UsageError
from cavalcade.protocol.decision import Alternative, Decision
from cavalcade.protocol.plan import EditKind, Mention, Place, RecipeCall
from cavalcade.recipes.edits import EditSet, Replacement, dedupe
from cavalcade.recipes.port import FileEdit, Outcome
from cavalcade.recipes.signature import Change, change_to, shown
from cavalcade.recipes.signature_calls import Left, may_be_meant, rewrite_call
from cavalcade.recipes.signature_definitions import Definition, check, definitions, list_and_body, mentions, wrappers
from cavalcade.terrain.classes import Family
from cavalcade.terrain.judges import MemberJudge
from cavalcade.terrain.meaning import ClassId
from cavalcade.terrain.python import text_of
from cavalcade.terrain.references import Findings, Search
from cavalcade.terrain.symbols import Symbol
from cavalcade.terrain.terrain import Terrain
from cavalcade.terrain.tokens import Token

_BY_WRAPPER = "goes through the wrapper"


@dataclass(frozen=True)
class ChangeSignature:
    """`symbol` and `to` are the arguments of the call; `to` is the new parameter list, see `signature.py`."""

    name: str = "change-signature"
    summary: str = "gives a function new parameters, rewrites its callers, and lets old calls go on"
    usage: tuple[str, ...] = (
        "change signature of shop.prices:total to (items, currency, *, rounding=2)",
        "change signature of shop.prices:total to (amount as money, currency)",
        "change signature of shop.cart:Cart.add to (item, *, count)",
    )

    async def plan(self, call: RecipeCall, terrain: Terrain) -> Outcome:
        """Raises SymbolNotFound, SymbolAmbiguous, NameNotUsable, RecipeRefused."""
        try:
            asked, to = call.arguments["symbol"], call.arguments["to"]
        except KeyError as exc:
            raise UsageError(
                f"change-signature needs {exc.args[0]!r}",
                expected="a function and its new parameters",
                hint=self.usage[0],
            ) from exc
        terrain.warm()
        symbol = _callable(terrain, terrain.find(asked))
        return await _Plan(terrain, symbol, to, call.mentions).outcome()


def _callable(terrain: Terrain, symbol: Symbol) -> Symbol:
    """The function that is called by the symbol: for a class its own `__init__`."""
    if symbol.kind == "class":
        owner = ClassId(symbol.path, symbol.qualname)
        if terrain.classes.finds(owner, "__init__") != owner:
            raise RecipeRefused(
                f"{symbol} has no __init__ of its own",
                hint="name the class whose __init__ is to change, or add the field by hand",
            )
        qualname = f"{symbol.qualname}.__init__"
        return Symbol("method", symbol.module, symbol.path, qualname, "__init__", symbol.homes, owner)
    if symbol.kind not in {"function", "method"}:
        raise RecipeRefused(f"{symbol} is a {symbol.kind}", expected="a function, a method or a class with an __init__")
    if symbol.name.startswith("__") and symbol.name.endswith("__") and symbol.name != "__init__":
        raise RecipeRefused(f"{symbol} is called by Python itself, in the way it is now")
    return symbol


class _Plan:
    def __init__(self, terrain: Terrain, symbol: Symbol, to: str, asked: tuple[Mention, ...]) -> None:
        self._terrain = terrain
        self._symbol = symbol
        self._to = to
        self._asked = asked
        self._edits = EditSet(terrain)
        self._wanted: dict[str, list[Replacement]] = {}
        self._unresolved: list[Place] = []
        self._mentions: list[Place] = []
        self._problems: list[Place] = []
        self._decisions: list[Decision] = []

    async def outcome(self) -> Outcome:
        family = self._family()
        found = definitions(self._terrain, self._functions(family))
        primary = self._primary(found)
        receiver = primary.parameters[0].name if primary.skip else ""
        change = change_to(primary.own, self._to, receiver=receiver)
        if change.new == tuple(replace(parameter, source=parameter.name) for parameter in change.old):
            raise RecipeRefused(f"{self._symbol} has that signature already: {shown(change.old)}")
        for definition in found:
            check(definition, change)
        await self._check_family(family, change)
        self._change_definitions(found, change)
        if change.needs_wrapper:
            await self._change_callers(family, primary, change)
        self._decide(found, change)
        self._settle()
        return Outcome(
            edits=self._grouped({definition.path for definition in found}),
            unresolved=dedupe(self._unresolved),
            mentions=dedupe(self._mentions),
            problems=dedupe(self._problems),
            decisions=tuple(self._decisions),
        )

    def _family(self) -> Family:
        """Constructors don't stand in for each other: an `__init__` changes alone."""
        owner = self._symbol.owner
        if owner is not None and self._symbol.name == "__init__":
            inheriting = {
                one
                for one in self._terrain.classes.descendants(owner)
                if self._terrain.classes.finds(one, "__init__") == owner
            }
            return Family(frozenset({owner}), frozenset(inheriting), ())
        return self._terrain.family(self._symbol)

    def _functions(self, family: Family) -> set[ClassId]:
        symbol, modules = self._symbol, self._terrain.code.modules
        if symbol.owner is None:
            return {ClassId(path, symbol.qualname) for path in symbol.homes}
        return {
            ClassId(path, f"{owner.qualname}.{symbol.name}")
            for owner in family.owners
            for path in modules.paths(modules.name(owner.path))
        }

    def _primary(self, found: list[Definition]) -> Definition:
        """The one that runs when the symbol is called."""
        own = [d for d in found if d.path == self._symbol.path and d.file.qualname(d.node) == self._symbol.qualname]
        running = [definition for definition in own if "overload" not in definition.decorators] or own
        if not running:
            raise RecipeRefused(f"{self._symbol} is not written as a `def`, so it has no signature that can be changed")
        return running[-1]

    async def _check_family(self, family: Family, change: Change) -> None:
        """A reorder that a base outside the tree doesn't know of can't be proven."""
        if not change.reorders or self._symbol.owner is None:
            return
        defining, unseen = await self._terrain.defined_outside(family, self._symbol.name)
        for base, place in sorted({**unseen, **defining}.items()):
            raise RecipeRefused(
                f"{self._symbol} may be called through {base}, which is not in this repository, in the order there is now",
                expected="a hierarchy whose classes are all in this repository",
                hint="make the parameters keyword-only instead: `*` in front of them",
                places=(place,),
            )

    def _change_definitions(self, found: list[Definition], change: Change) -> None:
        by_file: dict[str, list[Definition]] = {}
        for definition in found:
            by_file.setdefault(definition.path, []).append(definition)
            self._add(definition.path, list_and_body(definition, change))
            self._mention(definition, change)
        for path, inside in by_file.items():
            wrapped = [d for d in inside if "overload" not in d.decorators and not d.is_stub]
            wrapped = [d for d in wrapped if [p.kind for p in d.own] != ["rest", "keywords"]]
            if change.needs_wrapper and wrapped:
                self._add(path, wrappers(wrapped[0].file, wrapped, change))

    def _mention(self, definition: Definition, change: Change) -> None:
        for token, new in mentions(definition, change):
            kind: Mention = "comments" if token.role == "comment" else "docs"
            if kind in self._asked and new:
                self._edits.add("mention", token.path, Replacement(token.start, token.end, new))
            else:
                self._mentions.append(self._place(token, f"a {token.role} that speaks of the parameter"))

    async def _change_callers(self, family: Family, primary: Definition, change: Change) -> None:
        findings = await self._references(family)
        for token in findings.same:
            self._use(token, primary, change)
        if self._symbol.name == "__init__":
            await self._change_constructions(family, change)
        self._leave_unknown(findings, primary, change)

    async def _references(self, family: Family) -> Findings:
        if self._symbol.name != "__init__":
            return await self._terrain.references(self._symbol)
        terrain = self._terrain
        spots = terrain.symbols.spots(self._symbol, sorted(family.owners))
        judge = MemberJudge(terrain.reader, terrain.files.python, terrain.classes, family, "__init__")
        search = Search(terrain.files, terrain.ty, terrain.pyrefly)
        return await search.run("__init__", judge, spots, known=spots)

    async def _change_constructions(self, family: Family, change: Change) -> None:
        """Calls of the class, and of those that inherit its `__init__`."""
        for owner in sorted(family.related):
            module = self._terrain.code.modules.name(owner.path)
            findings = await self._terrain.references(self._terrain.find(f"{module}:{owner.qualname}"))
            for token in findings.same:
                call = _call_of(token)
                if call is not None:
                    self._rewrite(token, call, change, 0)

    def _use(self, token: Token, primary: Definition, change: Change) -> None:
        if token.role not in {"load", "attribute"}:
            return
        call = _call_of(token)
        if call is None:
            self._leave(token, "passed on as a value")
            return
        skip = self._explicit_receiver(token, primary)
        if skip is None:
            self._leave(token, "can't be told to be called on a class or on an instance")
        else:
            self._rewrite(token, call, change, skip)

    def _explicit_receiver(self, token: Token, primary: Definition) -> int | None:
        """1 for `Class.method(instance, ...)`; None when that can't be told."""
        target = token.node.parent.child_by_field_name("object") if token.node.parent is not None else None
        if token.role != "attribute" or target is None or not primary.in_class or primary.how:
            return 0
        meaning = self._terrain.reader.meaning(token.path, target)
        if meaning.kind == "class":
            return 1
        last = text_of(target).rpartition(".")[2]
        if meaning.kind == "unknown" and (last[:1].isupper() or last in {"cls", "klass"}):
            return None
        return 0

    def _rewrite(self, token: Token, call: Node, change: Change, skip: int) -> None:
        result = rewrite_call(call, change, skip)
        if isinstance(result, Left):
            self._leave(token, result.why)
        else:
            self._add(token.path, result)

    def _leave(self, token: Token, why: str) -> None:
        self._unresolved.append(self._place(token, f"{why}; {_BY_WRAPPER}"))

    def _leave_unknown(self, findings: Findings, primary: Definition, change: Change) -> None:
        for token, why in findings.unknown:
            call = _call_of(token)
            meant = call is None or any(may_be_meant(call, change, skip) for skip in {0, primary.skip})
            if token.role in {"load", "attribute"} and meant:
                self._unresolved.append(self._place(token, f"{why}; if it is this one, it {_BY_WRAPPER}"))
        for token in findings.broken:
            self._problems.append(self._place(token, "in a file with syntax errors"))
        for resolver, why in sorted(findings.silent.items()):
            self._decisions.append(
                Decision(
                    question=f"Can the plan do without {resolver}?",
                    choice="yes",
                    rationale=f"it gave no answer ({why}); callers that only it would find go through the wrapper",
                    confidence=0.8,
                )
            )

    def _place(self, token: Token, why: str) -> Place:
        return self._terrain.code.place(token.path, token.start, why)

    def _add(self, path: str, replacements: Iterable[Replacement]) -> None:
        self._wanted.setdefault(path, []).extend(replacements)

    def _settle(self) -> None:
        """One replacement for each place: what is put in front of something that is replaced too goes with it."""
        for path, wanted in self._wanted.items():
            merged: dict[int, Replacement] = {}
            distinct = {(one.start, one.end, one.text): one for one in wanted}
            for one in sorted(distinct.values(), key=lambda r: (r.start, r.end)):
                before = merged.get(one.start)
                merged[one.start] = one if before is None else replace(one, text=before.text + one.text)
            end = 0
            for one in sorted(merged.values()):
                if one.start < end:
                    place = self._terrain.code.place(path, one.start)
                    raise RecipeRefused("two changes meet in one place: change it by hand first", places=(str(place),))
                end = one.end
                self._edits.add("reference", path, one)

    def _grouped(self, defining: set[str]) -> tuple[FileEdit, ...]:
        """Definitions first: with the wrapper in place, callers can follow in any order."""
        ranks: dict[EditKind, int] = {"reference": 0, "mention": 1, "residual": 2}
        edits = [
            replace(edit, group="definition" if edit.path in defining else "callers")
            for edit in self._edits.file_edits()
        ]
        return tuple(sorted(edits, key=lambda edit: (edit.group != "definition", ranks[edit.kind], edit.path)))

    def _decide(self, found: list[Definition], change: Change) -> None:
        old, new = shown(change.old), shown(change.new)
        if change.needs_wrapper:
            decision = Decision(
                question="What becomes of calls in the old form?",
                choice="they go on, with a DeprecationWarning",
                rationale=f"{old} and {new} don't take the same calls, and not every caller can be seen",
                rejected=(
                    Alternative(
                        choice="let them fail", why="callers outside the repository would break without a word"
                    ),
                ),
            )
        else:
            decision = Decision(
                question="What becomes of calls in the old form?",
                choice="they stay as they are, without a wrapper",
                rationale=f"every call that {old} takes means the same to {new}",
                rejected=(Alternative(choice="a wrapper", why="there is nothing it would have to translate"),),
            )
        self._decisions.append(decision)
        if len(found) > 1:
            listed = ", ".join(sorted({f"{d.path}:{d.file.qualname(d.node)}" for d in found}))
            self._decisions.append(
                Decision(
                    question=f"Which definitions of {self._symbol.name} change together?",
                    choice=listed,
                    rationale="overrides, overloads and stubs have one signature, so that a call may reach any of them",
                    confidence=0.95,
                )
            )


def _call_of(token: Token) -> Node | None:
    """The call whose function is this name or attribute."""
    node = token.node
    if token.role == "attribute" and node.parent is not None:
        node = node.parent
    parent = node.parent
    if parent is not None and parent.type == "call" and parent.child_by_field_name("function") == node:
        return parent
    return None
