"""What a recipe is: a call and a terrain in, edits and everything that stays unclear out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cavalcade.protocol.decision import Decision
from cavalcade.protocol.plan import EditKind, Place, RecipeCall
from cavalcade.terrain.terrain import Terrain


@dataclass(frozen=True)
class FileEdit:
    """One file's change, whole contents. `before` None: a new file; `after` None: a removed one; `moved_from`: a moved file's old path.

    Edits of one path stack: the `before` of a `mention` is the `after` of the path's `reference` edit, the `before` of a `residual`
    that of the last of these (where a path has none, its content in the tree). `places` are in the base tree. Edits of one `group`
    belong to one task.
    """

    path: str
    before: bytes | None
    after: bytes | None
    mode: int = 0o100644
    moved_from: str = ""
    kind: EditKind = "reference"
    changes: int = 1
    places: tuple[Place, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Outcome:
    """`unresolved`: may mean the symbol, each has a residual edit where one can be made. `mentions`: plain text that stays as it is.

    `problems`: files that could not be read wholly.
    """

    edits: tuple[FileEdit, ...]
    unresolved: tuple[Place, ...] = ()
    mentions: tuple[Place, ...] = ()
    problems: tuple[Place, ...] = ()
    decisions: tuple[Decision, ...] = ()


class Recipe(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str:
        """One line."""
        ...

    @property
    def usage(self) -> tuple[str, ...]:
        """Objectives that can be typed, as examples."""
        ...

    async def plan(self, call: RecipeCall, terrain: Terrain) -> Outcome:
        """Touches nothing. Raises UsageError (SymbolNotFound, SymbolAmbiguous, NameNotUsable, RecipeRefused)."""
        ...
