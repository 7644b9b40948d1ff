"""Putting what was seen on record: states into the content store first, then the events that name them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from cavalcade.content.objects import SUBMODULE, SYMLINK, printable_path
from cavalcade.content.port import Change, ContentStore, Entry
from cavalcade.content.renames import find_renames
from cavalcade.domain.run import RecordChanges, RecordConversation, RecordOutput
from cavalcade.kernel.errors import CavalcadeError, LedgerDamaged, Refused
from cavalcade.kernel.ids import CommitId, EventId, RunId, TreeId
from cavalcade.kernel.redaction import Redactor
from cavalcade.protocol.events import FilesChanged, OutputWritten, PathChange, ToolCalled
from cavalcade.recorder import port
from cavalcade.recorder.backlog import Backlog, Item
from cavalcade.recorder.looking import Found, Look
from cavalcade.recorder.port import Journal, Said
from cavalcade.recorder.tape import Piece, Tape

INLINE_BYTES = 8 << 10
"""Longer texts lie in the content store: events stay small."""
_AGAIN_S = 1.0
_LAST_TRIES = 3
_SIMILAR_PAIRS = 400
"""Above this only files with equal content are told as renamed: comparing the rest line by line would take longer than a look."""


class _Prepared(NamedTuple):
    """An event's id and commit are fixed once, so that trying again records nothing twice."""

    event: EventId
    at: datetime
    command: RecordChanges | RecordOutput | RecordConversation


