"""Signatures as data: what is asked for, and what it means for every way in which a function can be called.

The asked-for list names the new parameters in their order. A name of the old signature keeps that parameter with its annotation and
default; `old as new` (also `new=old`) renames it; a new name must have a default; a name left out is removed. `*`, `/`, `*args` and
`**kwargs` stand where Python wants them. Pure: text in, data out.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

from cavalcade.kernel.errors import RecipeRefused

Kind = Literal["positional-only", "positional", "rest", "keyword-only", "keywords"]
_AS = re.compile(r"(?P<start>\s*\*{0,2})(?P<old>\w+)\s+as\s+(?P<new>\w+)(?P<rest>.*)", re.DOTALL)
_IS = re.compile(r"(?P<start>\s*)(?P<new>\w+)\s*=\s*(?P<old>\w+)(?P<rest>\s*)")
_WITHOUT_DEFAULT = re.compile(r"\s*(?P<name>\w+)\s*(:[^=]*)?")
_EXPECTED = "a list as in `(items, old_name as new_name, *, added=None)`"


@dataclass(frozen=True)
class Parameter:
    """`annotation` and `default` are source text, None without. `source` is the parameter of the old signature it comes from."""

    name: str
    kind: Kind
    annotation: str | None = None
    default: str | None = None
    source: str | None = None

    @property
    def is_positional(self) -> bool:
        return self.kind in {"positional-only", "positional"}


def read_signature(text: str) -> tuple[Parameter, ...]:
    """The parameters of `(a, /, b: int = 1, *args, c, **kwargs)`. Raises RecipeRefused for what Python would not take."""
    code = f"def f{text}: pass\n"
    try:
        function = ast.parse(code).body[0]
    except (SyntaxError, ValueError) as exc:
        raise RecipeRefused(f"the signature {text!r} is not Python: {exc}", expected=_EXPECTED) from exc
    if not isinstance(function, ast.FunctionDef):
        raise RecipeRefused(f"the signature {text!r} is no list of parameters", expected=_EXPECTED)
    given = function.args

    def read(argument: ast.arg, kind: Kind, default: ast.expr | None = None) -> Parameter:
        annotation = argument.annotation
        return Parameter(
            argument.arg,
            kind,
            None if annotation is None else ast.get_source_segment(code, annotation),
            None if default is None else ast.get_source_segment(code, default),
        )

    places = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(places) - len(given.defaults)) + list(given.defaults)
    bare = len(given.posonlyargs)
    found = [
        read(argument, "positional-only" if at < bare else "positional", default)
        for at, (argument, default) in enumerate(zip(places, defaults, strict=True))
    ]
    if given.vararg:
        found.append(read(given.vararg, "rest"))
    found += [read(a, "keyword-only", d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg:
        found.append(read(given.kwarg, "keywords"))
    return tuple(found)


def shown(parameters: Sequence[Parameter], *, defaults: bool = True) -> str:
    """The list as a person writes it, without annotations."""
    parts: list[str] = []
    for before, parameter in zip((None, *parameters), parameters, strict=False):
        if before is not None and before.kind == "positional-only" and parameter.kind != "positional-only":
            parts.append("/")
        starts_keywords = before is None or before.kind not in {"rest", "keyword-only"}
        if parameter.kind == "keyword-only" and starts_keywords:
            parts.append("*")
        stars = {"rest": "*", "keywords": "**"}.get(parameter.kind, "")
        parts.append(f"{stars}{parameter.name}" + (f"={parameter.default}" if parameter.default and defaults else ""))
    if parameters and parameters[-1].kind == "positional-only":
        parts.append("/")
    return f"({', '.join(parts)})"


@dataclass(frozen=True)
class Change:
    """From `old` to `new` (both without `self` or `cls`)."""

    old: tuple[Parameter, ...]
    new: tuple[Parameter, ...]

    @cached_property
    def now(self) -> dict[str, str]:
        """What each old parameter is called now; empty text for a removed one."""
        names = {parameter.source: parameter.name for parameter in self.new}
        return {parameter.name: names.get(parameter.name, "") for parameter in self.old}

    @cached_property
    def added(self) -> tuple[Parameter, ...]:
        return tuple(parameter for parameter in self.new if parameter.source is None)

    @cached_property
    def renamed(self) -> dict[str, str]:
        return {old: new for old, new in self.now.items() if new and new != old}

    @cached_property
    def removed(self) -> tuple[str, ...]:
        return tuple(old for old, new in self.now.items() if not new)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The old parameters that can be given by position, in order."""
        return tuple(parameter.name for parameter in self.old if parameter.is_positional)

    @cached_property
    def kept_places(self) -> int:
        """How many of these are still given by the same position."""
        new = [parameter.source for parameter in self.new if parameter.is_positional]
        count = 0
        while count < min(len(new), len(self.places)) and new[count] == self.places[count]:
            count += 1
        return count

    @cached_property
    def other_keywords(self) -> tuple[str, ...]:
        """Old names that calls may give by keyword and that are no names any more."""
        by_keyword = [p.name for p in self.old if p.kind in {"positional", "keyword-only"}]
        return tuple(name for name in by_keyword if self.now[name] != name)

    @property
    def needs_wrapper(self) -> bool:
        """Some call of the old form would be wrong, or mean something else, under the new signature."""
        return self.kept_places < len(self.places) or bool(self.other_keywords)

    @property
    def reorders(self) -> bool:
        """Parameters that are still given by position stand in another order."""
        stay = [self.now[name] for name in self.places if self.now[name]]
        new = [p.name for p in self.new if p.is_positional]
        return [name for name in stay if name in new] != [name for name in new if name in stay]


