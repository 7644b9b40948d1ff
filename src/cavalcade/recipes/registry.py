"""The recipes there are, by name. Each is imported when it is asked for: rewriting a signature needs a heavy parser, a rename doesn't."""

from __future__ import annotations

from cavalcade.kernel.errors import UsageError
from cavalcade.recipes.port import Recipe

NAMES = ("rename", "change-signature")


def recipe_named(name: str) -> Recipe:
    """Raises UsageError."""
    match name:
        case "rename":
            from cavalcade.recipes.rename import Rename

            return Rename()
        case "change-signature":
            from cavalcade.recipes.change_signature import ChangeSignature

            return ChangeSignature()
        case _:
            raise UsageError(f"no recipe is called {name!r}", expected=", ".join(NAMES))
