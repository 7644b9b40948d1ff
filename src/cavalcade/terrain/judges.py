"""Judges: does this occurrence of a word mean the symbol? Answered from syntax, scopes, imports and class hierarchy alone.

`same` and `other` are certain; `outside` is an object of code that is not in the tree, most likely another thing; `unknown` is for the
resolvers to say.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from tree_sitter import Node

from cavalcade.terrain.classes import Classes, Family
from cavalcade.terrain.codetree import CodeTree
from cavalcade.terrain.facts import Import
from cavalcade.terrain.meaning import UNKNOWN, ClassId, Meaning, Reader
from cavalcade.terrain.python import text_of
from cavalcade.terrain.tokens import PythonFile, Token

Verdict = Literal["same", "other", "outside", "unknown"]
Files = Callable[[str], PythonFile]
_COPIERS = frozenset({"replace", "evolve", "_replace", "partial", "partialmethod", "copy_with", "model_copy"})


class Judge(Protocol):
    def judge(self, token: Token) -> Verdict:
        """For tokens in code roles."""
        ...


def _first(verdicts: Iterable[Verdict]) -> Verdict:
    """`same` if any is, else `unknown` if any is, else `other`."""
    found = set(verdicts)
    return "same" if "same" in found else "unknown" if "unknown" in found else "other"


class ModuleLevelJudge:
    """For a function, class or variable at module level. `homes` are the files that define it: the module and its stub."""

    def __init__(self, code: CodeTree, reader: Reader, files: Files, homes: frozenset[str], name: str) -> None:
        self._code = code
        self._reader = reader
        self._files = files
        self._homes = homes
        self._name = name
        self._carried: dict[str, Verdict] = {}

    def carries(self, path: str) -> Verdict:
        """Whether the module at `path` has the symbol under its own name: defined there, or imported without another name."""
        known = self._carried.get(path)
        if known is not None:
            return known
        self._carried[path] = "other"
        self._carried[path] = self._carries(path)
        return self._carried[path]

    def _carries(self, path: str) -> Verdict:
        if path in self._homes:
            return "same"
        facts = self._code.facts(path)
        verdict = _first(self._import_carries(path, i) for i in facts.imports if not i.scope)
        if (
            verdict == "other"
            and facts.dynamic
            and not any(d.name == self._name and not d.scope for d in facts.definitions)
        ):
            lazy = any(token.role == "equal" for token in self._files(path).tokens(self._name))
            return "same" if lazy and self._package_holds(path) else "unknown"
        return verdict

    def _package_holds(self, path: str) -> bool:
        """The symbol lives below the package that this `__init__` makes."""
        package = self._code.modules.name(path)
        return any(self._code.modules.name(home).startswith(package + ".") for home in self._homes)

    def _import_carries(self, path: str, imported: Import) -> Verdict:
        if imported.name == "*":
            target = self._code.modules.absolute(path, imported.level, imported.module)
            if not target or not self._code.modules.exists(target):
                return "other"
            return self.module_carries(target, path) if self._code.star_exports(target, self._name) else "other"
        if imported.name != self._name or imported.alias != self._name:
            return "other"
        return self._imported(path, imported)

    def _imported(self, path: str, imported: Import) -> Verdict:
        target = self._code.modules.absolute(path, imported.level, imported.module)
        return self.module_carries(target, path) if target else "unknown"

    def module_carries(self, module: str, near: str) -> Verdict:
        paths = self._code.modules.paths(module, near=near)
        return _first(self.carries(path) for path in paths) if paths else "other"

    def judge(self, token: Token) -> Verdict:
        match token.role:
            case "import":
                return self._judge_import(token)
            case "alias":
                return self._judge_import(token) if _is_redundant_alias(token) else "other"
            case "attribute":
                return self._judge_attribute(token)
            case "keyword" | "module" | "parameter":
                return "other"
            case _:
                return self._judge_name(token)

    def _judge_import(self, token: Token) -> Verdict:
        file = self._files(token.path)
        start = token.node.start_byte
        if token.role == "alias" and token.node.parent is not None:
            start = token.node.parent.start_byte
        for imported in file.facts.imports:
            if imported.start == start and imported.name == self._name:
                return self._imported(token.path, imported)
        return "unknown"

    def _judge_name(self, token: Token) -> Verdict:
        file = self._files(token.path)
        scope = file.scope_of(token)
        if scope is None:
            carried = self.carries(token.path)
            if carried == "other" and not hasattr(builtins, self._name) and self._has_open_star(file):
                return "unknown"
            return carried
        if scope.type == "module":
            return self.carries(token.path)
        imports = [bound for bound in file.bindings(self._name)[scope.id] if bound.role in {"import", "alias"}]
        return _first(self.judge(bound) for bound in imports)

    def _has_open_star(self, file: PythonFile) -> bool:
        """A star import from a module that is not in the tree, or from one with names made at run time."""
        return any(
            self._code.origins(self._code.modules.name(file.path), self._name, near=file.path) is None
            for imported in file.facts.imports
            if imported.name == "*"
        )

    def _judge_attribute(self, token: Token) -> Verdict:
        target = token.node.parent.child_by_field_name("object") if token.node.parent is not None else None
        meaning = UNKNOWN if target is None else self._reader.meaning(token.path, target)
        match meaning.kind:
            case "module":
                return self.module_carries(meaning.module, token.path)
            case "external":
                return "outside"
            case "instance" | "class" | "super":
                return "other"
            case _:
                return "unknown"


def _is_redundant_alias(token: Token) -> bool:
    """`from m import name as name`: the idiom for a re-export."""
    parent = token.node.parent
    original = parent.child_by_field_name("name") if parent is not None else None
    return original is not None and text_of(original) == text_of(token.node)


class MemberJudge:
    """For a method, or a class or instance attribute, with the whole family of classes that share it."""

    def __init__(self, reader: Reader, files: Files, classes: Classes, family: Family, name: str) -> None:
        self._reader = reader
        self._files = files
        self._classes = classes
        self._family = family
        self._name = name
        self._is_field = any(d.kind == "variable" for owner in family.owners for d in classes.members(owner, name))

    def judge(self, token: Token) -> Verdict:
        match token.role:
            case "attribute":
                return self._judge_attribute(token)
            case "keyword":
                return self._judge_keyword(token)
            case "import" | "alias" | "module" | "parameter":
                return "other"
            case _:
                return self._judge_name(token)

    def _judge_name(self, token: Token) -> Verdict:
        file = self._files(token.path)
        scope = file.scope_of(token)
        if scope is None or scope.type != "class_definition":
            return "other"
        return "same" if ClassId(token.path, file.qualname(scope)) in self._family.owners else "other"

    def _judge_attribute(self, token: Token) -> Verdict:
        parent = token.node.parent
        target = parent.child_by_field_name("object") if parent is not None else None
        meaning = UNKNOWN if target is None else self._reader.meaning(token.path, target)
        match meaning.kind:
            case "module":
                return "other"
            case "external":
                return "outside"
            case "instance" | "class" | "super":
                return self._looked_up(meaning)
            case _:
                return "unknown"

    def _looked_up(self, meaning: Meaning) -> Verdict:
        if meaning.owner is None:
            return "unknown"
        found = self._classes.finds(meaning.owner, self._name, after=meaning.kind == "super")
        if found is None:
            return "same" if meaning.owner in self._family.related else "unknown"
        return "same" if found in self._family.owners else "other"

    def _judge_keyword(self, token: Token) -> Verdict:
        """`Class(name=...)` where the attribute is a field of a class without an `__init__` of its own."""
        callee = callee_of(token)
        if callee is None or not self._is_field:
            return "other"
        meaning = self._reader.meaning(token.path, callee)
        if meaning.kind == "class" and meaning.owner is not None:
            if self._classes.finds(meaning.owner, "__init__") is not None:
                return "other"
            return "same" if self._classes.finds(meaning.owner, self._name) in self._family.owners else "other"
        short = text_of(callee).rpartition(".")[2]
        return "unknown" if short in _COPIERS or short == "cls" else "outside"


class ParameterJudge:
    """For a parameter of a function, with the overrides that share it. `functions` are (path, qualified name)."""

    def __init__(
        self, reader: Reader, files: Files, classes: Classes, functions: frozenset[ClassId], name: str
    ) -> None:
        self._reader = reader
        self._files = files
        self._classes = classes
        self._functions = functions
        self._name = name

    def judge(self, token: Token) -> Verdict:
        match token.role:
            case "keyword":
                return self._judge_keyword(token)
            case "load" | "bind" | "parameter" | "global":
                return self._judge_name(token)
            case _:
                return "other"

    def _judge_name(self, token: Token) -> Verdict:
        file = self._files(token.path)
        scope = file.scope_of(token)
        if scope is None or scope.type != "function_definition":
            return "other"
        return "same" if ClassId(token.path, file.qualname(scope)) in self._functions else "other"

    def _judge_keyword(self, token: Token) -> Verdict:
        callee = callee_of(token)
        if callee is None:
            return "other"
        return self._callee_verdict(token.path, callee, token)

    def _callee_verdict(self, path: str, callee: Node, token: Token) -> Verdict:
        if text_of(callee).rpartition(".")[2] in {"partial", "partialmethod"}:
            arguments = token.node.parent.parent if token.node.parent is not None else None
            inner = arguments.named_children[0] if arguments is not None and arguments.named_children else None
            return (
                "unknown" if inner is None or inner.type == "keyword_argument" else self._function_verdict(path, inner)
            )
        return self._function_verdict(path, callee)

    def _function_verdict(self, path: str, callee: Node) -> Verdict:
        meaning = self._callable(path, callee)
        if meaning.kind == "function" and meaning.function is not None:
            return "same" if meaning.function in self._functions else "other"
        return "outside" if meaning.kind == "external" else "unknown"

    def _callable(self, path: str, callee: Node) -> Meaning:
        meaning = self._reader.meaning(path, callee)
        if meaning.kind == "class" and meaning.owner is not None:
            return self._method(meaning.owner, "__init__")
        if meaning.kind == "unknown" and callee.type == "attribute":
            target, name = callee.child_by_field_name("object"), callee.child_by_field_name("attribute")
            owner = self._reader.meaning(path, target) if target is not None else UNKNOWN
            if owner.kind in {"instance", "class", "super"} and owner.owner is not None and name is not None:
                return self._method(owner.owner, text_of(name), after=owner.kind == "super")
        return meaning

    def _method(self, owner: ClassId, name: str, *, after: bool = False) -> Meaning:
        found = self._classes.finds(owner, name, after=after)
        if found is None:
            return UNKNOWN
        return Meaning("function", function=ClassId(found.path, f"{found.qualname}.{name}"))


class ModuleJudge:
    """For a module or package by its own last name: `nodes` of `jinja2.nodes`."""

    def __init__(self, code: CodeTree, reader: Reader, files: Files, module: str) -> None:
        self._code = code
        self._reader = reader
        self._files = files
        self._module = module
        self._name = module.rpartition(".")[2]

    def judge(self, token: Token) -> Verdict:
        match token.role:
            case "module":
                return "same" if self._component(token) == self._module else "other"
            case "import":
                return self._judge_import(token, token.node.start_byte)
            case "alias":
                return self._judge_alias(token)
            case "attribute":
                return self._judge_attribute(token)
            case "keyword" | "parameter" | "function" | "class":
                return "other"
            case _:
                return self._judge_name(token)

    def _component(self, token: Token) -> str:
        """The absolute module that a dotted name in an import means up to and with this component."""
        dotted = token.node.parent
        if dotted is None:
            return ""
        parts = [text_of(part) for part in dotted.named_children if part.end_byte <= token.end]
        level = 0
        if dotted.parent is not None and dotted.parent.type == "relative_import":
            level = text_of(dotted.parent.named_children[0]).count(".")
        return self._code.modules.absolute(token.path, level, ".".join(parts))

    def _judge_import(self, token: Token, start: int) -> Verdict:
        for imported in self._code.facts(token.path).imports:
            if imported.start == start and imported.name == self._name:
                target = self._code.modules.absolute(token.path, imported.level, imported.module)
                return self._named(target, token.path)
        return "other"

    def _judge_alias(self, token: Token) -> Verdict:
        parent = token.node.parent
        if parent is None or not _is_redundant_alias(token):
            return "other"
        return self._judge_import(token, parent.start_byte)

    def _named(self, package: str, near: str) -> Verdict:
        """Whether `package.<name>` is the module: as its submodule, or handed on under the same name."""
        if f"{package}.{self._name}" == self._module:
            own = [o for o in self._code.origins(package, self._name, near=near) or () if o.definition is not None]
            return "other" if own else "same"
        origins = self._code.origins(package, self._name, near=near)
        if origins is None:
            return "outside"
        return "same" if any(o.definition is None and o.module == self._module for o in origins) else "other"

    def _judge_attribute(self, token: Token) -> Verdict:
        target = token.node.parent.child_by_field_name("object") if token.node.parent is not None else None
        meaning = UNKNOWN if target is None else self._reader.meaning(token.path, target)
        match meaning.kind:
            case "module":
                return self._named(meaning.module, token.path)
            case "external":
                return "outside"
            case "unknown":
                return "unknown"
            case _:
                return "other"

    def _judge_name(self, token: Token) -> Verdict:
        file = self._files(token.path)
        found = file.lookup(token.node)
        if found is None:
            meaning = self._reader.meaning(token.path, token.node)
            return "same" if meaning.kind == "module" and meaning.module == self._module else "other"
        return _first(self.judge(bound) for bound in found[1] if bound.role in {"import", "alias", "module"})


def callee_of(token: Token) -> Node | None:
    """The called expression (or the class of a class pattern) that a keyword belongs to."""
    node = token.node.parent
    while node is not None and node.type not in {"call", "class_pattern", "class_definition"}:
        node = node.parent
    if node is None or node.type == "class_definition":
        return None
    return node.child_by_field_name("function") if node.type == "call" else node.named_children[0]
