"""The user's own working tree made to hold a recorded state, after what it held was saved and named."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cavalcade.content.port import ContentStore
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import NotRecorded
from cavalcade.kernel.ids import CommitId, EventId, ProjectId, RunId, TreeId
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import TreeRestored, WorkSaved, decode
from cavalcade.supervisor.project_stream import ProjectStream

_PATHS = 100
"""Named in the event; the trees tell all."""


class Saved(NamedTuple):
    """Work that was kept, and when. What it was kept from is in the project's stream after it."""

    time: datetime
    event: EventId
    work: WorkSaved


class Done(NamedTuple):
    """`saved` names what the working tree held before; `files` were written or removed; `notes` say what was left alone."""

    saved: str
    dirty: int
    files: int
    notes: tuple[str, ...]


def saved_in(history: Sequence[Recorded]) -> list[Saved]:
    """All saved work of a project's stream, oldest first."""
    decoded = ((recorded.event, decode(recorded.event)) for recorded in history)
    return [Saved(event.time, event.id, work) for event, work in decoded if isinstance(work, WorkSaved)]


def find_saved(found: Sequence[Saved], name: str) -> Saved:
    """By its name, its beginning or end, or `last`. Raises NotRecorded naming what there is."""
    if name == "last" and found:
        return found[-1]
    mine = [each for each in found if each.work.name == name]
    mine = mine or [
        each for each in found if name and (each.work.name.startswith(name) or each.work.name.endswith(name))
    ]
    if len({each.work.name for each in mine}) == 1:
        return mine[-1]
    raise NotRecorded(
        f"{len(mine)} saved works are named like {name}" if mine else f"no saved work has the name {name}",
        expected="the name of one",
        hint="`cavalcade saved` lists them",
        places=tuple(each.work.name for each in reversed(mine or found))[:8],
    )


def saved_name(now: datetime, commit: CommitId) -> str:
    """`20260301-140509-1a2b3c4`: when (UTC) and what."""
    return f"{now:%Y%m%d-%H%M%S}-{commit[:7]}"


class Workplace:
    """A project's working tree, its content store and its stream in the ledger."""

    def __init__(
        self, ledger: Ledger, content: ContentStore, clock: Clock, entropy: Entropy, project: ProjectId, folder: Path
    ) -> None:
        self._stream = ProjectStream(ledger, clock, entropy)
        self._content = content
        self._clock = clock
        self._project = project
        self._folder = folder

    async def saved(self) -> list[Saved]:
        """Oldest first."""
        return saved_in(await self._stream.history(self._project))

    async def restore(self, tree: TreeId, *, run: RunId, event: EventId, replace_ignored: bool = False) -> Done:
        """Makes the folder hold exactly `tree`. Name and commit of what it held are on the record before any file is touched.

        `run` and `event` say where the tree comes from; both are empty for saved work.

        Killed anywhere, the same call finishes the work: what was there is saved anew, and what was saved first stays.
        Raises what `ContentStore.prepare_in_place` and `restore_in_place` raise, LedgerError.
        """
        prepared = await asyncio.to_thread(
            self._content.prepare_in_place, self._folder, tree, replace_ignored=replace_ignored
        )
        work = await self._save(prepared.saved, prepared.saved_tree, prepared.dirty)
        files = await asyncio.to_thread(self._content.restore_in_place, prepared)
        restored = TreeRestored(
            project=self._project, repository=str(self._folder), tree=tree, saved=work.name, run=run, event=event
        )
        await self._stream.record(self._project, len, lambda _: (restored,))
        return Done(work.name, len(prepared.dirty), files, prepared.notes)

    async def _save(self, commit: CommitId, tree: TreeId, paths: tuple[str, ...]) -> WorkSaved:
        """On the record, then under its reference. The same state saved again keeps its name."""
        new = WorkSaved(
            name=saved_name(self._clock.now(), commit),
            project=self._project,
            repository=str(self._folder),
            commit=commit,
            tree=tree,
            paths=paths[:_PATHS],
            more=max(0, len(paths) - _PATHS),
        )

        def known(history: Sequence[Recorded]) -> WorkSaved | None:
            mine = [each.work for each in saved_in(history) if each.work.commit == commit]
            return next((work for work in reversed(mine) if work.repository == new.repository), None)

        await self._stream.record(self._project, known, lambda work: () if work else (new,))
        work = known(await self._stream.history(self._project)) or new
        self._content.set_ref(f"refs/saved/{work.name}", commit, expected=None)
        return work
