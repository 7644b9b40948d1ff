"""Every place in a Python file where one word stands, and what it is there: a name in some role, or plain text of some kind."""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, NamedTuple

from tree_sitter import Node, Tree

from cavalcade.terrain.facts import FileFacts
from cavalcade.terrain.python import text_of
from cavalcade.terrain.source import SourceText

CodeRole = Literal[
    "load",  # a bare name that is used or deleted
    "bind",  # a bare name that is assigned, in any of Python's ways
    "function",  # the name in `def name`
    "class",  # the name in `class name`
    "parameter",
    "global",  # in a `global` or `nonlocal` statement
    "import",  # the name in `from m import name`
    "alias",  # the name after `as` in an import
    "module",  # a component of a dotted module name in an import
    "attribute",  # the name in `x.name`
    "keyword",  # the name in `f(name=...)` or in a class pattern
]
TextRole = Literal[
    "export",  # entry of `__all__`
    "annotation",  # within a string that is a type annotation
    "equal",  # a string that is exactly the word
    "string",  # within another string
    "fstring",  # in the text part of an f-string
    "doctest",  # example line in a docstring
    "docstring",
    "comment",
]
Role = CodeRole | TextRole

CODE_ROLES: frozenset[str] = frozenset(
    {"load", "bind", "function", "class", "parameter", "global", "import", "alias", "module", "attribute", "keyword"}
)
_SCOPES = frozenset(
    {
        "module",
        "class_definition",
        "function_definition",
        "lambda",
        "list_comprehension",
        "set_comprehension",
        "dictionary_comprehension",
        "generator_expression",
    }
)
_COMPREHENSIONS = frozenset(
    {"list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression"}
)
_PATTERNS = frozenset({"pattern_list", "tuple_pattern", "list_pattern", "list_splat_pattern"})
_BINDING: frozenset[str] = frozenset({"bind", "function", "class", "parameter", "import", "alias", "module"})
_DOCTEST = re.compile(r"\s*(?:>>>|\.\.\.)(?:\s|\Z)")


class Token(NamedTuple):
    """One occurrence: byte range in the body of the file at `path`; `node` is the syntax node that holds it."""

    path: str
    start: int
    end: int
    role: Role
    node: Node

    @property
    def is_code(self) -> bool:
        return self.role in CODE_ROLES


