"""Results that touch each other: two runs of one project at once both finish; here is said whether their branches merge."""

from __future__ import annotations

from collections.abc import Iterable

from cavalcade.content.port import ContentStore
from cavalcade.domain.run import RunState
from cavalcade.protocol.events import Overlap


def find_overlaps(content: ContentStore, mine: RunState, others: Iterable[RunState]) -> tuple[Overlap, ...]:
    """Published results of the same project and base that changed a file which `mine` changed, each with its conflicting paths."""
    if mine.start is None:
        return ()
    base = mine.start.base.tree
    changed = {diff.path for diff in content.diff(base, mine.head_tree, context=0)}
    found: list[Overlap] = []
    for other in others:
        start = other.start
        if start is None or not other.published or start.project != mine.start.project or start.base.tree != base:
            continue
        if changed.isdisjoint(diff.path for diff in content.diff(base, other.head_tree, context=0)):
            continue
        common = content.ancestor(mine.head, other.head)  # a fork's own, where one stands on what the other did
        onto = base if common is None else content.tree_of(common)
        conflicts = content.merge(onto, mine.head_tree, other.head_tree).conflicts
        found.append(Overlap(branch=other.branch, conflicts=tuple(conflict.path for conflict in conflicts)))
    return tuple(found)
