"""Finding the symbol that a person means by a text, with near matches when there is none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cavalcade.kernel.errors import SymbolAmbiguous, SymbolNotFound
from cavalcade.terrain.classes import Classes
from cavalcade.terrain.codetree import CodeTree, Origin
from cavalcade.terrain.facts import Definition
from cavalcade.terrain.files import Files
from cavalcade.terrain.meaning import ClassId
from cavalcade.terrain.python import text_of
from cavalcade.terrain.resolvers import Spot
from cavalcade.terrain.tokens import Token

SymbolKind = Literal["module", "function", "class", "variable", "method", "attribute", "parameter"]
_PARAMETER = re.compile(r"(?P<function>.+?)\(\s*\*{0,2}(?P<parameter>\w+)\s*\)\Z")
_DEFINES = re.compile(rb"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
_SHOWN = 8


@dataclass(frozen=True)
class Symbol:
    """`path` is the file that defines it, `homes` this and its stub; `qualname` the name within the module (the function's for a
    parameter); `name` the word itself; `owner` the class of a member or of a parameter's method."""

    kind: SymbolKind
    module: str
    path: str
    qualname: str
    name: str
    homes: tuple[str, ...] = ()
    owner: ClassId | None = None

    def __str__(self) -> str:
        if self.kind == "module":
            return self.module
        return (
            f"{self.module}:{self.qualname}({self.name})"
            if self.kind == "parameter"
            else f"{self.module}:{self.qualname}"
        )


