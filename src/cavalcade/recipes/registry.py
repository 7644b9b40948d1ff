"""The recipes there are, by name."""

from __future__ import annotations

from cavalcade.kernel.errors import UsageError
from cavalcade.recipes.change_signature import ChangeSignature
from cavalcade.recipes.port import Recipe
from cavalcade.recipes.rename import Rename

RECIPES: tuple[Recipe, ...] = (Rename(), ChangeSignature())


def recipe_named(name: str) -> Recipe:
    """Raises UsageError."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise UsageError(f"no recipe is called {name!r}", expected=", ".join(recipe.name for recipe in RECIPES))
