"""The definitions that a changed signature has in a tree, and the edits of their files: list, body, wrapper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from textwrap import indent

from tree_sitter import Node

from cavalcade.kernel.errors import NameNotUsable, RecipeRefused
from cavalcade.recipes.edits import Replacement
from cavalcade.recipes.signature import Change, Parameter, read_signature
from cavalcade.recipes.signature_text import Wrapper, fitted, rewrite_list
from cavalcade.terrain.meaning import ClassId
from cavalcade.terrain.python import text_of
from cavalcade.terrain.terrain import Terrain
from cavalcade.terrain.tokens import PythonFile, Token

_CLEAR = frozenset(
    {
        "overload",
        "staticmethod",
        "classmethod",
        "abstractmethod",
        "override",
        "final",
        "contextmanager",
        "asynccontextmanager",
        "no_type_check",
    }
)
"""Decorators whose result is called as the function below them is."""
_NOT_CALLED = frozenset({"property", "cached_property", "setter", "getter", "deleter"})
_BY_NAME = ("locals", "vars", "eval", "exec")


@dataclass(frozen=True)
class Definition:
    """One `def`. `node` is its syntax, `statement` this with its decorators."""

    file: PythonFile
    node: Node
    in_class: bool

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def is_stub(self) -> bool:
        return self.path.endswith(".pyi")

    @cached_property
    def name(self) -> str:
        return _field(self.node, "name")

    @cached_property
    def statement(self) -> Node:
        holder = self.node.parent
        return holder if holder is not None and holder.type == "decorated_definition" else self.node

    @cached_property
    def decorators(self) -> tuple[str, ...]:
        if self.statement is self.node:
            return ()
        found = (
            text_of(child).lstrip("@").strip() for child in self.statement.named_children if child.type == "decorator"
        )
        return tuple(text.split("(")[0].rpartition(".")[2] for text in found)

    @property
    def how(self) -> str:
        return next((name for name in self.decorators if name in {"classmethod", "staticmethod"}), "")

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return read_signature(self.parameters_text)

    @property
    def parameters_node(self) -> Node:
        node = self.node.child_by_field_name("parameters")
        assert node is not None  # the grammar gives every function a list
        return node

    @property
    def parameters_text(self) -> str:
        return text_of(self.parameters_node)

    @property
    def skip(self) -> int:
        """1 when the first parameter is `self` or `cls`."""
        own = self.parameters
        return int(self.in_class and self.how != "staticmethod" and bool(own) and own[0].is_positional)

    @property
    def own(self) -> tuple[Parameter, ...]:
        return self.parameters[self.skip :]

    @cached_property
    def awaits(self) -> bool:
        """It is a coroutine function: calling it gives something to await."""
        is_async = any(child.type == "async" for child in self.node.children)
        return (
            is_async and not _yields(self.node) and not set(self.decorators) & {"contextmanager", "asynccontextmanager"}
        )

    @property
    def column(self) -> int:
        return self.statement.start_point.column

    def at(self, start: int) -> str:
        return str(self.file.source.place(self.path, start))

    @property
    def place(self) -> str:
        return self.at(self.node.start_byte)


def definitions(terrain: Terrain, functions: Iterable[ClassId]) -> list[Definition]:
    """Every `def` of these functions, overloads and stubs included, in order of path and line."""
    found: list[Definition] = []
    for path, qualname in sorted(functions):
        file = terrain.files.python(path)
        for token in file.tokens(qualname.rpartition(".")[2]):
            node = token.node.parent
            if token.role == "function" and node is not None and file.qualname(node) == qualname:
                chain = file.scope_chain(node)
                found.append(Definition(file, node, bool(chain) and chain[0].type == "class_definition"))
    return found


def check(definition: Definition, change: Change) -> None:
    """Raises RecipeRefused, NameNotUsable when this definition can't be changed so."""
    strange = [name for name in definition.decorators if name in _NOT_CALLED]
    if change.needs_wrapper:
        strange += [name for name in definition.decorators if name not in _CLEAR]
    if strange:
        raise RecipeRefused(
            f"{definition.name} is decorated with @{strange[0]}: what it is called as can't be told",
            expected="a function or method whose callers call it as it is written",
            hint="parameters that are only added, with defaults, need no wrapper" if change.needs_wrapper else "",
            places=(definition.place,),
        )
    try:
        new = fitted(definition.own, change)
    except RecipeRefused as exc:
        raise RecipeRefused(exc.what, expected=exc.expected, places=(definition.place,)) from exc
    if new is not None and not definition.is_stub:
        _check_body(definition, change)


