"""What an expression means, as far as it can be read off imports, classes and `self`: a module, a class, an instance of one.

Purely syntactic and careful: `unknown` wherever a value could be anything. Types are the resolvers' business.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from tree_sitter import Node

from cavalcade.terrain.codetree import CodeTree, Origin
from cavalcade.terrain.facts import Definition
from cavalcade.terrain.python import text_of
from cavalcade.terrain.tokens import PythonFile, Token

MeaningKind = Literal["module", "class", "instance", "super", "function", "external", "unknown"]
_LITERALS = frozenset(
    {"string", "concatenated_string", "integer", "float", "list", "dictionary", "set", "tuple", "none", "true", "false"}
)
_DEPTH = 12


class ClassId(NamedTuple):
    """A class of the tree: where it stands and its qualified name there."""

    path: str
    qualname: str


class Meaning(NamedTuple):
    """`module` names the module; `owner` the class of a class, an instance or `super()`; `function` the (path, qualified name)."""

    kind: MeaningKind
    module: str = ""
    owner: ClassId | None = None
    function: ClassId | None = None


UNKNOWN = Meaning("unknown")
EXTERNAL = Meaning("external")


class Reader:
    """Reads expressions in the files of one tree. `files` gives a file parsed; it may raise KeyError for a path outside the tree."""

    def __init__(self, code: CodeTree, files: Callable[[str], PythonFile]) -> None:
        self.code = code
        self._files = files
        self._names: dict[tuple[str, int, str], Meaning] = {}

    def meaning(self, path: str, node: Node, depth: int = 0) -> Meaning:
        """The meaning of the expression at `node` of a file."""
        if depth > _DEPTH:
            return UNKNOWN
        match node.type:
            case "identifier":
                return self._name(path, node, depth)
            case "attribute":
                return self._attribute(path, node, depth)
            case "dotted_name":
                return self._dotted(path, node, depth)
            case "call":
                return self._call(path, node, depth)
            case "parenthesized_expression":
                inner = node.named_children
                return self.meaning(path, inner[0], depth + 1) if len(inner) == 1 else UNKNOWN
            case kind if kind in _LITERALS:
                return EXTERNAL
            case _:
                return UNKNOWN

    def _call(self, path: str, node: Node, depth: int) -> Meaning:
        function = node.child_by_field_name("function")
        if function is None:
            return UNKNOWN
        if text_of(function) == "super":
            owner = self.enclosing_class(path, node)
            return Meaning("super", owner=owner) if owner is not None else UNKNOWN
        called = self.meaning(path, function, depth + 1)
        return Meaning("instance", owner=called.owner) if called.kind == "class" else UNKNOWN

    def _attribute(self, path: str, node: Node, depth: int) -> Meaning:
        target, name = node.child_by_field_name("object"), node.child_by_field_name("attribute")
        if target is None or name is None:
            return UNKNOWN
        return self._member(path, self.meaning(path, target, depth + 1), text_of(name))

    def _dotted(self, path: str, node: Node, depth: int) -> Meaning:
        parts = node.named_children
        meaning = self.meaning(path, parts[0], depth + 1) if parts else UNKNOWN
        for part in parts[1:]:
            meaning = self._member(path, meaning, text_of(part))
        return meaning

    def _member(self, path: str, owner: Meaning, name: str) -> Meaning:
        if owner.kind == "external":
            return EXTERNAL
        if owner.kind == "module":
            return self._one(self._origin(o) for o in self._origins(owner.module, name, path))
        if owner.kind == "class" and owner.owner is not None:
            nested = f"{owner.owner.qualname}.{name}"
            return self._definition(owner.owner.path, nested)
        return UNKNOWN

    def _origins(self, module: str, name: str, near: str) -> Iterable[Origin]:
        return self.code.origins(module, name, near=near) or ()

    def _definition(self, path: str, qualname: str) -> Meaning:
        for definition in self.code.facts(path).definitions:
            if definition.qualname == qualname:
                return _of_definition(path, definition)
        return UNKNOWN

    def _origin(self, origin: Origin) -> Meaning:
        if origin.definition is None:
            return Meaning("module", module=origin.module)
        return _of_definition(origin.path, origin.definition)

    @staticmethod
    def _one(meanings: Iterable[Meaning]) -> Meaning:
        """What all of them are; unknown when they differ."""
        first: Meaning | None = None
        for meaning in meanings:
            if meaning.kind == "unknown" or (first is not None and meaning != first):
                return UNKNOWN
            first = meaning
        return first or UNKNOWN

    def _name(self, path: str, node: Node, depth: int) -> Meaning:
        file = self._files(path)
        found = file.lookup(node)
        name = text_of(node)
        if found is None:
            origins = self._star(path, name)
            if origins:
                return self._one(self._origin(o) for o in origins)
            return EXTERNAL if origins is not None and hasattr(builtins, name) else UNKNOWN
        key = (path, found[0].id, name)
        if key not in self._names:
            self._names[key] = UNKNOWN  # what a name defined by itself means
            imports = [token for token in found[1] if token.role in {"import", "alias", "module"}]
            self._names[key] = self._one(self._binding(path, token, depth) for token in imports or found[1])
        return self._names[key]

    def _star(self, path: str, name: str) -> tuple[Origin, ...] | None:
        if not any(i.name == "*" for i in self.code.facts(path).imports):
            return ()
        return self.code.origins(self.code.modules.name(path), name, near=path)

    def _binding(self, path: str, token: Token, depth: int) -> Meaning:
        file = self._files(path)
        match token.role:
            case "import" | "alias" | "module":
                return self.imported(path, token)
            case "class":
                return Meaning("class", owner=ClassId(path, _qualname(file, token)))
            case "function":
                return Meaning("function", function=ClassId(path, _qualname(file, token)))
            case "parameter":
                return self._first_parameter(path, token)
            case "bind":
                value = _assigned_value(token.node)
                return UNKNOWN if value is None else self.meaning(path, value, depth + 1)
            case _:
                return UNKNOWN

    def _first_parameter(self, path: str, token: Token) -> Meaning:
        """`self` and `cls` by their position in a method, whatever they are called."""
        file = self._files(path)
        parameters = token.node.parent
        if parameters is None or parameters.type != "parameters" or parameters.named_children[0] != token.node:
            return UNKNOWN
        function = parameters.parent
        scopes = file.scope_chain(token.node)
        owner = _method_owner(file, scopes[0]) if scopes else None
        if function is None or owner is None:
            return UNKNOWN
        decorators = _decorators(function)
        if "staticmethod" in decorators:
            return UNKNOWN
        name = text_of(function.child_by_field_name("name") or function)
        is_class = "classmethod" in decorators or name in {"__new__", "__init_subclass__", "__class_getitem__"}
        return Meaning("class" if is_class else "instance", owner=ClassId(path, owner))

    def imported(self, path: str, token: Token) -> Meaning:
        """The meaning of a name in an import statement."""
        for imported in self.code.facts(path).imports:
            if not (imported.start <= token.start) or imported.alias.split(".")[0] != text_of(token.node):
                continue
            if _same_import(imported.start, token):
                return self._import_meaning(path, imported.level, imported.module, imported.name, imported.renamed)
        return UNKNOWN

    def _import_meaning(self, path: str, level: int, module: str, name: str, renamed: bool) -> Meaning:
        modules = self.code.modules
        target = modules.absolute(path, level, module)
        if not name:
            shown = target if renamed else target.split(".")[0]
            return Meaning("module", module=shown) if modules.exists(shown) else EXTERNAL
        if target and not modules.exists(target):
            return EXTERNAL
        return self._one(self._origin(o) for o in self._origins(target, name, path)) if target else UNKNOWN

    def enclosing_class(self, path: str, node: Node) -> ClassId | None:
        """The class whose method the node stands in."""
        file = self._files(path)
        for scope in file.scope_chain(node):
            if scope.type == "function_definition":
                owner = _method_owner(file, scope)
                if owner is not None:
                    return ClassId(path, owner)
        return None

    def base(self, path: str, definition: Definition, text: str) -> Meaning:
        """The meaning of a base-class expression, given as text, of a class of this file."""
        parts = text.split(".")
        if not all(part.isidentifier() for part in parts):
            return UNKNOWN
        local = f"{definition.scope}.{parts[0]}" if definition.scope else ""
        meaning = self._definition(path, local) if local else UNKNOWN
        if meaning.kind == "unknown":
            origins = self.code.origins(self.code.modules.name(path), parts[0], near=path)
            outside = origins is None or (not origins and hasattr(builtins, parts[0]))
            meaning = EXTERNAL if outside else self._one(self._origin(o) for o in origins or ())
        for part in parts[1:]:
            meaning = self._member(path, meaning, part)
        return meaning


def _same_import(start: int, token: Token) -> bool:
    node = token.node
    while node.parent is not None and node.parent.type in {"dotted_name", "aliased_import"}:
        node = node.parent
    return node.start_byte == start


def _of_definition(path: str, definition: Definition) -> Meaning:
    here = ClassId(path, definition.qualname)
    if definition.kind == "class":
        return Meaning("class", owner=here)
    return Meaning("function", function=here) if definition.kind == "function" else UNKNOWN


def _qualname(file: PythonFile, token: Token) -> str:
    return file.qualname(token.node.parent) if token.node.parent is not None else ""


def _method_owner(file: PythonFile, function: Node) -> str | None:
    """Qualified name of the class that directly holds a function."""
    holder = function.parent
    if holder is not None and holder.type == "decorated_definition":
        holder = holder.parent
    while holder is not None and holder.type not in {"class_definition", "function_definition", "module", "lambda"}:
        holder = holder.parent
    return file.qualname(holder) if holder is not None and holder.type == "class_definition" else None


def _decorators(function: Node) -> set[str]:
    holder = function.parent
    if holder is None or holder.type != "decorated_definition":
        return set()
    names = (text_of(child).lstrip("@").strip() for child in holder.named_children if child.type == "decorator")
    return {name.split("(")[0].rpartition(".")[2] for name in names}


def _assigned_value(node: Node) -> Node | None:
    """The value of a plain `name = value`."""
    parent = node.parent
    if parent is None or parent.type not in {"assignment", "named_expression"}:
        return None
    return parent.child_by_field_name("right") or parent.child_by_field_name("value")


def walk(node: Node) -> Iterator[Node]:
    """A node and all named nodes below it."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(current.named_children)
