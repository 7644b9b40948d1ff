"""Where a file uses names of its module's scope, local variables of the same name left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from cavalcade.gates.syntax import parse_python

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def global_uses(data: bytes, wanted: frozenset[str]) -> set[tuple[int, str]]:
    """Lines, from 1, and names, where one of `wanted` is read and no function between binds it itself. An import within a
    function isn't such a binding, for it binds what it names. Empty for a file that can't be parsed."""
    try:
        tree = parse_python(data)
    except (SyntaxError, ValueError, LookupError, RecursionError, MemoryError):
        return set()
    found: set[tuple[int, str]] = set()
    todo: list[tuple[ast.AST, frozenset[str]]] = [(tree, frozenset())]
    while todo:
        node, hidden = todo.pop()
        if isinstance(node, _FUNCTIONS + _COMPREHENSIONS):
            hidden = hidden | wanted.intersection(_bound_in(node))
        if (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Load)
            and node.id in wanted
            and node.id not in hidden
        ):
            found.add((node.lineno, node.id))
        todo.extend((child, hidden) for child in ast.iter_child_nodes(node))
    return found


def _bound_in(scope: ast.AST) -> Iterator[str]:
    todo: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
            continue
        elif isinstance(node, ast.Lambda):
            continue
        todo.extend(ast.iter_child_nodes(node))
