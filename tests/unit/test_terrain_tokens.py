"""Roles and scopes of words. Bug class: a local name taken for a global one, text taken for code."""

from __future__ import annotations

import pytest

from cavalcade.terrain.index import Index
from cavalcade.terrain.tokens import PythonFile
from cavalcade.testing.trees import MemoryTree


def file_of(source: str) -> PythonFile:
    tree = MemoryTree()
    blob = tree.write(source)
    index = Index(tree)
    return PythonFile("m.py", index.source(blob), index.tree(blob), index.analyse(blob))


@pytest.mark.parametrize(
    ("source", "roles"),
    [
        ("x = x", ["bind", "load"]),
        ("def x(x, *, y=x): ...", ["function", "parameter", "load"]),
        ("class x(x): ...", ["class", "load"]),
        ("from m import x as x", ["import", "alias"]),
        ("from x import y", ["module"]),
        ("import a.x.b as x", ["module", "alias"]),
        ("a.x.x(x=x)", ["attribute", "attribute", "keyword", "load"]),
        ("for x, (y, x) in x: ...", ["bind", "bind", "load"]),
        ("with f() as x, g() as (x, y): ...", ["bind", "bind"]),
        ("try: ...\nexcept E as x: ...", ["bind"]),
        (
            "match x:\n    case P(x=x): ...\n    case {'k': x, **x}: ...\n    case x.y: ...",
            ["load", "keyword", "bind", "bind", "bind", "load"],
        ),
        ("(x := 1)", ["bind"]),
        ("lambda x, *y: x", ["parameter", "load"]),
        ("def f(*x, **y): ...", ["parameter"]),
        ("global x", ["global"]),
        ("type x = int", ["bind"]),
        ("del x", ["load"]),
        ("f'{x} x'", ["load", "fstring"]),
        ("y = 'x', 'an x', b'x'", ["equal", "string", "equal"]),
        ("'''An x.\n\n>>> x()\n'''", ["docstring", "doctest"]),
        ("y: 'x' = 'x'", ["annotation", "equal"]),
        ("__all__ = ['x']", ["export"]),
        ("# x", ["comment"]),
        ("y = '\\nx'", ["string"]),
        ("xx, x_, _x, éx", []),
    ],
)
def test_a_word_has_the_role_it_plays(source: str, roles: list[str]) -> None:
    assert [token.role for token in file_of(source + "\n").tokens("x")] == roles


@pytest.mark.parametrize(
    ("source", "scopes"),
    [
        ("x = 1\ndef f():\n    return x\n", ["module", "module"]),
        ("x = 1\ndef f():\n    x = 2\n    return x\n", ["module", "function_definition", "function_definition"]),
        ("x = 1\ndef f():\n    global x\n    x = 2\n", ["module", "module", "module"]),
        (
            "def f():\n    x = 1\n    def g():\n        nonlocal x\n        x = 2\n    return x\n",
            ["function_definition"] * 4,
        ),
        ("x = 1\nclass C:\n    x = 2\n    def f(self):\n        return x\n", ["module", "class_definition", "module"]),
        ("x = 1\nclass C:\n    x = x\n    y = x\n", ["module", "class_definition", "module", "class_definition"]),
        ("x = []\n[x for x in x]\n", ["module", "list_comprehension", "list_comprehension", "module"]),
        ("x = 1\ndef f(y=x, x=2): ...\n", ["module", "module", "function_definition"]),
        ("def f(x) -> x:\n    lambda: x\nx = 1\n", ["function_definition", "module", "function_definition", "module"]),
        ("def f():\n    [(x := i) for i in y]\n    return x\n", ["function_definition"] * 2),
        ("def f():\n    return x\n", [None]),
    ],
)
def test_a_bare_name_belongs_to_the_scope_that_binds_it(source: str, scopes: list[str | None]) -> None:
    file = file_of(source)
    found = [file.scope_of(token) for token in file.tokens("x")]
    assert [scope.type if scope is not None else None for scope in found] == scopes