class PythonFile:
    """A parsed file of a tree and the scopes of its names. Words are looked up lazily: nothing is walked that isn't asked for."""

    def __init__(self, path: str, source: SourceText, tree: Tree, facts: FileFacts) -> None:
        self.path = path
        self.source = source
        self.facts = facts
        self.tree = tree
        self._tokens: dict[str, tuple[Token, ...]] = {}
        self._bindings: dict[str, dict[int, list[Token]]] = {}
        self._exports = {entry.start for entry in facts.exports or ()}

    def tokens(self, word: str) -> tuple[Token, ...]:
        """Every occurrence of a word, in order."""
        known = self._tokens.get(word)
        if known is None:
            found = (self._token(match.start(), match.end()) for match in word_pattern(word).finditer(self.source.body))
            known = self._tokens[word] = tuple(token for token in found if token is not None)
        return known

    def _token(self, start: int, end: int) -> Token | None:
        node = self.tree.root_node.descendant_for_byte_range(start, end)
        if node is None:
            return None
        if node.type == "identifier":
            return Token(self.path, start, end, _code_role(node), node)
        if node.type == "comment":
            return Token(self.path, start, end, "comment", node)
        return self._text_token(start, end, node)

    def _text_token(self, start: int, end: int, node: Node) -> Token | None:
        string = node
        while string.type not in {"string", "concatenated_string"}:
            if string.parent is None:
                return None
            string = string.parent
        return Token(self.path, start, end, self._text_role(start, end, string), string)

    def _text_role(self, start: int, end: int, string: Node) -> Role:
        if start in self._exports:
            return "export"
        if _is_docstring(string):
            line = self.source.line_text(self.source.line_of(start))
            return "doctest" if _DOCTEST.match(line) else "docstring"
        if _is_annotation(string):
            return "annotation"
        content = [child for child in string.named_children if child.type == "string_content"]
        if len(content) == 1 and (content[0].start_byte, content[0].end_byte) == (start, end):
            return "equal"
        prefix = text_of(string.children[0]).lower() if string.children else ""
        return "fstring" if "f" in prefix or "t" in prefix else "string"

    def scope_chain(self, node: Node) -> list[Node]:
        """The scopes that a bare name at `node` is looked up in, innermost first; classes are seen only from their own body."""
        chain: list[Node] = []
        child, current = node, node.parent
        while current is not None:
            visible = current.type != "class_definition" or not chain
            if current.type in _SCOPES and visible and not _evaluated_outside(current, child, node):
                chain.append(current)
            child, current = current, current.parent
        return chain

    def bindings(self, word: str) -> dict[int, list[Token]]:
        """For each scope (by node id) the tokens that bind the word there."""
        known = self._bindings.get(word)
        if known is None:
            known = self._bindings[word] = {}
            for token in self.tokens(word):
                if token.role in _BINDING and _binds(token):
                    known.setdefault(self._binding_scope(token).id, []).append(token)
        return known

    def _binding_scope(self, token: Token) -> Node:
        chain = self.scope_chain(token.node)
        if token.node.parent is not None and token.node.parent.type == "named_expression":
            chain = [scope for scope in chain if scope.type not in _COMPREHENSIONS]
        scope = chain[0]
        declared = self._declared(scope, text_of(token.node))
        if declared == "global":
            return self.tree.root_node
        if declared == "nonlocal":
            return next((outer for outer in chain[1:] if outer.type == "function_definition"), scope)
        return scope

    def _declared(self, scope: Node, word: str) -> str:
        """`global` or `nonlocal` when the scope declares the word so."""
        if scope.type != "function_definition":
            return ""
        for token in self.tokens(word):
            if token.role == "global" and self.scope_chain(token.node)[0].id == scope.id:
                parent = token.node.parent
                return "global" if parent is not None and parent.type == "global_statement" else "nonlocal"
        return ""

    def scope_of(self, token: Token) -> Node | None:
        """The scope whose name a bare token means; None when no scope of this file binds it (a star import, a builtin)."""
        word = text_of(token.node)
        bound = self.bindings(word)
        if token.role in _BINDING and token.role != "module":
            return self._binding_scope(token)
        chain = self.scope_chain(token.node)
        if token.role == "global" and chain:
            parent = token.node.parent
            is_global = parent is not None and parent.type == "global_statement"
            chain = [self.tree.root_node] if is_global else chain[1:]
        for scope in chain:
            if self._declared(scope, word) == "global":
                return self.tree.root_node
            if scope.id in bound and not self._bound_later(scope, bound[scope.id], token):
                return scope
        return None

    @staticmethod
    def _bound_later(scope: Node, bindings: list[Token], token: Token) -> bool:
        """In a class body a name means the outer one until it is bound: `name = wrap(name)`."""
        return scope.type == "class_definition" and all(
            binding.start >= token.start or _statement_of(binding.node).end_byte > token.start for binding in bindings
        )

    def lookup(self, node: Node) -> tuple[Node, list[Token]] | None:
        """The scope and the bindings of the identifier at `node`, used as a bare name."""
        token = Token(self.path, node.start_byte, node.end_byte, "load", node)
        scope = self.scope_of(token)
        return None if scope is None else (scope, self.bindings(text_of(node)).get(scope.id, []))

    def qualname(self, scope: Node) -> str:
        """The qualified name of a class or function scope, empty for the module."""
        names: list[str] = []
        current: Node | None = scope
        while current is not None:
            name = (
                current.child_by_field_name("name")
                if current.type in {"class_definition", "function_definition"}
                else None
            )
            if name is not None:
                names.append(text_of(name))
            current = current.parent
        return ".".join(reversed(names))


@cache
def word_pattern(word: str) -> re.Pattern[bytes]:
    """Matches the word where no letter, digit or underscore touches it; the letter of an escape such as `\\n` doesn't count.

    The word comes first in the pattern: a search then runs at the speed of a search for plain bytes.
    """
    plain = re.escape(word.encode())
    alone = rb"(?<![\w\x80-\xff]" + plain + rb")"
    escaped = rb"(?<=\\[abfnrtv]" + plain + rb")"
    return re.compile(plain + rb"(?![\w\x80-\xff])(?:" + alone + rb"|" + escaped + rb")")


def _statement_of(node: Node) -> Node:
    while node.parent is not None and node.parent.type not in {"block", "module"}:
        node = node.parent
    return node


def _binds(token: Token) -> bool:
    """An imported name with `as` binds its alias instead; of a dotted module name only the first component binds."""
    parent = token.node.parent
    if token.role == "import":
        return not (parent is not None and parent.parent is not None and parent.parent.type == "aliased_import")
    if token.role == "module":
        statement = parent.parent if parent is not None else None
        return statement is not None and statement.type == "import_statement" and _first_child(parent) == token.node
    return True


def _first_child(node: Node | None) -> Node | None:
    return node.named_children[0] if node is not None and node.named_children else None