class Symbols:
    """Looks symbols up in one tree."""

    def __init__(self, code: CodeTree, files: Files, classes: Classes) -> None:
        self._code = code
        self._files = files
        self._classes = classes

    def find(self, text: str) -> Symbol:
        """`pkg.mod:Qual.name`, `pkg.mod.Qual.name`, `path/file.py:Qual.name`, `mod:func(parameter)`, a module, or a bare name.

        Raises SymbolNotFound with near matches, SymbolAmbiguous with the candidates.
        """
        text = text.strip().removesuffix("()")
        match = _PARAMETER.match(text)
        if match:
            return self._parameter(self.find(match["function"]), match["parameter"])
        if ":" in text:
            left, _, right = text.partition(":")
            return self._inside(self._module(left), right)
        if text in self._code.entries:
            return self._module_symbol(self._module(text))
        return self._dotted(text)

    def module(self, text: str) -> Symbol:
        """A module by its dotted name or path. Raises SymbolNotFound, SymbolAmbiguous."""
        return self._module_symbol(self._module(text))

    def _dotted(self, text: str) -> Symbol:
        parts = text.split(".")
        for count in range(len(parts), 0, -1):
            module = ".".join(parts[:count])
            if self._code.modules.exists(module):
                rest = ".".join(parts[count:])
                return self._inside(module, rest) if rest else self._module_symbol(module)
        if len(parts) == 1:
            return self._bare(text)
        raise self._no_module(text)

    def _module(self, text: str) -> str:
        modules = self._code.modules
        if text in self._code.entries or text.endswith((".py", ".pyi")):
            name = modules.name(text.removeprefix("./"))
            if not name:
                near = difflib.get_close_matches(text, modules.python_paths, n=_SHOWN, cutoff=0.6)
                raise SymbolNotFound(f"no Python file {text!r}", hint=_did_you_mean(near))
            return name
        if modules.exists(text):
            return text
        ending = [name for name in modules.modules() if name.endswith("." + text)]
        if len(ending) == 1:
            return ending[0]
        if ending:
            raise SymbolAmbiguous(
                f"{text!r} could be any of {len(ending)} modules",
                places=tuple(ending[:_SHOWN]),
                hint="give the full name",
            )
        raise self._no_module(text)

    def _no_module(self, text: str) -> SymbolNotFound:
        names = self._code.modules.modules()
        near = difflib.get_close_matches(text, names, n=_SHOWN, cutoff=0.6)
        last = text.rpartition(".")[2]
        near += [f"{self._code.modules.name(path)}:{last}" for path, _ in self._top_level(last)][: _SHOWN - len(near)]
        return SymbolNotFound(
            f"no module leads to {text!r}", hint=_did_you_mean(near) or "write it as package.module:name"
        )

    def _module_symbol(self, module: str) -> Symbol:
        paths = self._code.modules.paths(module)
        name = module.rpartition(".")[2]
        return Symbol("module", module, paths[0] if paths else "", "", name, paths)

    def _inside(self, module: str, qualname: str) -> Symbol:
        paths = self._code.modules.paths(module)
        head, _, rest = qualname.partition(".")
        homes = [path for path in paths if self._definitions(path, head)]
        if not homes:
            return self._elsewhere(module, head, rest)
        definition = self._definitions(homes[0], head)[0]
        if not rest:
            return self._module_level(module, tuple(homes), definition)
        if definition.kind != "class":
            raise SymbolNotFound(
                f"{module}:{head} is a {definition.kind}, it has no {rest!r} that can be named",
                places=_place(homes[0], definition),
            )
        return self._member(module, tuple(homes), ClassId(homes[0], head), rest)

    def _definitions(self, path: str, name: str) -> list[Definition]:
        return [d for d in self._code.facts(path).definitions if d.name == name and not d.scope]

    @staticmethod
    def _module_level(module: str, homes: tuple[str, ...], definition: Definition) -> Symbol:
        kind: SymbolKind = (
            "function" if definition.kind == "function" else "class" if definition.kind == "class" else "variable"
        )
        return Symbol(kind, module, homes[0], definition.name, definition.name, homes)

    def _elsewhere(self, module: str, head: str, rest: str) -> Symbol:
        """The module has the name from somewhere else, or not at all."""
        origins = self._code.origins(module, head) or ()
        places = {(origin.module, origin.name): origin for origin in origins if origin.definition is not None}
        if len(places) > 1:
            found = tuple(f"{module}:{name}" for module, name in places)
            raise SymbolAmbiguous(
                f"{module}:{head} is bound more than once", places=found, hint="name the one you mean"
            )
        if not places:
            inner = f"{module}.{head}"
            if self._code.modules.exists(inner):
                return self._inside(inner, rest) if rest else self._module_symbol(inner)
            raise self._no_name(module, head)
        origin = next(iter(places.values()))
        if origin.name != head:
            raise SymbolNotFound(
                f"{module}:{head} is another name of {origin.module}:{origin.name}",
                expected="the symbol by the name it is defined with",
                places=_origin_place(origin),
            )
        return self._inside(origin.module, f"{head}.{rest}" if rest else head)

    def _member(self, module: str, homes: tuple[str, ...], owner: ClassId, rest: str) -> Symbol:
        head, _, deeper = rest.partition(".")
        holder = self._classes.finds(owner, head)
        if holder is None:
            raise self._no_member(owner, module, head)
        definition = self._classes.members(holder, head)[0]
        home = self._code.modules.name(holder.path)
        if deeper:
            if definition.kind != "class":
                raise SymbolNotFound(f"{home}:{definition.qualname} is a {definition.kind}, it has no {deeper!r}")
            return self._member(home, homes, ClassId(holder.path, definition.qualname), deeper)
        kind: SymbolKind = "method" if definition.kind == "function" else "attribute"
        stubs = tuple(path for path in self._code.modules.paths(home))
        return Symbol(kind, home, holder.path, definition.qualname, head, stubs, holder)

    def _parameter(self, function: Symbol, name: str) -> Symbol:
        if function.kind == "class":
            owner = ClassId(function.path, function.qualname)
            init = self._classes.finds(owner, "__init__")
            if init is None:
                raise SymbolNotFound(
                    f"{function} has no __init__ with a parameter {name!r}", hint=f"for a field: {function}.{name}"
                )
            module = self._code.modules.name(init.path)
            function = Symbol("method", module, init.path, f"{init.qualname}.__init__", "__init__", (init.path,), init)
        if function.kind not in {"function", "method"}:
            raise SymbolNotFound(f"{function} is a {function.kind}, it has no parameters")
        names = self.parameters(ClassId(function.path, function.qualname))
        if name not in names:
            near = difflib.get_close_matches(name, names, n=_SHOWN) or list(names)
            raise SymbolNotFound(f"{function} has no parameter {name!r}", hint=_did_you_mean(near))
        return Symbol(
            "parameter", function.module, function.path, function.qualname, name, function.homes, function.owner
        )

    def parameters(self, function: ClassId) -> dict[str, Token]:
        """Parameter names of a function in order, `self` included, each with its place (of the last definition by that name)."""
        file = self._files.python(function.path)
        found: dict[str, Token] = {}
        name = function.qualname.rpartition(".")[2]
        for token in file.tokens(name):
            node = token.node.parent
            if token.role != "function" or node is None or file.qualname(node) != function.qualname:
                continue
            parameters = node.child_by_field_name("parameters")
            words = re.findall(r"[^\W\d]\w*", text_of(parameters)) if parameters is not None else []
            for word in words:
                for inner in file.tokens(word):
                    within = parameters is not None and parameters.start_byte <= inner.start < parameters.end_byte
                    if within and inner.role == "parameter" and file.scope_chain(inner.node)[0].id == node.id:
                        found[word] = inner
        return found

    def _bare(self, name: str) -> Symbol:
        found = {(self._code.modules.name(path), definition.name) for path, definition in self._top_level(name)}
        if len(found) == 1:
            return self._inside(*found.pop())
        if found:
            places = tuple(f"{module}:{name}" for module, name in sorted(found))
            raise SymbolAmbiguous(
                f"{name!r} is defined in {len(found)} modules",
                places=places[:_SHOWN],
                hint="write it as package.module:name",
            )
        names = self._all_names()
        near = difflib.get_close_matches(name, names, n=_SHOWN, cutoff=0.6)
        raise SymbolNotFound(f"nothing is called {name!r} at the top of any module", hint=_did_you_mean(near))

    def _top_level(self, name: str) -> Iterable[tuple[str, Definition]]:
        if not name.isidentifier():
            return
        for path in self._files.python_with(name):
            for definition in self._definitions(path, name):
                yield path, definition

    def _all_names(self) -> list[str]:
        names: set[bytes] = set()
        for path in self._code.modules.python_paths:
            names.update(_DEFINES.findall(self._files.bytes_of(path)))
        return sorted(name.decode(errors="replace") for name in names)

    def _no_name(self, module: str, name: str) -> SymbolNotFound:
        names: dict[str, str] = {}
        for path in self._code.modules.paths(module):
            for definition in self._code.facts(path).definitions:
                if not definition.in_function and definition.kind != "attribute":
                    names.setdefault(definition.name, definition.qualname)
        near = [f"{module}:{names[match]}" for match in difflib.get_close_matches(name, names, n=_SHOWN, cutoff=0.6)]
        near += [f"{self._code.modules.name(path)}:{name}" for path, _ in self._top_level(name)][: _SHOWN - len(near)]
        return SymbolNotFound(
            f"{module} has no {name!r}", hint=_did_you_mean(near) or f"`grep -n {name}` shows where the word stands"
        )

    def _no_member(self, owner: ClassId, module: str, name: str) -> SymbolNotFound:
        names = {
            d.name
            for a in self._classes.ancestors(owner)
            for d in self._code.facts(a.path).definitions
            if d.scope == a.qualname
        }
        near = [
            f"{module}:{owner.qualname}.{match}"
            for match in difflib.get_close_matches(name, names, n=_SHOWN, cutoff=0.6)
        ]
        return SymbolNotFound(f"class {module}:{owner.qualname} has no {name!r}", hint=_did_you_mean(near))

    def spots(self, symbol: Symbol, owners: Iterable[ClassId] = ()) -> tuple[Spot, ...]:
        """Where the symbol is defined; for a member in each of the classes `owners`."""
        if symbol.kind == "parameter":
            found = self.parameters(ClassId(symbol.path, symbol.qualname))[symbol.name]
            return (Spot(found.path, found.start),)
        if symbol.owner is not None:
            members = ((owner, d) for owner in owners for d in self._classes.members(owner, symbol.name))
            return tuple(Spot(owner.path, d.start) for owner, d in members)
        return tuple(Spot(path, d.start) for path in symbol.homes for d in self._definitions(path, symbol.name))


def _did_you_mean(near: Iterable[str]) -> str:
    names = list(dict.fromkeys(near))
    return "did you mean " + ", ".join(names) + "?" if names else ""


def _place(path: str, definition: Definition) -> tuple[str, ...]:
    return (f"{path}:{definition.line}",)


def _origin_place(origin: Origin) -> tuple[str, ...]:
    return _place(origin.path, origin.definition) if origin.definition is not None else (origin.path,)
