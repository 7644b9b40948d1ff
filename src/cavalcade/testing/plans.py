"""Trying a recipe on a few files in memory."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cavalcade.protocol.plan import EditKind, Place
from cavalcade.recipes.objective import parse_objective
from cavalcade.recipes.port import Outcome
from cavalcade.recipes.registry import recipe_named
from cavalcade.terrain.terrain import Terrain
from cavalcade.testing.trees import MemoryTree


@dataclass(frozen=True)
class Tried:
    """An outcome beside the files it started from."""

    files: Mapping[str, bytes]
    outcome: Outcome

    def after(self, *kinds: EditKind) -> dict[str, bytes]:
        """Every file once the edits of these kinds are made, in their order; by default the certain ones."""
        files = dict(self.files)
        for edit in self.outcome.edits:
            if edit.kind in (kinds or ("reference",)):
                if edit.moved_from:
                    files.pop(edit.moved_from)
                if edit.after is not None:
                    files[edit.path] = edit.after
        return files

    def text(self, path: str, *kinds: EditKind) -> str:
        return self.after(*kinds)[path].decode()

    def changed(self, *kinds: EditKind) -> list[str]:
        """Paths that differ, those gone and new included."""
        after = self.after(*kinds)
        return sorted(path for path in {*after, *self.files} if after.get(path) != self.files.get(path))

    @staticmethod
    def at(places: tuple[Place, ...]) -> list[str]:
        return [str(place) for place in places]


@contextmanager
def workspace(files: Mapping[str, str | bytes]) -> Generator[tuple[dict[str, bytes], Path]]:
    """The files as bytes, and a folder that holds them."""
    raw = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    with TemporaryDirectory(prefix="cavalcade-plan-") as name:
        folder = Path(name).resolve()
        for path, data in raw.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        yield raw, folder


async def attempt(objective: str, files: Mapping[str, str | bytes]) -> Tried:
    """Plans an objective on a tree of these files. Raises what the recipe raises."""
    reader = MemoryTree()
    call = parse_objective(objective).call
    with workspace(files) as (raw, folder):
        async with Terrain.open(reader, reader.tree(raw), workspace=folder, cache=None) as terrain:
            outcome = await recipe_named(call.name).plan(call, terrain)
    return Tried(raw, outcome)