def _evaluated_outside(scope: Node, child: Node, node: Node) -> bool:
    """What stands inside a scope's text but is evaluated around it: its name, bases, defaults, annotations, first iterable."""
    if scope.type in {"function_definition", "class_definition"}:
        if child == scope.child_by_field_name("name") or child == scope.child_by_field_name("superclasses"):
            return True
        if child == scope.child_by_field_name("return_type"):
            return True
    if scope.type in {"function_definition", "lambda"} and child == scope.child_by_field_name("parameters"):
        return not _is_parameter_name(node)
    if scope.type in _COMPREHENSIONS and child.type == "for_in_clause":
        first = next((item for item in scope.named_children if item.type == "for_in_clause"), None)
        iterable = child.child_by_field_name("right")
        return first == child and iterable is not None and iterable.start_byte <= node.start_byte < iterable.end_byte
    return False


def _is_parameter_name(node: Node) -> bool:
    parent = node.parent
    if parent is None:
        return False
    if parent.type in {"list_splat_pattern", "dictionary_splat_pattern"} and parent.parent is not None:
        node, parent = parent, parent.parent
    match parent.type:
        case "parameters" | "lambda_parameters":
            return True
        case "default_parameter" | "typed_default_parameter":
            return parent.child_by_field_name("name") == node
        case "typed_parameter":
            return parent.child_by_field_name("type") != node
        case _:
            return False


def _code_role(node: Node) -> CodeRole:
    parent = node.parent
    if parent is None:
        return "load"
    match parent.type:
        case "attribute":
            return "attribute" if parent.child_by_field_name("attribute") == node else "load"
        case "keyword_argument":
            return "keyword" if parent.child_by_field_name("name") == node else "load"
        case "keyword_pattern":
            return "keyword" if _first_child(parent) == node else "bind"
        case "function_definition":
            return "function" if parent.child_by_field_name("name") == node else "load"
        case "class_definition":
            return "class" if parent.child_by_field_name("name") == node else "load"
        case "global_statement" | "nonlocal_statement":
            return "global"
        case "aliased_import":
            return "alias"
        case "dotted_name":
            return _dotted_role(node, parent)
        case _:
            if _is_parameter_name(node):
                return "parameter"
            return "bind" if _is_target(node) else "load"


def _dotted_role(node: Node, dotted: Node) -> CodeRole:
    holder = dotted.parent
    if holder is None:
        return "load"
    statement = holder.parent if holder.type == "aliased_import" else holder
    if holder.type == "relative_import" or statement is None:
        return "module"
    if statement.type == "import_statement":
        return "module"
    if statement.type in {"import_from_statement", "future_import_statement"}:
        return "module" if statement.child_by_field_name("module_name") == dotted else "import"
    if holder.type == "class_pattern":
        return "load" if _first_child(dotted) == node else "attribute"
    if len(dotted.named_children) > 1:
        return "load" if _first_child(dotted) == node else "attribute"
    return "bind"


def _is_target(node: Node) -> bool:
    """The name is bound by assignment, a loop, `with`, `except`, `:=`, a pattern."""
    child, parent = node, node.parent
    while parent is not None and parent.type in _PATTERNS:
        child, parent = parent, parent.parent
    if parent is None:
        return False
    match parent.type:
        case "assignment" | "augmented_assignment" | "for_statement" | "for_in_clause":
            return parent.child_by_field_name("left") == child
        case "named_expression":
            return parent.child_by_field_name("name") == child
        case "as_pattern_target" | "splat_pattern":
            return True
        case "as_pattern":
            return parent.named_children[-1] == child and len(parent.named_children) > 1
        case "tuple" | "list" | "parenthesized_expression":
            holder = parent.parent
            return holder is not None and holder.type == "as_pattern_target"
        case "type":
            return _is_type_alias_name(parent)
        case _:
            return False


def _is_type_alias_name(node: Node) -> bool:
    parent = node.parent
    return parent is not None and parent.type == "type_alias_statement" and parent.child_by_field_name("left") == node


def _is_docstring(string: Node) -> bool:
    """A plain string that stands alone as a statement: a docstring, or one of an attribute."""
    prefix = text_of(string.children[0]).lower() if string.children else ""
    if "f" in prefix or "t" in prefix:
        return False
    return string.parent is not None and string.parent.type in {"expression_statement", "module", "block"}


_ANNOTATING = frozenset(
    {
        "type",
        "subscript",
        "generic_type",
        "type_parameter",
        "binary_operator",
        "tuple",
        "list",
        "union_type",
        "member_type",
    }
)


def _is_annotation(string: Node) -> bool:
    """Somewhere within a type annotation, but not within `Literal[...]` or the data of `Annotated[...]`."""
    found = False
    current = string.parent
    while current is not None and current.type in _ANNOTATING:
        if current.type in {"subscript", "generic_type"}:
            head = text_of(current).partition("[")[0].rpartition(".")[2].strip()
            if head == "Literal" or (
                head == "Annotated" and text_of(current).find(text_of(string)) > text_of(current).find(",") > 0
            ):
                return False
        found = found or current.type == "type"
        current = current.parent
    return found
