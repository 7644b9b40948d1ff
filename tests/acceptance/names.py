"""How often Python source says a name as code: a second opinion that shares nothing with the product but Python's own parser."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


def uses(tree: Path, name: str) -> Counter[str]:
    """Per file (path relative to `tree`): identifiers, parts of import paths, and whole strings that are `name`.

    Files that are no Python of this version are left out.
    """
    found: Counter[str] = Counter()
    for path in sorted([*tree.rglob("*.py"), *tree.rglob("*.pyi")]):
        data = path.read_bytes()
        if name.encode() not in data:
            continue
        try:
            module = ast.parse(data)
        except (SyntaxError, ValueError):
            continue
        count = sum(said == name for node in ast.walk(module) for said in _said(node))
        if count:
            found[str(path.relative_to(tree))] = count
    return found


def _said(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.keyword(arg=str(name)) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            yield name
        case ast.alias(name=name, asname=other):
            yield from name.split(".")
            yield other or ""
        case ast.ImportFrom(module=str(name)):
            yield from name.split(".")
        case ast.Global(names=names) | ast.Nonlocal(names=names):
            yield from names
        case ast.Constant(value=str(text)):
            yield text
        case _:
            pass
