"""Renaming or moving a module or package: its files, and everything that imports or names it."""

from __future__ import annotations

from cavalcade.kernel.errors import RecipeRefused
from cavalcade.protocol.plan import Mention
from cavalcade.recipes.port import Outcome
from cavalcade.terrain.symbols import Symbol
from cavalcade.terrain.terrain import Terrain


async def rename_module(terrain: Terrain, symbol: Symbol, new: str, mentions: tuple[Mention, ...]) -> Outcome:
    raise RecipeRefused(
        f"{symbol} is a module, and {new!r} can't be given to one here", places=terrain.files.with_word(str(mentions))
    )
