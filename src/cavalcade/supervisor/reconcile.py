"""Bringing together what two installations made of one project apart: merged when it can be, else a conflict for a person.

A merge is only accepted when no gate finds that it breaks what either side had: texts that go together may still not work together.
Nothing is ever garbled: what can't be merged is left as both sides made it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cavalcade.content.port import Change, ContentStore, FileDiff
from cavalcade.domain import divergence
from cavalcade.domain.divergence import Merged, Pair, ProjectState, Resolve, Result, Told, branch_of
from cavalcade.domain.run import Refusal, RunState
from cavalcade.gates.port import Gate, Question
from cavalcade.gates.run import judge
from cavalcade.kernel.canonical import canonical_bytes
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import ContentError, NotRecorded, Refused, UsageError
from cavalcade.kernel.ids import BlobId, CommitId, OriginId, ProjectId, RunId, TreeId, run_stream
from cavalcade.ledger.port import Ledger
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.protocol.plan import Place
from cavalcade.supervisor.project_stream import ProjectStream
from cavalcade.supervisor.runs import RunService

Publisher = Callable[[str, CommitId], None]
"""Makes a branch of this name in the user's repository."""
_TRAILER = "Cavalcade-Merges"


class Reconciler:
    """For one project of one ledger. `gates` judge what a merge brings to each side; `publish` makes its branch."""

    def __init__(
        self,
        project: ProjectId,
        ledger: Ledger,
        runs: RunService,
        projects: ProjectStream,
        content: ContentStore,
        gates: Sequence[Gate],
        clock: Clock,
        publish: Publisher,
    ) -> None:
        self._project = project
        self._ledger = ledger
        self._runs = runs
        self._projects = projects
        self._content = content
        self._gates = gates
        self._clock = clock
        self._publish = publish

    async def state(self) -> ProjectState:
        return self._fold(await self._projects.history(self._project))

    async def reconcile(self) -> list[e.DivergenceMerged | e.ConflictFound]:
        """Settles every pair that is open and returns what became of each. Doing it again does nothing.

        The branch is made before the event that says so, and both are the same when they are made twice.
        """
        told: list[e.DivergenceMerged | e.ConflictFound] = []
        for pair in divergence.pending(await self.state(), await self._results(), self._ledger.origin):
            command = await self._bring_together(pair)
            if command is None:
                continue
            if isinstance(command, Merged):
                self._publish(command.branch, command.commit)
            for recorded in await self._record(command):
                payload = decode(recorded.event)
                assert isinstance(payload, e.DivergenceMerged | e.ConflictFound)
                told.append(payload)
        return told

    async def resolve(
        self, name: str, how: str, by: str, edited: Mapping[str, bytes] | None = None
    ) -> e.ConflictResolved:
        """`how` is `ours`, `theirs` (as the conflict names its sides) or `edited`: then `edited` has the bytes of each of its paths
        that shall be there.

        Raises UsageError for an unknown conflict, Refused when the result would break something.
        """
        found = (await self.state()).conflicts.get(name)
        if found is None:
            raise UsageError(f"there is no conflict {name}", hint="`cavalcade conflicts` lists them")
        tree = self._settled_tree(found, how, edited)
        sides = (found.ours.commit, found.theirs.commit)
        if problem := await self._problem(sides, tree):
            raise Refused(
                f"the resolution of {name} would break something: {problem[0]}",
                expected="files that work with what both sides did elsewhere",
                hint=f"edit them: cavalcade conflicts open {name} --into DIR; nothing was recorded",
                places=tuple(str(place) for place in problem[1]),
            )
        commit = self._commit(found.ours.run, found.theirs.run, sides, tree, f"Resolve conflict {name} ({how})")
        branch = branch_of(name)
        settled = Resolve(name, by, how, commit, tree, branch)
        if isinstance(refusal := divergence.decide(await self.state(), self._project, settled), Refusal):
            raise refusal.error()  # before there is a branch that the record doesn't know
        self._publish(branch, commit)
        recorded = await self._record(settled)
        if not recorded:
            return (await self.state()).resolved[name][0]
        payload = decode(recorded[0].event)
        assert isinstance(payload, e.ConflictResolved)
        return payload

    async def _record(self, command: Merged | e.ConflictFound | Resolve) -> list[Recorded]:
        return await self._projects.record(
            self._project, self._fold, lambda state: divergence.decide(state, self._project, command)
        )

    def _fold(self, history: list[Recorded]) -> ProjectState:
        own = self._ledger.origin
        return divergence.fold(Told(decode(each.event), each.origin == own) for each in history)

    async def _results(self) -> list[Result]:
        """The branches of completed runs and recordings of this project, each put down to the origin that asked for it."""
        results: list[Result] = []
        for run in await self._runs.list():
            state = await self._runs.load(run)
            if state.phase == "completed" and state.branch and state.start and state.start.project == self._project:
                first = (await self._ledger.read(stream=run_stream(run), limit=1))[0]
                results.append(self._result(run, first.origin, state))
        return results

    def _result(self, run: RunId, origin: OriginId, state: RunState) -> Result:
        assert state.start is not None  # checked by the caller
        diffs = self._content.diff(state.start.base.tree, state.head_tree, context=0)
        changed = frozenset(path for diff in diffs for path in (diff.path, diff.old_path) if path)
        return Result(run=run, origin=origin, commit=state.head, tree=state.head_tree, changed=changed)

    async def _bring_together(self, pair: Pair) -> Merged | e.ConflictFound | None:
        """None when one builds on the other: then nothing is apart."""
        ours, theirs = pair.ours, pair.theirs
        base = pair.base or self._content.ancestor(ours.commit, theirs.commit)
        if base in (ours.commit, theirs.commit):
            return None
        if base is None:
            return self._conflict(pair, ours.commit, sorted(ours.changed & theirs.changed), "they share no history", ())
        merge = self._content.merge(self._content.tree_of(base), ours.tree, theirs.tree)
        if merge.tree is None:
            return self._conflict(pair, base, [conflict.path for conflict in merge.conflicts], "", ())
        sides = (ours.commit, theirs.commit)
        if problem := await self._problem(sides, merge.tree):
            reason, places = problem
            return self._conflict(pair, base, sorted({place.path for place in places}), reason, places)
        message = f"Merge the results of {ours.run} and {theirs.run}"
        commit = self._commit(ours.run, theirs.run, sides, merge.tree, message)
        return Merged(pair, commit, merge.tree, branch_of(pair.name))

    def _commit(
        self, one: RunId, other: RunId, sides: tuple[CommitId, CommitId], tree: TreeId, message: str
    ) -> CommitId:
        """Dated by its newer parent: whoever makes it, wherever, makes the same commit."""
        when = max(self._content.info(side).time for side in sides)
        return self._content.commit_tree(sides, tree, message=message, trailers={_TRAILER: f"{one} {other}"}, when=when)

    def _conflict(
        self, pair: Pair, base: CommitId, paths: Sequence[str], reason: str, places: tuple[Place, ...]
    ) -> e.ConflictFound:
        ours, theirs = pair.ours, pair.theirs
        return e.ConflictFound(
            conflict=pair.name,
            project=self._project,
            paths=tuple(paths),
            base=base,
            base_blobs=self._blobs(base, paths),
            ours=e.Side(run=ours.run, origin=ours.origin, commit=ours.commit, blobs=self._blobs(ours.commit, paths)),
            theirs=e.Side(
                run=theirs.run, origin=theirs.origin, commit=theirs.commit, blobs=self._blobs(theirs.commit, paths)
            ),
            reason=reason,
            places=places,
        )

    def _blobs(self, commit: CommitId, paths: Iterable[str]) -> tuple[BlobId | None, ...]:
        entries = self._content.entries(self._content.tree_of(commit))
        return tuple(entry.blob if (entry := entries.get(path)) else None for path in paths)

    async def _problem(self, sides: tuple[CommitId, CommitId], tree: TreeId) -> tuple[str, tuple[Place, ...]] | None:
        """What `tree` would break that worked on one side: in words, and where."""
        for side in sides:
            before = self._content.tree_of(side)
            question = _question(before, tree, self._content.diff(before, tree, context=0))
            receipts = await judge(self._gates, question, self._content, self._clock)
            findings = [(receipt.gate, finding) for receipt in receipts for finding in receipt.findings]
            if findings:
                places = tuple(Place(path=f.path, line=max(f.line, 1), why=f.message) for _, f in findings[:_SHOWN])
                return f"{findings[0][0]}: {findings[0][1].message}", places
        return None

    def _settled_tree(self, found: e.ConflictFound, how: str, edited: Mapping[str, bytes] | None) -> TreeId:
        """The merge with the conflict's paths as one side has them, or as they were edited."""
        ours, theirs = found.ours.commit, found.theirs.commit
        kept = theirs if how == "theirs" else ours
        other = ours if kept == theirs else theirs
        base_tree, kept_tree = self._content.tree_of(found.base), self._content.tree_of(kept)
        # On the other side the paths are put back to what they were: then only the kept side has changed them.
        other_tree = self._with(other, {path: self._change(path, base_tree) for path in found.paths})
        merge = self._content.merge(base_tree, kept_tree, other_tree)
        if merge.tree is None:
            left = ", ".join(conflict.path for conflict in merge.conflicts)
            raise UsageError(
                f"taking {how} leaves {left} unsettled, for a file was moved there",
                hint="take the other side, or merge the two branches with git",
            )
        if edited is None:
            return merge.tree
        commit = self._commit(found.ours.run, found.theirs.run, (ours, theirs), merge.tree, "Before it is edited")
        entries = self._content.entries(kept_tree)
        changes = {
            path: Change(path, self._content.write(edited[path]) if path in edited else None,
                         entries[path].mode if path in entries else 0o100644)
            for path in found.paths
        }  # fmt: skip
        return self._with(commit, changes)

    def _change(self, path: str, tree: TreeId) -> Change:
        entry = self._content.entries(tree).get(path)
        return Change(path, None) if entry is None else Change(path, entry.blob, entry.mode)

    def _with(self, commit: CommitId, changes: Mapping[str, Change]) -> TreeId:
        made = self._content.commit(
            [commit], list(changes.values()), message="", trailers={}, when=self._content.info(commit).time
        )
        return self._content.tree_of(made)


