"""From replacements at byte offsets to file edits: everything else in a file stays byte for byte as it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cavalcade.kernel.errors import RecipeRefused
from cavalcade.protocol.plan import EditKind, Place
from cavalcade.recipes.port import FileEdit
from cavalcade.terrain.source import SourceText
from cavalcade.terrain.terrain import Terrain

_ORDER: tuple[EditKind, ...] = ("reference", "mention", "residual")


@dataclass(frozen=True, order=True)
class Replacement:
    """Bytes `start` to `end` of a file's body become `text`; `why` is shown with the place."""

    start: int
    end: int
    text: str = field(compare=False)
    why: str = field(default="", compare=False)


class EditSet:
    """Replacements by path and kind. A place is changed once, by the first kind in the order reference, mention, residual."""

    def __init__(self, terrain: Terrain) -> None:
        self._terrain = terrain
        self._wanted: dict[EditKind, dict[str, dict[int, Replacement]]] = {kind: {} for kind in _ORDER}
        self._moves: dict[str, str] = {}

    def add(self, kind: EditKind, path: str, replacement: Replacement) -> None:
        self._wanted[kind].setdefault(path, {}).setdefault(replacement.start, replacement)

    def move(self, old: str, new: str) -> None:
        """The file at `old` is to stand at `new`."""
        self._moves[old] = new

    def paths(self, kind: EditKind) -> list[str]:
        return sorted(self._wanted[kind])

    def places(self, kind: EditKind) -> list[Place]:
        return [
            self._place(path, r) for path, found in sorted(self._wanted[kind].items()) for r in sorted(found.values())
        ]

    def file_edits(self) -> tuple[FileEdit, ...]:
        """One edit for each kind and path, stacked; those of one kind in order of path."""
        edits: list[FileEdit] = []
        paths = {path for found in self._wanted.values() for path in found} | set(self._moves)
        stacked = {path: self._stack(path) for path in sorted(paths)}
        for kind in _ORDER:
            edits.extend(edit for found in stacked.values() for edit in found if edit.kind == kind)
        return tuple(edits)

    def _stack(self, path: str) -> list[FileEdit]:
        entry = self._terrain.code.entries[path]
        source = self._terrain.files.text(path)
        if source is None:
            raise RecipeRefused(f"{path} is no regular file", hint="leave it out with --without")
        target = self._moves.get(path, path)
        claimed: dict[int, Replacement] = {}
        before, edits = source.raw, list[FileEdit]()
        for kind in _ORDER:
            fresh = {start: r for start, r in self._wanted[kind].get(path, {}).items() if start not in claimed}
            moves = kind == "reference" and path in self._moves
            if not fresh and not moves:
                continue
            claimed.update(fresh)
            after = apply(source, claimed, path)
            places = tuple(self._place(path, r) for r in sorted(fresh.values()))
            moved_from = path if moves else ""
            edits.append(FileEdit(target, before, after, entry.mode, moved_from, kind, max(len(fresh), 1), places))
            before = after
        return edits

    def _place(self, path: str, replacement: Replacement) -> Place:
        source = self._terrain.files.text(path)
        assert source is not None
        return source.place(path, replacement.start, replacement.why)


def apply(source: SourceText, replacements: Mapping[int, Replacement], path: str) -> bytes:
    """The file's bytes with the replacements made. Raises RecipeRefused when the file's encoding can't hold the new text."""
    parts: list[bytes] = []
    at = 0
    for replacement in sorted(replacements.values()):
        parts.extend((source.body[at : replacement.start], replacement.text.encode()))
        at = replacement.end
    parts.append(source.body[at:])
    try:
        return source.encode(b"".join(parts))
    except UnicodeEncodeError as exc:
        raise RecipeRefused(
            f"{path} is written in {source.encoding}, which has no {exc.object[exc.start : exc.end]!r}",
            expected="a name that every file can hold",
        ) from exc


def dedupe(places: Iterable[Place]) -> tuple[Place, ...]:
    """In order of path and line, each position once."""
    seen: dict[tuple[str, int, int], Place] = {}
    for place in places:
        seen.setdefault((place.path, place.line, place.column), place)
    return tuple(seen[key] for key in sorted(seen))
