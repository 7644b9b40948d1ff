"""Where work gets its workspaces: scratch copies of a tree, new ones or ones that were kept.

A workspace is what `restore` makes of a tree in an empty folder, wherever it comes from. Whoever takes one may do with it what they
like; it is thrown away afterwards, unless they say that it was only read (`Workspace.keep`). A workspace that a guest was shown is
never kept: see docs/pool.md.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cavalcade.content.port import ContentStore
from cavalcade.kernel.ids import TreeId
from cavalcade.sandbox.scratch import Janitor, discard


@dataclass(frozen=True)
class Layout:
    """Which paths of a tree are laid out; all when `only` is None. The name says it: two layouts of one name must be the same."""

    name: str
    only: Callable[[str], bool] | None = None


_READ_BY_RESOLVERS = (".py", ".pyi", ".toml", ".cfg", ".ini", "py.typed")

WHOLE = Layout("whole")
SOURCES = Layout(f"only {' '.join(_READ_BY_RESOLVERS)}", lambda path: path.endswith(_READ_BY_RESOLVERS))
"""Sources and settings: the rest is searched in the store."""


class Workspace:
    """`folder` holds the tree that was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = False

    def keep(self) -> None:
        """Vouches that nothing was executed on it and nothing written to it: another may have it afterwards."""
        self.kept = True


class Workspaces(Protocol):
    def claim(self, content: ContentStore, tree: TreeId, layout: Layout) -> AbstractAsyncContextManager[Workspace]:
        """A workspace for one alone, until it is left. No guest may run on it any more then. Raises ContentError, OSError."""
        ...


class FreshWorkspaces:
    """Always new ones, in `folder`. `aclose` waits until all are removed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._janitor = Janitor()
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def claim(self, content: ContentStore, tree: TreeId, layout: Layout) -> AsyncGenerator[Workspace]:
        folder = self._folder / f"workspace-{next(self._numbers)}"
        await asyncio.to_thread(discard, folder)
        try:
            await asyncio.to_thread(content.restore, tree, folder, only=layout.only)
            yield Workspace(folder)
        finally:
            self._janitor.discard(folder)

    async def aclose(self) -> None:
        """Raises OSError when something could not be removed."""
        await self._janitor.aclose()