_SHOWN = 20
"""Places in one conflict: enough to begin with."""


def _question(before: TreeId, after: TreeId, diffs: Sequence[FileDiff]) -> Question:
    moves = {diff.path: diff.old_path for diff in diffs if diff.status == "R"}
    paths = tuple(path for diff in diffs for path in (diff.path, diff.old_path) if path)
    return Question(before, after, paths, {"moves": canonical_bytes(moves).decode()} if moves else {})


def conflict_named(state: ProjectState, text: str) -> e.ConflictFound:
    """By its name or the beginning of it. Raises NotRecorded, UsageError."""
    found = [conflict for name, conflict in state.conflicts.items() if text and name.startswith(text)]
    if len(found) == 1:
        return found[0]
    shown = tuple(conflict.conflict for conflict in found or state.open_conflicts())
    if found:
        raise UsageError(f"{len(found)} conflicts begin with {text!r}", hint="give more of it", places=shown)
    raise NotRecorded(f"there is no conflict {text!r}", hint="`cavalcade conflicts` lists them", places=shown)


def write_sides(
    content: ContentStore, found: e.ConflictFound, folder: Path, sides: tuple[e.Side, e.Side]
) -> list[Path]:
    """Each path three times beside each other, `.base`, `.ours`, `.theirs`, and once to be edited (ours, else theirs).

    Paths come from another installation: raises ContentError for one that leads out of `folder`.
    """
    written: list[Path] = []
    blobs = zip(found.paths, found.base_blobs, sides[0].blobs, sides[1].blobs, strict=True)
    for path, base, ours, theirs in blobs:
        target = folder / path
        if not Path(os.path.normpath(target)).is_relative_to(folder):
            raise ContentError(f"{path!r} leads out of {folder}", expected="a path inside the project")
        target.parent.mkdir(parents=True, exist_ok=True)
        for suffix, blob in ((".base", base), (".ours", ours), (".theirs", theirs), ("", ours or theirs)):
            if blob is not None:
                file = target.with_name(target.name + suffix)
                file.write_bytes(content.read(blob))
                written.append(file)
    return written
