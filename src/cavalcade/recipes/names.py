"""Is the new name free? Checked in every scope that would see it, before anything is planned."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterable

from tree_sitter import Node

from cavalcade.kernel.errors import NameNotUsable
from cavalcade.terrain.classes import Family
from cavalcade.terrain.meaning import ClassId
from cavalcade.terrain.symbols import Symbol
from cavalcade.terrain.terrain import Terrain
from cavalcade.terrain.tokens import PythonFile, Token


def check_word(old: str, new: str) -> None:
    """Raises NameNotUsable for what can't be a name at all, or is the old one."""
    if not new.isidentifier():
        raise NameNotUsable(f"{new!r} is no Python name", expected="letters, digits and underscores, no digit in front")
    if keyword.iskeyword(new):
        raise NameNotUsable(f"{new!r} is a keyword of Python", hint=f"{new}_ is the usual way out")
    if new == old:
        raise NameNotUsable(f"{old!r} already has that name", hint="give another new name")


def check_module_level(terrain: Terrain, symbol: Symbol, new: str, same: Iterable[Token]) -> None:
    """For a function, class or variable at module level: nothing that sees it may have the new name already."""
    for path in sorted({token.path for token in same} | set(symbol.homes)):
        file = terrain.files.python(path)
        tokens = [token for token in same if token.path == path and token.role not in {"attribute", "keyword"}]
        if tokens or path in symbol.homes:
            _check_submodule(terrain, path, new)
            check_scopes(terrain, file, tokens, new, {file.tree.root_node.id})


def _check_submodule(terrain: Terrain, path: str, new: str) -> None:
    modules = terrain.code.modules
    inner = f"{modules.name(path)}.{new}"
    if modules.is_package(path) and modules.exists(inner):
        places = modules.paths(inner) or (inner,)
        raise NameNotUsable(f"{new!r} is the name of a module in the same package", places=places)


def check_scopes(terrain: Terrain, file: PythonFile, tokens: list[Token], new: str, outermost: set[int]) -> None:
    """No scope from a use up to its binding binds the new name, and no use of the new name would be captured."""
    bound = file.bindings(new)
    for token in tokens:
        if token.role in {"export", "annotation", "equal", "string", "comment", "doctest", "docstring", "fstring"}:
            continue
        home = file.scope_of(token)
        for scope in file.scope_chain(token.node):
            if scope.id in bound and _statement_level(token, scope):
                raise _taken(terrain, new, bound[scope.id][0])
            if home is not None and scope.id == home.id:
                outermost.add(scope.id)
                break
    for scope_id in outermost & set(bound):
        raise _taken(terrain, new, bound[scope_id][0])
    for token in file.tokens(new):
        if (
            token.role == "load"
            and file.scope_of(token) is None
            and {s.id for s in file.scope_chain(token.node)} & outermost
        ):
            raise NameNotUsable(
                f"{new!r} already means something in {file.path}, which this would hide", places=(_at(terrain, token),)
            )


def _statement_level(token: Token, scope: Node) -> bool:
    return scope.start_byte <= token.start < scope.end_byte


def _taken(terrain: Terrain, new: str, token: Token) -> NameNotUsable:
    return NameNotUsable(
        f"{new!r} is taken: it is bound where the old name is used",
        expected="a name that no importing or using module has",
        places=(_at(terrain, token),),
    )


def check_member(terrain: Terrain, family: Family, new: str) -> None:
    """For a method or attribute: no class that has it, nor any base or subclass of these, may have the new name."""
    classes = {ancestor for one in family.related for ancestor in terrain.classes.ancestors(one)}
    for owner in sorted(classes):
        for definition in terrain.classes.members(owner, new):
            raise NameNotUsable(
                f"class {owner.qualname} has a {definition.kind} {new!r} already",
                expected="a name that no class of the family has",
                places=(f"{owner.path}:{definition.line}",),
            )


def check_parameter(terrain: Terrain, functions: Iterable[ClassId], new: str, same: Iterable[Token]) -> None:
    """For a parameter: neither another parameter, nor a name in the function's body, nor a keyword in its calls."""
    for function in sorted(functions):
        taken = terrain.symbols.parameters(function).get(new)
        if taken is not None:
            raise NameNotUsable(f"{function.qualname} has a parameter {new!r} already", places=(_at(terrain, taken),))
    by_path: dict[str, list[Token]] = {}
    for token in same:
        by_path.setdefault(token.path, []).append(token)
    for path, tokens in by_path.items():
        file = terrain.files.python(path)
        _check_bodies(terrain, file, [token for token in tokens if token.role in {"load", "bind", "parameter"}], new)
        for token in tokens:
            if token.role == "keyword":
                _check_call(terrain, file, token, new)


def _check_bodies(terrain: Terrain, file: PythonFile, tokens: list[Token], new: str) -> None:
    homes = {scope.id for scope in (file.scope_of(token) for token in tokens) if scope is not None}
    check_scopes(terrain, file, tokens, new, homes)
    for other in file.tokens(new):
        if other.role != "load":
            continue
        home = file.scope_of(other)
        for scope in file.scope_chain(other.node):
            if home is not None and scope.id == home.id:
                break
            if scope.id in homes:
                raise NameNotUsable(
                    f"{new!r} is used in the function and means something else there", places=(_at(terrain, other),)
                )


def _check_call(terrain: Terrain, file: PythonFile, token: Token, new: str) -> None:
    arguments = token.node.parent.parent if token.node.parent is not None else None
    for other in file.tokens(new):
        holder = other.node.parent
        if other.role == "keyword" and holder is not None and arguments is not None and holder.parent == arguments:
            raise NameNotUsable(f"a call passes {new!r} already", places=(_at(terrain, other),))


def _at(terrain: Terrain, token: Token) -> str:
    return str(terrain.code.place(token.path, token.start))


def shadows_builtin(new: str) -> bool:
    return hasattr(builtins, new)
