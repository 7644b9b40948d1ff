"""The rules for results of one project that were made apart: which pairs are to be brought together, and what settles a pair.

A *result* is the head of a completed run. Two results meet when different origins made them, none builds on the other, and they touch
the same files. A pair is named by its two commits, whichever ledger looks at it, so that two ledgers which know the same results come
to the same merge commit and to the same name of a conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from cavalcade.domain.run.decide import Refusal
from cavalcade.kernel.canonical import digest_of
from cavalcade.kernel.ids import CommitId, OriginId, ProjectId, RunId, TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.plan import Struct


class Result(Struct, frozen=True):
    """What a run ended with. `changed` are the paths it touched since it began."""

    run: RunId
    origin: OriginId
    commit: CommitId
    tree: TreeId
    changed: frozenset[str] = frozenset()


class Pair(NamedTuple):
    """Ordered by run and commit: the same on every ledger. `base` is what both began with, None when history tells."""

    ours: Result
    theirs: Result
    base: CommitId | None = None

    @property
    def name(self) -> str:
        return pair_name(self.ours.commit, self.theirs.commit)


class Told(NamedTuple):
    """An event of the project's stream; `own` tells whether this ledger's origin recorded it."""

    payload: e.Payload
    own: bool


class ProjectState(Struct, frozen=True):
    """`merged` are pairs that this ledger has brought together; conflicts and resolutions count whoever recorded them."""

    version: int = 0
    merged: frozenset[str] = frozenset()
    conflicts: dict[str, e.ConflictFound] = msgspec.field(default_factory=dict[str, e.ConflictFound])
    resolved: dict[str, tuple[e.ConflictResolved, ...]] = msgspec.field(
        default_factory=dict[str, tuple[e.ConflictResolved, ...]]
    )

    def open_conflicts(self) -> tuple[e.ConflictFound, ...]:
        """In the order in which they were found."""
        return tuple(found for name, found in self.conflicts.items() if name not in self.resolved)


def pair_name(one: CommitId, other: CommitId) -> str:
    """`x` and ten hexadecimal digits, the same for both orders."""
    return "x" + digest_of(sorted((one, other)))[:10]


def branch_of(pair: str) -> str:
    """Where the user finds what a pair, or a resolved conflict, came to."""
    return f"cavalcade/{pair}"


def pair_of(one: Result, other: Result, base: CommitId | None = None) -> Pair:
    first, second = sorted((one, other), key=lambda result: (result.run, result.commit))
    return Pair(first, second, base)


def fold(told: Iterable[Told], state: ProjectState | None = None) -> ProjectState:
    result = state or ProjectState()
    for each in told:
        result = evolve(result, each)
    return result


def evolve(state: ProjectState, told: Told) -> ProjectState:
    """Total: other events of a project change nothing but the version."""
    state = msgspec.structs.replace(state, version=state.version + 1)
    match told.payload:
        case e.DivergenceMerged() as merged if told.own:
            return msgspec.structs.replace(state, merged=state.merged | {pair_name(*merged.sides)})
        case e.ConflictFound() as found if found.conflict not in state.conflicts:
            return msgspec.structs.replace(state, conflicts={**state.conflicts, found.conflict: found})
        case e.ConflictResolved() as resolved:
            all_of_it = (*state.resolved.get(resolved.conflict, ()), resolved)
            return msgspec.structs.replace(state, resolved={**state.resolved, resolved.conflict: all_of_it})
        case _:
            return state


def pending(state: ProjectState, results: Sequence[Result], own: OriginId) -> tuple[Pair, ...]:
    """The pairs that are still to be brought together here: one result of ours and one of another origin each.

    Two resolutions of one conflict that differ are results of their own, for they too were made apart.
    """
    mine = [result for result in results if result.origin == own]
    others = [result for result in results if result.origin != own]
    pairs = [pair_of(one, other) for one in mine for other in others if one.changed & other.changed]
    for name, resolutions in state.resolved.items():
        pairs.extend(_contested(state, name, resolutions))
    return tuple(pair for pair in pairs if pair.name not in state.merged and pair.name not in state.conflicts)


def _contested(state: ProjectState, name: str, resolutions: tuple[e.ConflictResolved, ...]) -> Iterable[Pair]:
    found, first = state.conflicts.get(name), resolutions[0]
    for other in resolutions[1:]:
        if found is not None and other.tree != first.tree:
            yield pair_of(
                Result(run=found.ours.run, origin=found.ours.origin, commit=first.commit, tree=first.tree),
                Result(run=found.theirs.run, origin=found.theirs.origin, commit=other.commit, tree=other.tree),
                found.base,
            )


class Merged(NamedTuple):
    """Command: `pair` went together as `commit`."""

    pair: Pair
    commit: CommitId
    tree: TreeId
    branch: str


class Resolve(NamedTuple):
    """Command: a person settled a conflict."""

    conflict: str
    by: str
    how: str
    commit: CommitId
    tree: TreeId
    branch: str


def decide(
    state: ProjectState, project: ProjectId, command: Merged | e.ConflictFound | Resolve
) -> tuple[e.Payload, ...] | Refusal:
    """The events to append at `state.version`; `()` when it is already done."""
    match command:
        case Merged(pair, commit, tree, branch):
            if pair.name in state.merged:
                return ()
            return (
                e.DivergenceMerged(
                    project=project,
                    ours=pair.ours.run,
                    theirs=pair.theirs.run,
                    sides=(pair.ours.commit, pair.theirs.commit),
                    commit=commit,
                    tree=tree,
                    branch=branch,
                ),
            )
        case e.ConflictFound():
            return () if command.conflict in state.conflicts else (command,)
        case Resolve():
            return _resolve(state, project, command)


def _resolve(state: ProjectState, project: ProjectId, command: Resolve) -> tuple[e.Payload, ...] | Refusal:
    if command.conflict not in state.conflicts:
        return Refusal(f"there is no conflict {command.conflict}", hint="`cavalcade conflicts` lists them")
    known = state.resolved.get(command.conflict)
    if known is not None:
        if known[0].tree == command.tree:
            return ()
        return Refusal(
            f"conflict {command.conflict} was resolved by {known[0].by} as {known[0].commit[:10]}",
            hint="change the result in the repository, as any other commit",
        )
    how = command.how if command.how in ("ours", "theirs") else "edited"
    return (
        e.ConflictResolved(
            conflict=command.conflict,
            project=project,
            by=command.by,
            how=how,
            commit=command.commit,
            tree=command.tree,
            branch=command.branch,
        ),
    )
