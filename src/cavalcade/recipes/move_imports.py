"""Imports when a module moves to another package: statements are rewritten so that the same names stay bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tree_sitter import Node

from cavalcade.protocol.plan import EditKind
from cavalcade.recipes.edits import Replacement
from cavalcade.terrain.python import text_of
from cavalcade.terrain.terrain import Terrain
from cavalcade.terrain.tokens import PythonFile, Token

_STATEMENTS = frozenset({"import_statement", "import_from_statement"})


class ImportMover:
    """`old` becomes `new`, in another package; `moves` are the files that go along, old path to new."""

    def __init__(self, terrain: Terrain, old: str, new: str, moves: Mapping[str, str]) -> None:
        self._terrain = terrain
        self._old = old
        self._new = new
        self._moves = moves
        self._package, _, self._short = new.rpartition(".")

    def rewrite(self, path: str, tokens: list[Token]) -> Iterator[tuple[EditKind, Replacement]]:
        """The changes to one file for its occurrences of the module's last name that mean the module."""
        file = self._terrain.files.python(path)
        for token in tokens:
            match token.role:
                case "module":
                    yield "reference", self._dotted(file, token)
                case "import":
                    for replacement in self._imported(file, token):
                        yield "reference", replacement
                case "attribute":
                    yield self._chain(token)
                case "alias":
                    pass
                case _:
                    yield "reference", Replacement(token.start, token.end, self._short)

    def _dotted(self, file: PythonFile, token: Token) -> Replacement:
        """The module's part of a dotted name in an import: `import a.b.old`, `from .old import x`."""
        dotted = token.node.parent
        assert dotted is not None
        holder = dotted.parent
        if holder is not None and holder.type == "relative_import":
            rest = _bytes(file, token.end, holder.end_byte)
            return Replacement(holder.start_byte, holder.end_byte, self._from(file.path, self._new) + rest)
        text = self._new
        root = self._old.split(".")[0]
        if (
            holder is not None
            and holder.type == "import_statement"
            and root != self._new.split(".")[0]
            and self._used_otherwise(file, root)
        ):
            text = f"{self._old.rpartition('.')[0]}, {self._new}"
        return Replacement(dotted.start_byte, token.end, text)

    def _used_otherwise(self, file: PythonFile, root: str) -> bool:
        for token in file.tokens(root):
            if token.role != "load":
                continue
            chain = token.node
            while (
                chain.parent is not None
                and chain.parent.type == "attribute"
                and chain.parent.child_by_field_name("object") == chain
            ):
                chain = chain.parent
            if not (text_of(chain) + ".").startswith(self._old + "."):
                return True
        return False

    def _imported(self, file: PythonFile, token: Token) -> Iterator[Replacement]:
        """`from package import old [as x], other`: taken out of its statement where it is not alone in it."""
        name = token.node.parent
        assert name is not None
        item = name.parent if name.parent is not None and name.parent.type == "aliased_import" else name
        statement = item.parent
        assert statement is not None
        alias = item.child_by_field_name("alias") if item.type == "aliased_import" else None
        suffix = "" if alias is None else f" as {self._short if text_of(alias) == text_of(name) else text_of(alias)}"
        text = self._statement(file.path, suffix)
        items = [child for child in statement.named_children if child.type in {"dotted_name", "aliased_import"}]
        items = [child for child in items if child != statement.child_by_field_name("module_name")]
        if len(items) == 1:
            yield Replacement(statement.start_byte, statement.end_byte, text)
            return
        indent = _bytes(file, statement.start_byte - statement.start_point.column, statement.start_byte)
        separator = f"\n{indent}" if not indent.strip() else "; "
        yield Replacement(statement.start_byte, statement.start_byte, text + separator)
        at = items.index(item)
        if at + 1 < len(items):
            yield Replacement(item.start_byte, items[at + 1].start_byte, "")
        else:
            yield Replacement(items[at - 1].end_byte, item.end_byte, "")

    def _statement(self, path: str, suffix: str) -> str:
        if not self._package:
            return f"import {self._short}{suffix}"
        return f"from {self._from(path, self._package)} import {self._short}{suffix}"

    def _from(self, path: str, module: str) -> str:
        """How a file names a module: relatively within its own top package where it does so already, else by the full name."""
        importer = self._new_module(path).split(".")
        package = importer if self._terrain.code.modules.is_package(path) else importer[:-1]
        target = module.split(".")
        uses_dots = any(i.level for i in self._terrain.code.facts(path).imports)
        if not uses_dots or not package or package[0] != target[0]:
            return module
        common = next(
            (i for i, (a, b) in enumerate(zip(package, target, strict=False)) if a != b), min(len(package), len(target))
        )
        return "." * (len(package) - common + 1) + ".".join(target[common:])

    def _new_module(self, path: str) -> str:
        return self._mapped(self._terrain.code.modules.name(path))

    def _mapped(self, module: str) -> str:
        """A module's name after the move."""
        if module == self._old or module.startswith(self._old + "."):
            return self._new + module[len(self._old) :]
        return module

    def _chain(self, token: Token) -> tuple[EditKind, Replacement]:
        """`a.b.old` in an expression. Written out in full it is replaced; reached through another name it can't be."""
        node = token.node.parent
        assert node is not None
        if text_of(node) == self._old:
            return "reference", Replacement(node.start_byte, node.end_byte, self._new)
        return "residual", Replacement(token.start, token.end, self._short, "reached through the package it leaves")

    def relative_imports(self, path: str) -> Iterator[Replacement]:
        """The moved file's own relative imports, where they would lead elsewhere from the new place."""
        file = self._terrain.files.python(path)
        modules = self._terrain.code.modules
        new_module = self._new_module(path).split(".")
        package = new_module if modules.is_package(path) else new_module[:-1]
        for statement in _import_statements(file.tree.root_node):
            relative = statement.child_by_field_name("module_name")
            if relative is None or relative.type != "relative_import":
                continue
            text = text_of(relative).replace(" ", "")
            name = text.lstrip(".")
            level = len(text) - len(name)
            wanted = self._mapped(modules.absolute(path, level, name))
            kept = package[: len(package) - level + 1] if level <= len(package) else None
            if kept is None or ".".join([*kept, *([name] if name else [])]) != wanted:
                yield Replacement(relative.start_byte, relative.end_byte, self._from(path, wanted))


def _import_statements(node: Node) -> Iterator[Node]:
    for child in node.named_children:
        if child.type in _STATEMENTS:
            yield child
        elif child.type.endswith(("_statement", "_definition", "_clause")) or child.type == "block":
            yield from _import_statements(child)


def _bytes(file: PythonFile, start: int, end: int) -> str:
    return file.source.body[start:end].decode(errors="replace")
