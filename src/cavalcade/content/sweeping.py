"""Reading what is named, to the last file of each tree, to find out whether it is all there."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cavalcade.content.objects import FOLDER, SUBMODULE, Object, parse_commit, parse_tree, printable_path
from cavalcade.content.trees import EMPTY_TREE
from cavalcade.kernel.errors import ObjectMissing
from cavalcade.kernel.ids import CommitId


def unreadable(read: Callable[[str], Object], names: Iterable[str], seen: set[str]) -> list[ObjectMissing]:
    """See `ContentStore.unreadable`. Each error's places are the path in the tree that was being read. Parents of commits are not read."""
    found: list[ObjectMissing] = []
    waiting = [(name, "") for name in names]
    while waiting:
        name, path = waiting.pop()
        if name in seen or name == EMPTY_TREE:
            continue
        seen.add(name)
        try:
            kind, data = read(name)[1:]
        except ObjectMissing as exc:
            found.append(exc.at((printable_path(path),) if path else ()))
            continue
        if kind == "commit":
            waiting.append((parse_commit(CommitId(name), data).tree, path))
        elif kind == "tree":
            for part, entry in parse_tree(data).items():
                if entry.mode != SUBMODULE:
                    waiting.append((entry.blob, f"{path}{part}{'/' if entry.mode == FOLDER else ''}"))
    return found