def change_to(old: tuple[Parameter, ...], text: str, *, receiver: str = "") -> Change:
    """What `text` asks of the signature `old`, both without `self`; it may be written in front, as `receiver`.

    Raises RecipeRefused when old calls could not go on meaning what they mean.
    """
    names = {parameter.name: parameter for parameter in old}
    parts = _split(text.strip())
    if receiver and parts[0].split(":")[0].strip() == receiver:
        parts = parts[1:]
    plain, renames = _without_renames(parts, names)
    wanted = read_signature(_with_defaults(plain, renames, names))
    new = tuple(_sourced(parameter, names, renames) for parameter in wanted)
    change = Change(old, new)
    _check_sources(change)
    _check_calls(change)
    return change


def _without_renames(parts: list[str], names: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """The parts with `old as new` and `new=old` written `new`, and the renames by new name."""
    renames: dict[str, str] = {}
    parts = list(parts)
    plain = {part.split("=")[0].split(":")[0].strip() for part in parts}
    for at, part in enumerate(parts):
        match = _AS.fullmatch(part) or _IS.fullmatch(part)
        if match is None or (match.re is _IS and not _renames(match, names, plain)):
            continue
        new, old = match["new"], match["old"]
        if new in renames:
            raise RecipeRefused(f"two parameters are to be called {new!r}")
        renames[new] = old
        parts[at] = match["start"] + new + match["rest"]
    return parts, renames


def _with_defaults(parts: list[str], renames: dict[str, str], names: dict[str, Parameter]) -> str:
    """The list with the defaults that its parameters have had."""
    written: list[str] = []
    for part in parts:
        match = _WITHOUT_DEFAULT.fullmatch(part)
        old = _old(match["name"], renames, names) if match else None
        written.append(part if old is None or old.default is None else f"{part}={old.default}")
    return f"({','.join(written)})"


def _old(name: str, renames: dict[str, str], names: dict[str, Parameter]) -> Parameter:
    """The old parameter that `name` in the list means."""
    known = f"one of {', '.join(names)}" if names else "none: there are no parameters"
    if name in renames and renames[name] not in names:
        raise RecipeRefused(f"there is no parameter {renames[name]!r} to be called {name!r}", expected=known)
    if renames.get(name, name) not in names:
        raise RecipeRefused(
            f"the new parameter {name!r} has no default, so no call of today could go on",
            hint=f"write {name}=..., or `old_name as {name}` if it is a renamed one",
        )
    return names[renames.get(name, name)]


def _renames(match: re.Match[str], names: Collection[str], plain: Collection[str]) -> bool:
    """`new=old` and not a default: a parameter that is not in the list otherwise."""
    return match["old"] in names and match["old"] not in plain and match["new"] not in names


def _split(text: str) -> list[str]:
    """The list's parts as written, between its own commas. Raises RecipeRefused."""
    if not (text.startswith("(") and text.endswith(")")):
        raise RecipeRefused(f"the signature {text!r} has no parentheses around it", expected=_EXPECTED)
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    cuts, depth = [0], 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            depth += (token.string in {"(", "[", "{"}) - (token.string in {")", "]", "}"})
            if token.type == tokenize.OP and token.string == "," and depth == 1:
                cuts.append(starts[token.start[0] - 1] + token.start[1])
    except (tokenize.TokenError, SyntaxError) as exc:
        raise RecipeRefused(f"the signature {text!r} can't be read: {exc}", expected=_EXPECTED) from exc
    return [text[a + 1 : b] for a, b in pairwise([*cuts, len(text) - 1])]


def _sourced(wanted: Parameter, names: dict[str, Parameter], renames: dict[str, str]) -> Parameter:
    """The wanted parameter with what it takes over from the old one it comes from."""
    source = renames.get(wanted.name)
    if source is None and wanted.name in names:
        source = wanted.name
    if source is None:
        return wanted
    old = names[source] if source in names else _old(wanted.name, renames, names)
    if wanted.default is not None and old.default is not None and not _same(wanted.default, old.default):
        raise RecipeRefused(
            f"{source!r} has the default {old.default}: another one changes what calls without it do",
            hint=f"leave it as {source!r} here, and change the default by hand where that is meant",
        )
    annotation = wanted.annotation if wanted.annotation is not None else old.annotation
    return replace(wanted, source=source, annotation=annotation, default=wanted.default or old.default)


def _same(one: str, other: str) -> bool:
    return ast.dump(ast.parse(one, mode="eval")) == ast.dump(ast.parse(other, mode="eval"))


def _check_sources(change: Change) -> None:
    sources = [parameter.source for parameter in change.new if parameter.source is not None]
    for name in sources:
        if sources.count(name) > 1:
            raise RecipeRefused(f"{name!r} would become two parameters")
    old = {parameter.name: parameter for parameter in change.old}
    for parameter in change.new:
        was = old.get(parameter.source or "")
        collects = {parameter.kind, was.kind if was else parameter.kind} & {"rest", "keywords"}
        if collects and (was is None or was.kind != parameter.kind):
            raise RecipeRefused(f"{parameter.name!r} can't begin or cease to collect arguments", expected=_EXPECTED)
        if parameter.name in old and parameter.source != parameter.name:
            raise RecipeRefused(
                f"{parameter.name!r} would mean another parameter than before: old calls can't be told from new ones",
                hint="take a name that no parameter has, in a first step",
            )
    for name in change.removed:
        if old[name].kind in {"rest", "keywords"}:
            raise RecipeRefused(f"{name!r} collects arguments; without it calls that give more would fail")
    read_signature(shown(change.new))


def _check_calls(change: Change) -> None:
    old = {parameter.name: parameter for parameter in change.old}
    kinds = {parameter.kind for parameter in change.old}
    moved = set(change.places[change.kept_places :])
    for at, parameter in enumerate(parameter for parameter in change.new if parameter.is_positional):
        if parameter.source is None and at < len(change.places):
            raise RecipeRefused(
                f"the new parameter {parameter.name!r} stands where old calls give another one by position",
                hint="put it behind those there are, or make it keyword-only",
            )
    by_place = sum(parameter.is_positional for parameter in change.new)
    if "rest" in kinds and (moved or by_place > len(change.places)):
        raise RecipeRefused("behind `*args` stand arguments by position: those before it can't move or become more")
    if "keywords" in kinds:
        for parameter in change.new:
            if parameter.name not in old and parameter.kind != "positional-only":
                raise RecipeRefused(f"calls may give {parameter.name!r} by keyword already, to be collected")
    for parameter in change.new:
        source = old.get(parameter.source or "")
        if source is not None and parameter.kind == "positional-only" and source.kind != "positional-only":
            raise RecipeRefused(f"{parameter.name!r} could no longer be given by keyword", hint="leave out the `/`")
        if source is not None and parameter.kind == "positional-only" and source.name in moved:
            raise RecipeRefused(f"{parameter.name!r} is given by position only: it can't move")
        if source is not None and source.default is not None and parameter.default is None:
            raise RecipeRefused(f"{parameter.name!r} would lose its default")