class Keeper:
    """Takes from the backlog until told that all has been put. Trouble with disk or ledger is waited out while the program works."""

    def __init__(
        self,
        run: RunId,
        journal: Journal,
        content: ContentStore,
        backlog: Backlog,
        redactor: Redactor,
        *,
        head: CommitId,
        tree: TreeId,
    ) -> None:
        self._run = run
        self._journal = journal
        self._content = content
        self._backlog = backlog
        self._redactor = redactor
        self._tape = Tape(redactor)
        self._head = head
        self._tree = tree
        self._waiting: list[Item | Piece] = []
        self._prepared: _Prepared | None = None
        self._ended = False
        self.looks = 0
        self.said = 0
        """Entries of the program's conversation that are on record."""
        self.trouble: CavalcadeError | None = None
        """Why the record could not be written the last time, also when it could be later."""
        self.lost_looks = 0
        self.lost_output_bytes = 0

    @property
    def head(self) -> CommitId:
        return self._head

    @property
    def tree(self) -> TreeId:
        return self._tree

    def end(self) -> None:
        """Everything has been put: `keep` returns when it is kept, or can't be."""
        self._ended = True
        self._backlog.wake()

    async def keep(self) -> None:
        tries, closed = 0, False
        while self._waiting or not closed:
            if not self._waiting:  # else what waits would grow while nothing can be kept
                self._waiting += self._cut(await self._backlog.take(Tape.LONGEST_S))
                closed = self._ended and self._backlog.empty
                self._waiting += self._tape.close() if closed else []
            try:
                await self._keep_waiting()
                tries = 0
            except (Refused, LedgerDamaged) as error:
                self._give_up(error)
                return
            except CavalcadeError as error:
                self.trouble = error
                tries += self._ended
                if tries >= _LAST_TRIES:
                    self._give_up(error)
                    return
                await asyncio.sleep(_AGAIN_S)

    def _cut(self, items: Sequence[Item]) -> list[Item | Piece]:
        """Output in pieces; what was written before something else was seen stands before it."""
        cut: list[Item | Piece] = []
        for item in items:
            if isinstance(item, Look | Said):
                cut += [*self._tape.flush(), item]
            else:
                cut += self._tape.add(item)
        return cut + self._tape.flush(items[-1].at if items else None)

    async def _keep_waiting(self) -> None:
        await asyncio.to_thread(self._store_contents)
        while self._waiting:
            item = self._waiting[0]
            if self._prepared is None:
                self._prepared = await asyncio.to_thread(self._prepare, item)
            event, at, command = self._prepared
            await self._journal.execute(self._run, command, event=event, at=at)
            if isinstance(command, RecordChanges):
                await asyncio.to_thread(self._advance, command.changed)
            self.said += isinstance(command, RecordConversation)
            self._prepared = None
            del self._waiting[0]

    def _store_contents(self) -> None:
        """The files of all looks that wait share their way to the disk."""
        contents = [
            found.now.data
            for item in self._waiting
            if isinstance(item, Look)
            for found in item.changes.values()
            if found.now is not None and found.now.data is not None
        ]
        if contents:
            self._content.write_all(contents)

    def _prepare(self, item: Item | Piece) -> _Prepared:
        event = self._journal.new_event_id()
        if isinstance(item, Look):
            return _Prepared(event, item.at, RecordChanges(self._commit(item, event)))
        if isinstance(item, Said):
            return _Prepared(event, item.at, RecordConversation((self._entry(item.entry),)))
        assert isinstance(item, Piece)  # output is cut before it waits
        return _Prepared(event, item.at, RecordOutput((self._output(item),)))

    def _output(self, piece: Piece) -> OutputWritten:
        size = piece.size_bytes
        if len(msgspec.json.encode(piece.text)) <= INLINE_BYTES:
            return OutputWritten(channel=piece.channel, size_bytes=size, text=piece.text)
        blob = self._content.write(piece.text.encode())
        return OutputWritten(channel=piece.channel, size_bytes=size, blob=blob)

    def _entry(self, entry: port.Entry) -> port.Entry:
        """Without secrets, also where it is too long for an event: then the redacted text lies in the content store."""
        text = self._redactor.redact(entry.arguments if isinstance(entry, ToolCalled) else entry.text).text
        blob = None
        if len(msgspec.json.encode(text)) > INLINE_BYTES:
            text, blob = "", self._content.write(text.encode())
        if isinstance(entry, ToolCalled):
            return replace(entry, arguments=text, blob=blob)
        return replace(entry, text=text, blob=blob)

    def _commit(self, look: Look, event: EventId) -> FilesChanged:
        changes = [
            Change(path, found.now.entry.blob, found.now.entry.mode) if found.now else Change(path, None)
            for path, found in look.changes.items()
        ]
        paths = self._told(look.changes)
        shown = printable_path(paths[0].path) if len(paths) == 1 else f"{len(paths)} paths"
        commit = self._content.commit(
            [self._head],
            changes,
            message=f"Recorded: {shown}",
            trailers={"Cavalcade-Run": self._run, "Cavalcade-Event": event},
            when=look.at,
        )
        told, more = _fitting(paths)
        tree = self._content.tree_of(commit)
        return FilesChanged(commit=commit, parent=self._head, tree=tree, paths=told, more=more)

    def _told(self, changes: Mapping[str, Found]) -> list[PathChange]:
        removed = {path: found.before for path, found in changes.items() if found.before and not found.now}
        added = {path: found.now.entry for path, found in changes.items() if found.now and not found.before}
        renames = find_renames(removed, added, self._content.read, most_pairs=_SIMILAR_PAIRS)
        gone = set(renames.values())
        told = [
            PathChange(path=printable_path(path), status="R", old_path=printable_path(renames[path]))
            if path in renames
            else PathChange(path=printable_path(path), status=_status(found))
            for path, found in changes.items()
            if path not in gone
        ]
        return sorted(told, key=lambda change: change.path)

    def _advance(self, changed: FilesChanged) -> None:
        name = f"refs/runs/{self._run}/head"
        self._content.set_ref(name, changed.commit, expected=self._content.ref(name))
        self._head, self._tree = changed.commit, changed.tree
        self.looks += 1

    def _give_up(self, error: CavalcadeError) -> None:
        self.trouble = error
        left = [*self._waiting, *self._tape.close()]
        self.lost_looks += sum(isinstance(item, Look) for item in left)
        self.lost_output_bytes += sum(item.size_bytes for item in left if isinstance(item, Piece))
        self._backlog.close()


def _status(found: Found) -> str:
    if found.before is None:
        return "A"
    if found.now is None:
        return "D"
    if found.before.blob == found.now.entry.blob or _kind(found.before) != _kind(found.now.entry):
        return "T"
    return "M"


def _kind(entry: Entry) -> int:
    return entry.mode if entry.mode in (SYMLINK, SUBMODULE) else 0


def _fitting(paths: Sequence[PathChange]) -> tuple[tuple[PathChange, ...], int]:
    """As many as an event has room for, and how many are left."""
    room, count = INLINE_BYTES, 0
    for change in paths:
        room -= len(msgspec.json.encode(change)) + 1
        if room < 0:
            break
        count += 1
    return tuple(paths[:count]), len(paths) - count