def _check_body(definition: Definition, change: Change) -> None:
    file, node = definition.file, definition.node
    for name in change.removed:
        used = [definition.at(token.start) for token in _meaning_parameter(definition, name)]
        if used:
            raise RecipeRefused(f"{name!r} is used in {definition.name}, so it can't be removed", places=tuple(used))
    for word in _BY_NAME if change.renamed or change.removed else ():
        for token in file.tokens(word):
            if token.role == "load" and _within(token, node) and _called(token) is not None:
                raise RecipeRefused(
                    f"{definition.name} may reach its parameters by name, with {word}()",
                    places=(definition.at(token.start),),
                )
    for new in (*change.renamed.values(), *(parameter.name for parameter in change.added)):
        for token in file.tokens(new):
            if _within(token, node) and token.is_code and token.role not in {"attribute", "keyword", "module"}:
                raise NameNotUsable(
                    f"{new!r} already means something in {definition.name}",
                    expected="a name that the function does not use",
                    places=(definition.at(token.start),),
                )


def list_and_body(definition: Definition, change: Change) -> Iterator[Replacement]:
    """The new parameter list, and renamed parameters where the body says them."""
    parameters = definition.parameters_node
    text = rewrite_list(definition.parameters_text, definition.skip, change)
    if text != definition.parameters_text:
        yield Replacement(parameters.start_byte, parameters.end_byte, text)
        for old, new in change.renamed.items():
            for token in _meaning_parameter(definition, old):
                yield Replacement(token.start, token.end, new)


def mentions(definition: Definition, change: Change) -> Iterator[tuple[Token, str]]:
    """Where the docstring or a comment speaks of a parameter that is renamed or removed, with its new name."""
    body = definition.file.source.body
    for old in (*change.renamed, *change.removed):
        for token in definition.file.tokens(old):
            if not _within(token, definition.node) or token.role not in {"docstring", "doctest", "comment"}:
                continue
            before = body[max(0, token.start - 40) : token.start].decode(errors="replace").rpartition("\n")[2]
            after = body[token.end : token.end + 2].decode(errors="replace")
            if re.search(r"(:\w+ (\S+ )?|`)\Z", before) or (not before.strip() and after[:1] in {":", " "}):
                yield token, change.now[old]


def wrappers(file: PythonFile, wrapped: list[Definition], change: Change) -> Iterator[Replacement]:
    """What lets old calls of these definitions of one file go on."""
    newline = "\r\n" if b"\r\n" in file.source.body else "\n"
    type_checking, imported = _type_checking(file)
    if imported is not None:
        yield Replacement(imported.start, imported.end, imported.text.replace("\n", newline))
    made: dict[tuple[int, bool], Wrapper] = {}
    only = wrapped[0] if len(wrapped) == 1 and _is_top_level(wrapped[0].statement) else None
    for definition in wrapped:
        sort = (definition.skip, definition.awaits)
        if sort not in made:
            made[sort] = Wrapper(_maker_name(definition, len(made)), definition.name, change, *sort)
        wrapper = made[sort]
        text = wrapper.binding(type_checking, definition.how)
        if definition is only:
            text = wrapper.definition(type_checking) + "\n" + text.partition("\n")[2]
        gap = "\n\n" if _is_top_level(definition.statement) else "\n"
        end, joint = _end_of(definition)
        block = gap + indent(text, " " * definition.column)
        yield Replacement(end, end, (joint + block).replace("\n", newline))
    if only is None and made:
        start = _start_before(wrapped[0].statement)
        text = "\n\n".join(wrapper.definition(type_checking) for wrapper in made.values()) + "\n\n"
        yield Replacement(start, start, text.replace("\n", newline))


def _maker_name(definition: Definition, others: int) -> str:
    """A name that the file does not have: there may be a wrapper of an earlier change."""
    first = name = f"_{definition.name.strip('_')}_for_old_calls"
    number = others + 1
    while number > 1 or definition.file.tokens(name):
        number += number == 1
        name = f"{first}_{number}"
        if not definition.file.tokens(name):
            return name
        number += 1
    return name


