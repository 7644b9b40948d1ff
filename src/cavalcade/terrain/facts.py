"""What is known of one Python file by its content alone: definitions, imports, exported names, dotted uses, syntax errors.

Facts depend on the blob only, never on its path, so they hold wherever and whenever the blob occurs.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """`start` is the byte offset of the name in the body (see `source.py`), `line` counts from 1."""


DefinitionKind = Literal["function", "class", "variable", "attribute"]


class Definition(Fact, frozen=True):
    """`scope` is the qualified name of the enclosing class or function, empty at module level.

    `attribute` is an instance attribute assigned in a method (`self.x = ...`), its scope the class. `bases` are the base-class
    expressions as text, without keywords.
    """

    kind: DefinitionKind
    name: str
    scope: str
    start: int
    line: int
    bases: tuple[str, ...] = ()
    in_function: bool = False
    """Some enclosing scope is a function: not reachable from outside by its name."""

    @property
    def qualname(self) -> str:
        return f"{self.scope}.{self.name}" if self.scope else self.name


class Import(Fact, frozen=True):
    """One imported name.

    `import a.b`: module `a.b`, name empty, alias `a`. `import a.b as c`: alias `c`. `from ..a import b as c`: level 2, module `a`,
    name `b`, alias `c`. `from a import *`: name `*`, alias empty. `scope` as in `Definition`; `start` is where the name stands
    (the module when there is none).
    """

    module: str
    level: int
    name: str
    alias: str
    scope: str
    start: int
    line: int
    renamed: bool = False
    """Has an explicit `as`."""


class Export(Fact, frozen=True):
    """An entry of `__all__`; `start` is the first byte inside the quotes."""

    name: str
    start: int
    line: int


class Use(Fact, frozen=True):
    """A dotted use that starts at an imported name: `chain` is (`a`, `b`, `c`) for `a.b.c`, `start` the offset of `a`."""

    chain: tuple[str, ...]
    start: int
    line: int


class SyntaxProblem(Fact, frozen=True):
    start: int
    line: int
    text: str


class FileFacts(Fact, frozen=True):
    """`exports` is None without `__all__`; `exports_open` when parts of it can't be read statically.

    `dynamic` when the module can have names which are not written in it: module-level `__getattr__`, `globals()` or `vars()`
    written to, `sys.modules` replaced.
    """

    definitions: tuple[Definition, ...] = ()
    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] | None = None
    exports_open: bool = False
    uses: tuple[Use, ...] = ()
    problems: tuple[SyntaxProblem, ...] = ()
    dynamic: bool = False

    def definitions_of(self, name: str) -> tuple[Definition, ...]:
        """Definitions at module level by that name."""
        return tuple(d for d in self.definitions if d.name == name and not d.scope)
