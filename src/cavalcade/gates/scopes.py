"""What a name stands for, as far as a file's own imports and definitions tell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
IMPORTERS = ("builtins.__import__", "importlib.import_module", "importlib.__import__")
_OPENS_SCOPE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass
class Scope:
    """Names bound here: to a dotted global name (`s` to `os.system`), or to "" when it is something of the file's own."""

    outer: Scope | None
    is_class: bool
    builtins: frozenset[str]
    names: dict[str, str] = field(default_factory=dict[str, str])
    stars: list[str] = field(default_factory=list[str])

    def lookup(self, name: str) -> str:
        """The dotted global name, or "" when it isn't known."""
        if name == "__builtins__":
            return "builtins"
        scope: Scope | None = self
        stars: list[str] = []
        while scope is not None:
            if name in scope.names and (scope is self or not scope.is_class):
                return scope.names[name]
            stars.extend(scope.stars)
            scope = scope.outer
        if name in self.builtins:
            return f"builtins.{name}"
        return f"{stars[0]}.{name}" if stars else ""

    def dotted(self, node: ast.expr) -> str:
        """`o.path.join` with `import os as o` is `os.path.join`; "" for what isn't a chain of names."""
        parts: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if isinstance(at, ast.Name):
            parts.append(self.lookup(at.id))
        elif isinstance(at, ast.Call):
            parts.append(self._called(at))
        else:
            return ""
        return ".".join(reversed(parts)) if parts[-1] else ""

    def _called(self, call: ast.Call) -> str:
        """`getattr(os, "system")` is `os.system`; `__import__("os")` and `importlib.import_module("os")` are `os`."""
        if isinstance(call.func, ast.Attribute) and call.func.attr not in ("import_module", "__import__", "getattr"):
            return ""  # long chains of calls end here, before they nest
        callee = self.dotted(call.func)
        texts = [arg.value if isinstance(arg, ast.Constant) and isinstance(arg.value, str) else "" for arg in call.args]
        if callee in IMPORTERS and texts:
            return texts[0]
        if callee == "builtins.getattr" and len(texts) > 1 and texts[1]:
            owner = self.dotted(call.args[0])
            return f"{owner}.{texts[1]}" if owner else ""
        return ""


def open_scope(node: ast.AST, outer: Scope | None, builtins: frozenset[str]) -> Scope:
    """The scope of a module, class, function or comprehension."""
    scope = Scope(outer, isinstance(node, ast.ClassDef), builtins)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        arguments = node.args
        for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
            if arg is not None:
                scope.names[arg.arg] = ""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        for inner in _own_statements(node):
            _bind(inner, scope)
    return scope


def _own_statements(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.stmt]:
    """Statements of this scope, not those of scopes within, in order of the text."""
    todo: list[ast.AST] = list(reversed(node.body))
    while todo:
        at = todo.pop()
        if isinstance(at, ast.stmt):
            yield at
        if not isinstance(at, _OPENS_SCOPE) and not isinstance(at, ast.expr):
            todo.extend(reversed(list(ast.iter_child_nodes(at))))


def _bind(node: ast.stmt, scope: Scope) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        scope.names.setdefault(node.name, "")
    elif isinstance(node, ast.Import):
        for alias in node.names:
            scope.names[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            target = "" if node.level else f"{node.module}.{alias.name}"
            if alias.name != "*":
                scope.names[alias.asname or alias.name] = target
            elif target:
                scope.stars.append(node.module or "")
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        dotted = scope.dotted(node.value)
        if dotted:
            scope.names.setdefault(node.targets[0].id, dotted)
