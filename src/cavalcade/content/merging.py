"""Three-way merge of trees, down to lines. Renames are followed: a change to a file that the other side moved goes with it.

Only subtrees that differ are looked at. What git calls directory renames (a new file in a folder the other side moved) isn't guessed:
the file stays where it was put.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from cavalcade.content.lines import is_binary, merge_lines
from cavalcade.content.objects import EXECUTABLE, FILE, Object, new_object
from cavalcade.content.port import Conflict, Difference, Entry, Merge
from cavalcade.content.renames import find_renames
from cavalcade.content.trees import Trees
from cavalcade.kernel.errors import PathClash
from cavalcade.kernel.ids import BlobId, TreeId

_Changes = dict[str, Difference]
T = TypeVar("T")


class _Question(NamedTuple):
    """What became of one file: `path` is where the answer goes."""

    path: str
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None

    def conflict(self) -> Conflict:
        return Conflict(self.path, _blob(self.base), _blob(self.ours), _blob(self.theirs))


def merge_trees(
    trees: Trees, read: Callable[[BlobId], bytes], base: TreeId, ours: TreeId, theirs: TreeId
) -> tuple[Merge, list[Object]]:
    """The merge and the new objects of its tree, innermost first. With conflicts there is no tree and nothing to write."""
    if ours == theirs or base == theirs:
        return Merge(ours, ()), []
    if base == ours:
        return Merge(theirs, ()), []
    mine = {each.path: each for each in trees.differences(base, ours)}
    other = {each.path: each for each in trees.differences(base, theirs)}
    changes, questions, conflicts = _compare(mine, other, read)
    made: list[Object] = []
    for question in questions:
        answer = _merge_file(question, read, made)
        if answer is None:
            conflicts.append(question.conflict())
        else:
            changes[question.path] = answer
    if not conflicts:
        try:
            tree, folders = trees.edited(ours, changes)
            return Merge(tree, ()), made + folders
        except PathClash as clash:
            sides = [trees.find(side, clash.path) for side in (base, ours, theirs)]
            conflicts.append(_Question(clash.path, *sides).conflict())
    return Merge(None, tuple(sorted(conflicts, key=lambda conflict: conflict.path))), []


def _compare(
    mine: _Changes, other: _Changes, read: Callable[[BlobId], bytes]
) -> tuple[dict[str, Entry | None], list[_Question], list[Conflict]]:
    """What to change in our tree as it is, what both sides touched, and moves that contradict each other."""
    my_moves, other_moves = _moves(mine, other, read), _moves(other, mine, read)
    changes: dict[str, Entry | None] = {}
    questions: list[_Question] = []
    conflicts: list[Conflict] = []
    settled: set[str] = set()
    for old in sorted(my_moves.keys() | other_moves.keys()):
        to, other_to = my_moves.get(old), other_moves.get(old)
        base = mine[old].old
        moved, other_moved = mine[to].new if to else None, other[other_to].new if other_to else None
        settled.add(old)
        settled.update(path for path in (to, other_to) if path)
        if to and other_to and to != other_to:
            conflicts.append(_Question(old, base, moved, other_moved).conflict())
        elif to:
            questions.append(_Question(to, base, moved, other_moved if other_to else other[old].new))
            if not other_to and to in other:
                conflicts.append(_Question(to, None, moved, other[to].new).conflict())
        elif other_to:
            questions.append(_Question(other_to, base, mine[old].new, other_moved))
            changes[old] = None
            if other_to in mine:
                conflicts.append(_Question(other_to, None, mine[other_to].new, other_moved).conflict())
    for path, theirs in other.items():
        if path in settled:
            continue
        ours = mine.get(path)
        if ours is None:
            changes[path] = theirs.new
        elif ours.new != theirs.new:
            questions.append(_Question(path, theirs.old, ours.new, theirs.new))
    return changes, questions, conflicts


def _moves(side: _Changes, opposite: _Changes, read: Callable[[BlobId], bytes]) -> dict[str, str]:
    """Old path → new path of files that this side moved and the other side touched."""
    removed = {path: each.old for path, each in side.items() if each.old is not None and each.new is None}
    if not removed.keys() & opposite.keys():
        return {}
    added = {path: each.new for path, each in side.items() if each.old is None and each.new is not None}
    renames = find_renames(removed, added, read)
    return {old: new for new, old in renames.items() if old in opposite}


def _merge_file(question: _Question, read: Callable[[BlobId], bytes], made: list[Object]) -> Entry | None:
    """None on a conflict. A deletion against a change is one."""
    base, ours, theirs = question.base, question.ours, question.theirs
    if ours is None or theirs is None:
        return None
    mode = _pick(base.mode if base else None, ours.mode, theirs.mode)
    if mode is None:
        return None
    blob = _pick(base.blob if base else None, ours.blob, theirs.blob)
    if blob is not None:
        return Entry(blob, mode)
    if base is None or any(entry.mode not in (FILE, EXECUTABLE) for entry in (base, ours, theirs)):
        return None
    contents = [read(entry.blob) for entry in (base, ours, theirs)]
    if any(is_binary(content) for content in contents):
        return None
    merged = merge_lines(*contents)
    if merged is None:
        return None
    result = new_object("blob", merged)
    made.append(result)
    return Entry(BlobId(result.id), mode)


def _pick(base: T | None, ours: T, theirs: T) -> T | None:
    """The side that changed; None when both did, differently."""
    if ours == theirs or theirs == base:
        return ours
    return theirs if ours == base else None


def _blob(entry: Entry | None) -> BlobId | None:
    return entry.blob if entry else None
