"""The text of changed definitions: the parameter list in the layout it had, and the wrapper that takes old calls.

The list is rewritten with LibCST, so that annotations, defaults, comments and line breaks stay as they were written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import indent, wrap
from typing import NamedTuple

import libcst as cst

from cavalcade.kernel.errors import RecipeRefused
from cavalcade.recipes.signature import Change, Kind, Parameter, read_signature, shown


class _Written(NamedTuple):
    """An entry of the new list, and the one of the old list that it was."""

    entry: _Entry
    was: _Entry | None


_Entry = cst.Param | cst.ParamStar | cst.ParamSlash
_PLAIN_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
_WIDTH = 72
_RECEIVERS = frozenset({"self", "cls"})


def rewrite_list(text: str, skip: int, change: Change) -> str:
    """A parameter list `(...)` as it stands in a file, with the change made. `skip` parameters in front (`self`) stay.

    The list may have parameters that the change doesn't speak of, when nothing but keyword-only parameters is added. Raises
    RecipeRefused when the change does not fit it.
    """
    function = _parse(text)
    own = read_signature(text)
    new = fitted(own[skip:], change)
    if new is None:
        return text
    found = _entries(function.params)
    written = {entry.name.value: entry for entry in found if isinstance(entry, cst.Param)}
    front = [replace(parameter, source=parameter.name) for parameter in own[:skip]]
    wanted = _wanted([*front, *new], found, written)
    laid_out = _laid_out(found, wanted, function.whitespace_before_params)
    params = _grouped(laid_out, [parameter.kind for parameter in (*front, *new)])
    result = cst.Module([]).code_for_node(function.with_changes(params=params))
    return result.strip().removeprefix("def f").removesuffix(": pass")


def fitted(own: Sequence[Parameter], change: Change) -> tuple[Parameter, ...] | None:
    """The new parameters of a definition that may differ from the one the change was made for; None when it takes any call as it is.

    Raises RecipeRefused when it can't be told what the change means for it.
    """
    names = [parameter.name for parameter in own]
    if names == [parameter.name for parameter in change.old]:
        return change.new
    if [parameter.kind for parameter in own] == ["rest", "keywords"]:
        return None
    clash = [parameter.name for parameter in change.added if parameter.name in names]
    if change.needs_wrapper or clash or any(parameter.kind != "keyword-only" for parameter in change.added):
        raise RecipeRefused(
            f"another definition has the parameters {shown(own)}, not {shown(change.old)}",
            expected="definitions that differ in nothing but keyword-only parameters to be added",
        )
    same = tuple(
        Parameter(parameter.name, parameter.kind, parameter.annotation, parameter.default, parameter.name)
        for parameter in own
    )
    last = 1 if own and own[-1].kind == "keywords" else 0
    cut = len(same) - last
    return (*same[:cut], *change.added, *same[cut:])


def _parse(text: str) -> cst.FunctionDef:
    try:
        statement = cst.parse_statement(f"def f{text}: pass\n")
    except cst.ParserSyntaxError as exc:
        raise RecipeRefused(f"the parameters {text!r} can't be read: {exc.message}") from exc
    assert isinstance(statement, cst.FunctionDef)  # it was written so above
    return statement


def _entries(params: cst.Parameters) -> list[_Entry]:
    found: list[_Entry] = [*params.posonly_params]
    if isinstance(params.posonly_ind, cst.ParamSlash):
        found.append(params.posonly_ind)
    found += params.params
    if isinstance(params.star_arg, cst.Param | cst.ParamStar):
        found.append(params.star_arg)
    found += params.kwonly_params
    if params.star_kwarg is not None:
        found.append(params.star_kwarg)
    return found


def _wanted(new: Sequence[Parameter], found: list[_Entry], written: dict[str, cst.Param]) -> list[_Written]:
    """The entries of the new list, with `/` and `*` where they must stand."""
    slash = next((entry for entry in found if isinstance(entry, cst.ParamSlash)), None)
    star = next((entry for entry in found if isinstance(entry, cst.ParamStar)), None)
    wanted: list[_Written] = []
    before: Kind | None = None
    for parameter in new:
        if before == "positional-only" and parameter.kind != "positional-only":
            wanted.append(_Written(slash or cst.ParamSlash(), slash))
        if parameter.kind == "keyword-only" and before not in {"rest", "keyword-only"}:
            wanted.append(_Written(star or cst.ParamStar(), star))
        wanted.append(_Written(_parameter(parameter, written), written.get(parameter.source or "")))
        before = parameter.kind
    if before == "positional-only":
        wanted.append(_Written(slash or cst.ParamSlash(), slash))
    return wanted


def _parameter(parameter: Parameter, own: dict[str, cst.Param]) -> cst.Param:
    """As it was written where it was, with its own annotation; else as asked for."""
    default = None if parameter.default is None else cst.parse_expression(parameter.default)
    was = own.get(parameter.source or "")
    if was is None:
        annotation = None
        if parameter.annotation is not None and _annotates(own):
            annotation = cst.Annotation(cst.parse_expression(parameter.annotation))
        return cst.Param(cst.Name(parameter.name), annotation, _equal(annotation), default, star="")
    changed = was.with_changes(name=cst.Name(parameter.name))
    if was.default is None and default is not None:
        changed = changed.with_changes(default=default, equal=_equal(was.annotation))
    return changed


def _equal(annotation: cst.Annotation | None) -> cst.AssignEqual:
    space = cst.SimpleWhitespace("" if annotation is None else " ")
    return cst.AssignEqual(space, space)


def _annotates(own: dict[str, cst.Param]) -> bool:
    """Whether this definition has annotations, or nothing that could have one."""
    telling = [param for name, param in own.items() if name not in _RECEIVERS]
    return not telling or any(param.annotation is not None for param in telling)


def _laid_out(found: list[_Entry], wanted: list[_Written], opening: cst.BaseParenthesizableWhitespace) -> list[_Entry]:
    """Commas and line breaks as the old list had them: a parameter keeps its own, with the comment in it, wherever it goes."""
    last = found[-1] if found else None
    between = next((entry.comma for entry in found[:-1] if isinstance(entry.comma, cst.Comma)), None)
    if between is None:
        between = cst.Comma(whitespace_after=opening) if not opening.empty else _PLAIN_COMMA
    between = _without_comment(between)
    result: list[_Entry] = []
    for at, (entry, was) in enumerate(wanted):
        own = was.comma if was is not None and was is not last else None
        comma = own if isinstance(own, cst.Comma) else between
        if at == len(wanted) - 1:
            result.append(entry if was is not None and was is last else _closed(entry, comma, last))
        elif isinstance(entry, cst.Param):
            if was is not None and was is last and isinstance(was.comma, cst.Comma):
                comma = _with_comment_of(was.comma, between)
            result.append(entry.with_changes(comma=comma, whitespace_after_param=cst.SimpleWhitespace("")))
        else:
            result.append(entry.with_changes(comma=comma))
    return result


def _closed(entry: _Entry, comma: cst.Comma, last: _Entry | None) -> _Entry:
    """The entry as the last one: what stands before the closing parenthesis is what stood there before."""
    if last is None:
        return entry.with_changes(comma=cst.MaybeSentinel.DEFAULT)
    ending = last.comma
    if isinstance(ending, cst.Comma) and not isinstance(entry, cst.ParamSlash):
        return entry.with_changes(comma=_with_comment_of(comma, ending))
    after = last.whitespace_after_param if isinstance(last, cst.Param) else cst.SimpleWhitespace("")
    if isinstance(entry, cst.Param):
        return entry.with_changes(comma=cst.MaybeSentinel.DEFAULT, whitespace_after_param=after)
    return entry.with_changes(comma=cst.MaybeSentinel.DEFAULT)


def _without_comment(comma: cst.Comma) -> cst.Comma:
    after = comma.whitespace_after
    if not isinstance(after, cst.ParenthesizedWhitespace):
        return comma
    plain = after.with_changes(first_line=cst.TrailingWhitespace(newline=after.first_line.newline), empty_lines=())
    return comma.with_changes(whitespace_after=plain)


def _with_comment_of(comma: cst.Comma, ending: cst.Comma) -> cst.Comma:
    own, after = comma.whitespace_after, _without_comment(ending).whitespace_after
    if isinstance(own, cst.ParenthesizedWhitespace) and isinstance(after, cst.ParenthesizedWhitespace):
        return ending.with_changes(whitespace_after=after.with_changes(first_line=own.first_line))
    return ending.with_changes(whitespace_after=after)


def _grouped(entries: list[_Entry], kinds: list[Kind]) -> cst.Parameters:
    params = [entry for entry in entries if isinstance(entry, cst.Param)]
    by_kind: dict[Kind, list[cst.Param]] = {}
    for param, kind in zip(params, kinds, strict=True):
        by_kind.setdefault(kind, []).append(param)
    star = next((entry for entry in entries if isinstance(entry, cst.ParamStar)), cst.MaybeSentinel.DEFAULT)
    slash = next((entry for entry in entries if isinstance(entry, cst.ParamSlash)), cst.MaybeSentinel.DEFAULT)
    rest, keywords = by_kind.get("rest", []), by_kind.get("keywords", [])
    return cst.Parameters(
        posonly_params=by_kind.get("positional-only", []),
        posonly_ind=slash,
        params=by_kind.get("positional", []),
        star_arg=rest[0] if rest else star,
        kwonly_params=by_kind.get("keyword-only", []),
        star_kwarg=keywords[0] if keywords else None,
    )


@dataclass(frozen=True)
class Wrapper:
    """What takes old calls of `name`; the function `maker` makes it. `skip` arguments in front are `self` or `cls`; `awaits`
    for a coroutine function."""

    maker: str
    name: str
    change: Change
    skip: int
    awaits: bool

    def definition(self, type_checking: str) -> str:
        """Guarded from type checkers: to them, the function has its new signature and nothing else."""
        return f"if not {type_checking}:\n\n{indent(self._maker_text(), '    ')}"

    def _maker_text(self) -> str:
        change, name = self.change, self.name
        define, give = ("async def", "return await") if self.awaits else ("def", "return")
        now = {old: new for old, new in change.now.items() if old in {*change.places, *change.other_keywords}}
        moved = change.places[change.kept_places :]
        about = f"The signature was `{shown(change.old, defaults=False)}`. " + (
            f"Up to {len(change.places)} arguments by position are taken in that order. " if moved else ""
        )
        lines = [
            f"def {self.maker}(function):",
            f'    """Lets old calls of `{name}` go on.',
            "",
            *(f"    {line}" for line in wrap(about + "This can go when nobody sees its warning any more.", _WIDTH)),
            '    """',
            "    import functools",
            "    import warnings",
            "",
            f"    now = {_mapping(now)}",
            "",
            f"    {define} {name}(*args, **kwargs):",
            *self._given(moved),
            "        if given:",
            "            message = (",
            *(f"                {line}" for line in self._message()),
            "            )",
            "            warnings.warn(message, DeprecationWarning, stacklevel=2)",
            "        for old, value in given:",
            "            if now[old] in kwargs:",
            f"                raise TypeError(f\"{name}() got multiple values for argument '{{now[old]}}'\")",
            *self._keep(),
            f"        {give} function(*args, **kwargs)",
            "",
            f"    return functools.update_wrapper({name}, function)",
        ]
        return "\n".join(lines) + "\n"

    def _message(self) -> list[str]:
        old, new = shown(self.change.old, defaults=False), shown(self.change.new, defaults=False)
        text = f"{self.name}() was called in its old form {old}; it is {new} now"
        return [_quoted(part) for part in wrap(text, _WIDTH - 12, drop_whitespace=False, break_long_words=False)]

    def _given(self, moved: Sequence[str]) -> list[str]:
        """Collects pairs of old name and value."""
        keywords = self.change.other_keywords
        lines: list[str] = []
        if moved:
            kept, most = self.change.kept_places + self.skip, len(self.change.places) + self.skip
            lines.append("        given = []")
            lines.append(f"        if {kept} < len(args) <= {most}:")
            lines.append(f"            given = list(zip({_tuple(moved)}, args{f'[{kept}:]' if kept else ''}))")
            lines.append(f"            args = {f'args[:{kept}]' if kept else '()'}")
            if keywords:
                lines.append(
                    f"        given += [(old, kwargs.pop(old)) for old in {_tuple(keywords)} if old in kwargs]"
                )
        else:
            lines.append(f"        given = [(old, kwargs.pop(old)) for old in {_tuple(keywords)} if old in kwargs]")
        return lines

    def _keep(self) -> list[str]:
        if self.change.removed:
            return ["            if now[old]:", "                kwargs[now[old]] = value"]
        return ["            kwargs[now[old]] = value"]

    def binding(self, type_checking: str, how: str) -> str:
        """Puts it in the function's place; `how` is `classmethod`, `staticmethod` or empty."""
        inner = f"{self.maker}({self.name}.__func__)" if how else f"{self.maker}({self.name})"
        return f"if not {type_checking}:\n    {self.name} = {f'{how}({inner})' if how else inner}\n"


def _quoted(text: str) -> str:
    """A string literal as formatters write it."""
    literal = repr(text)
    if literal.startswith("'") and '"' not in text:
        return '"' + literal[1:-1] + '"'
    return literal


def _tuple(names: Sequence[str]) -> str:
    return "(" + ", ".join(_quoted(name) for name in names) + ("," if len(names) == 1 else "") + ")"


def _mapping(now: dict[str, str]) -> str:
    return "{" + ", ".join(f"{_quoted(old)}: {_quoted(new)}" for old, new in now.items()) + "}"
