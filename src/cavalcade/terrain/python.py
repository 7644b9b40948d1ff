"""Reading Python source with tree-sitter: error tolerant, independent of the running interpreter's version.

`analyse` yields the facts of a file. Only statements are walked; expressions are found by one query that runs outside Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

import tree_sitter_python
from tree_sitter import Language, Node, Parser, Query, QueryCursor, Tree

from cavalcade.terrain.facts import Definition, Export, FileFacts, Import, SyntaxProblem, Use
from cavalcade.terrain.source import SourceText

_DOTTED = re.compile(rb"[^\W\d]\w*(?:\.[^\W\d]\w*)+\Z")
_DYNAMIC = re.compile(
    rb"globals\(\)\s*(?:\[[^\]]*\]\s*=|\.update\()|vars\(\)\s*\[|sys\.modules\s*\[\s*__name__\s*\]\s*=|^\s*exec\(", re.M
)
_MAX_PROBLEMS = 20


@cache
def language() -> Language:
    return Language(tree_sitter_python.language())


@cache
def _attributes() -> Query:
    return Query(language(), "(attribute) @attribute")


def parse(body: bytes) -> Tree:
    return Parser(language()).parse(body)


def text_of(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def captures(query: Query, node: Node, name: str) -> list[Node]:
    return QueryCursor(query).captures(node).get(name, [])


def problems_of(tree: Tree, source: SourceText) -> tuple[SyntaxProblem, ...]:
    """Where the grammar had to skip or invent something, first ones first."""
    if not tree.root_node.has_error:
        return ()
    found: list[SyntaxProblem] = []
    pending = [tree.root_node]
    while pending and len(found) < _MAX_PROBLEMS:
        node = pending.pop()
        if node.is_error or node.is_missing:
            start = _first_strange(node)
            line = source.line_of(start)
            found.append(SyntaxProblem(start, line, source.line_text(line).strip()))
        elif node.has_error:
            pending.extend(reversed(node.children))
    return tuple(found)


def _first_strange(node: Node) -> int:
    """Where the trouble starts: an error node may begin with whole statements that are fine."""
    for child in node.children:
        if child.has_error or not child.type.endswith(("_statement", "_definition", "comment")):
            return child.start_byte
    return node.start_byte


def analyse(source: SourceText, tree: Tree) -> FileFacts:
    """The facts of a file from its syntax tree; never fails, what could not be read is under `problems`."""
    collector = _Collector(source)
    collector.block(tree.root_node, scope="", owner="", in_function=False)
    module_level = [d for d in collector.definitions if not d.scope]
    dynamic = any(d.kind == "function" and d.name == "__getattr__" for d in module_level)
    return FileFacts(
        definitions=tuple(collector.definitions),
        imports=tuple(collector.imports),
        exports=None if collector.exports is None else tuple(collector.exports),
        exports_open=collector.exports_open,
        uses=tuple(_uses(tree, source, {i.alias for i in collector.imports if i.alias})),
        problems=problems_of(tree, source),
        dynamic=dynamic or _DYNAMIC.search(source.body) is not None,
    )


def _uses(tree: Tree, source: SourceText, roots: set[str]) -> Iterator[Use]:
    heads = {root.split(".")[0] for root in roots}
    longest: dict[int, tuple[str, ...]] = {}
    for node in captures(_attributes(), tree.root_node, "attribute"):
        text = node.text or b""
        if _DOTTED.match(text):
            chain = tuple(text.decode().split("."))
            if chain[0] in heads and len(chain) > len(longest.get(node.start_byte, ())):
                longest[node.start_byte] = chain
    for start, chain in sorted(longest.items()):
        yield Use(chain, start, source.line_of(start))


class _Collector:
    """Walks statements, top down."""

    def __init__(self, source: SourceText) -> None:
        self._source = source
        self.definitions: list[Definition] = []
        self.imports: list[Import] = []
        self.exports: list[Export] | None = None
        self.exports_open = False

    def block(self, node: Node, *, scope: str, owner: str, in_function: bool) -> None:
        """`owner` is the class whose method this is, so that `self.x = ...` belongs to it."""
        for child in node.named_children:
            self._statement(child, scope, owner, in_function)

    def _statement(self, node: Node, scope: str, owner: str, in_function: bool) -> None:
        kind = node.type
        if kind == "expression_statement":
            for child in node.named_children:
                self._expression(child, scope, owner, in_function)
        elif kind in {"import_statement", "import_from_statement", "future_import_statement"}:
            self.imports.extend(_imports(node, scope, self._source))
        elif kind == "decorated_definition":
            definition = node.child_by_field_name("definition")
            if definition is not None:
                self._statement(definition, scope, owner, in_function)
        elif kind in {"function_definition", "class_definition"}:
            self._definition(node, scope, owner, in_function)
        elif kind == "type_alias_statement":
            left = node.child_by_field_name("left")
            name = _first_identifier(left) if left is not None else None
            if name is not None:
                self._define("variable", name, scope, in_function)
        elif not kind.startswith("comment"):
            self._compound(node, scope, owner, in_function)

    def _compound(self, node: Node, scope: str, owner: str, in_function: bool) -> None:
        if node.type == "for_statement":
            left = node.child_by_field_name("left")
            if left is not None:
                self._targets(left, scope, owner, in_function)
        for child in node.named_children:
            if child.type == "block":
                self.block(child, scope=scope, owner=owner, in_function=in_function)
            elif child.type.endswith("_clause") or child.type == "ERROR":
                self._compound(child, scope, owner, in_function)
            elif child.type in {"as_pattern", "with_item"}:
                self._as_targets(child, scope, owner, in_function)
            elif node.type == "ERROR":
                self._statement(child, scope, owner, in_function)

    def _as_targets(self, node: Node, scope: str, owner: str, in_function: bool) -> None:
        for child in node.named_children:
            if child.type == "as_pattern_target":
                for target in child.named_children:
                    self._targets(target, scope, owner, in_function)
            elif child.type == "as_pattern":
                self._as_targets(child, scope, owner, in_function)

    def _definition(self, node: Node, scope: str, owner: str, in_function: bool) -> None:
        name = node.child_by_field_name("name")
        body = node.child_by_field_name("body")
        if name is None:
            return
        qualname = f"{scope}.{text_of(name)}" if scope else text_of(name)
        if node.type == "class_definition":
            bases = node.child_by_field_name("superclasses")
            texts = () if bases is None else tuple(_base_texts(bases))
            self._define("class", name, scope, in_function, texts)
            if body is not None:
                self.block(body, scope=qualname, owner=qualname, in_function=in_function)
            return
        self._define("function", name, scope, in_function)
        if body is not None:
            self.block(body, scope=qualname, owner=owner, in_function=True)

    def _define(self, kind: str, name: Node, scope: str, in_function: bool, bases: tuple[str, ...] = ()) -> None:
        start = name.start_byte
        line = self._source.line_of(start)
        text = text_of(name)
        match kind:
            case "class":
                self.definitions.append(Definition("class", text, scope, start, line, bases, in_function))
            case "function":
                self.definitions.append(Definition("function", text, scope, start, line, (), in_function))
            case "attribute":
                self.definitions.append(Definition("attribute", text, scope, start, line, (), in_function))
            case _:
                self.definitions.append(Definition("variable", text, scope, start, line, (), in_function))

    def _expression(self, node: Node, scope: str, owner: str, in_function: bool) -> None:
        if node.type == "assignment":
            left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
            if left is not None:
                self._targets(left, scope, owner, in_function)
                if text_of(left) == "__all__" and not scope and right is not None:
                    self.exports = []
                    self._exports(right)
            if right is not None and right.type == "assignment":
                self._expression(right, scope, owner, in_function)
        elif node.type == "augmented_assignment":
            left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
            if left is not None and right is not None and text_of(left) == "__all__" and not scope:
                self._exports(right)
        elif node.type == "call" and not scope:
            self._export_call(node)

    def _export_call(self, node: Node) -> None:
        function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
        if function is None or arguments is None:
            return
        if text_of(function) in {"__all__.extend", "__all__.append"}:
            for argument in arguments.named_children:
                self._exports(argument)
        elif text_of(function) == "__all__.remove":
            self.exports_open = True

    def _exports(self, node: Node) -> None:
        self.exports = [] if self.exports is None else self.exports
        match node.type:
            case "list" | "tuple" | "set" | "binary_operator" | "parenthesized_expression" | "expression_list":
                for child in node.named_children:
                    self._exports(child)
            case "string":
                content = [child for child in node.named_children if child.type == "string_content"]
                if len(content) == 1:
                    start = content[0].start_byte
                    self.exports.append(Export(text_of(content[0]), start, self._source.line_of(start)))
            case "comment":
                pass
            case _:
                self.exports_open = True

    def _targets(self, node: Node, scope: str, owner: str, in_function: bool) -> None:
        if node.type == "identifier":
            self._define("variable", node, scope, in_function)
        elif node.type == "attribute":
            target, name = node.child_by_field_name("object"), node.child_by_field_name("attribute")
            if owner and in_function and target is not None and name is not None and text_of(target) in {"self", "cls"}:
                self._define("attribute", name, owner, in_function=False)
        elif node.type in {
            "pattern_list",
            "tuple_pattern",
            "list_pattern",
            "list_splat_pattern",
            "expression_list",
            "tuple",
        }:
            for child in node.named_children:
                self._targets(child, scope, owner, in_function)


def _first_identifier(node: Node) -> Node | None:
    pending = [node]
    while pending:
        current = pending.pop()
        if current.type == "identifier":
            return current
        pending.extend(reversed(current.named_children))
    return None


def _base_texts(arguments: Node) -> Iterator[str]:
    for child in arguments.named_children:
        if child.type == "subscript":
            value = child.child_by_field_name("value")
            if value is not None:
                yield text_of(value)
        elif child.type not in {"keyword_argument", "comment"}:
            yield text_of(child)


def _imports(node: Node, scope: str, source: SourceText) -> Iterable[Import]:
    if node.type == "future_import_statement":
        return
    module_node = node.child_by_field_name("module_name")
    module, level = "", 0
    if module_node is not None:
        dots = text_of(module_node).replace(" ", "")
        module = dots.lstrip(".")
        level = len(dots) - len(module)
    for child in node.named_children:
        if child.type == "wildcard_import":
            yield Import(module, level, "*", "", scope, child.start_byte, source.line_of(child.start_byte), False)
        elif child != module_node and child.type in {"dotted_name", "aliased_import"}:
            yield _imported(child, module_node is not None, module, level, scope, source)


def _imported(node: Node, is_from: bool, module: str, level: int, scope: str, source: SourceText) -> Import:
    name_node, alias_node = node, None
    if node.type == "aliased_import":
        name_node = node.child_by_field_name("name") or node
        alias_node = node.child_by_field_name("alias")
    name, start = text_of(name_node).replace(" ", ""), name_node.start_byte
    alias = text_of(alias_node) if alias_node is not None else name
    line = source.line_of(start)
    if is_from:
        return Import(module, level, name, alias, scope, start, line, alias_node is not None)
    return Import(name, 0, "", alias, scope, start, line, alias_node is not None)