def _meaning_parameter(definition: Definition, name: str) -> Iterator[Token]:
    """Occurrences in the function's body that mean its parameter, nested functions included."""
    file, parameters = definition.file, definition.parameters_node
    for token in file.tokens(name):
        if not token.is_code or token.role in {"attribute", "keyword", "module"} or not _within(token, definition.node):
            continue
        if parameters.start_byte <= token.start < parameters.end_byte:
            continue
        scope = file.scope_of(token)
        if scope is not None and scope.id == definition.node.id:
            yield token


def _within(token: Token, node: Node) -> bool:
    return node.start_byte <= token.start < node.end_byte


def _called(token: Token) -> Node | None:
    parent = token.node.parent
    if parent is not None and parent.type == "call" and parent.child_by_field_name("function") == token.node:
        return parent
    return None


def _yields(function: Node) -> bool:
    pending = list(function.children)
    while pending:
        node = pending.pop()
        if node.type == "yield":
            return True
        if node.type not in {"function_definition", "lambda", "class_definition"}:
            pending.extend(node.children)
    return False


def _field(node: Node, name: str) -> str:
    child = node.child_by_field_name(name)
    return "" if child is None else text_of(child)


def _is_top_level(node: Node) -> bool:
    return node.parent is not None and node.parent.type == "module"


def _end_of(definition: Definition) -> tuple[int, str]:
    """Where the next line after the definition starts, and a line end when the file lacks its last one."""
    body, at = definition.file.source.body, definition.node.end_byte
    while True:
        end = body.find(b"\n", at)
        if end < 0:
            return len(body), "\n"
        line = body[end + 1 :].split(b"\n", 1)[0]
        inner = len(line) - len(line.lstrip(b" \t"))
        if not line.lstrip().startswith(b"#") or inner <= definition.column:
            return end + 1, ""
        at = end + 1


def _start_before(node: Node) -> int:
    """Where the top-level statement that holds a node starts, comments right above it included."""
    while node.parent is not None and node.parent.type != "module":
        node = node.parent
    previous = node.prev_sibling
    while previous is not None and previous.type == "comment" and previous.end_point.row == node.start_point.row - 1:
        node, previous = previous, previous.prev_sibling
    return node.start_byte


def _type_checking(file: PythonFile) -> tuple[str, Replacement | None]:
    """How this file says TYPE_CHECKING, and the import it needs for it."""
    statements = [child for child in file.tree.root_node.children if child.type.startswith("import")]
    for imported in file.facts.imports:
        if imported.scope or imported.level:
            continue
        if imported.module == "typing" and imported.name == "TYPE_CHECKING":
            return imported.alias, None
        if imported.module == "typing" and not imported.name:
            return f"{imported.alias}.TYPE_CHECKING", None
    for statement in statements:
        if statement.type == "import_from_statement" and _field(statement, "module_name") == "typing":
            first = next(
                child for child in statement.named_children[1:] if child.type in {"dotted_name", "aliased_import"}
            )
            space = file.source.body[: first.start_byte].rpartition(b"import")[2].lstrip(b"( ").decode() or " "
            return "TYPE_CHECKING", Replacement(first.start_byte, first.start_byte, f"TYPE_CHECKING,{space}")
    return "TYPE_CHECKING", _new_import(file, statements)


def _new_import(file: PythonFile, statements: list[Node]) -> Replacement:
    line = "from typing import TYPE_CHECKING\n"
    if statements:
        at = statements[0].start_byte
        return Replacement(at, at, line)
    ahead = [
        child
        for child in file.tree.root_node.children
        if child.type == "future_import_statement"
        or (
            child.type == "expression_statement"
            and child.named_children[0].type == "string"
            and child.prev_named_sibling is None
        )
    ]
    if ahead:
        end = file.source.body.find(b"\n", ahead[-1].end_byte) + 1
        return (
            Replacement(end, end, f"\n{line}")
            if end
            else Replacement(len(file.source.body), len(file.source.body), f"\n\n{line}")
        )
    first = next(child for child in file.tree.root_node.children if child.type != "comment")
    return Replacement(first.start_byte, first.start_byte, f"{line}\n\n")
