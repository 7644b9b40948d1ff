"""OpenCode's sessions, as version 1.18.33 keeps them: tables `session`, `message` and `part` of `~/.local/share/opencode/opencode.db`.

Before version 1.2 each was a document of its own: `storage/session/<project>/<session>.json`, `storage/message/<session>/<message>.json`
and `storage/part/<message>/<part>.json`, of the same content. `XDG_DATA_HOME` stands for `~/.local/share`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from cavalcade.protocol.events import MessageRecorded, ToolAnswered, ToolCalled
from cavalcade.recorder.port import Entry, Program, Said
from cavalcade.recorder.sessions.reading import Loose, Reading, changed_since, json_text, moment_ms

_SILENT = frozenset(
    ("agent", "compaction", "file", "patch", "retry", "snapshot", "step-finish", "step-start", "subtask")
)
_ROWS = """
select session.id, session.directory, message.data, part.id, part.data, part.time_created, max(part.time_updated, message.time_updated)
from part join message on message.id = part.message_id join session on session.id = part.session_id
where part.time_updated >= ? or message.time_updated >= ?
order by part.time_created, part.id
"""


_AGAIN_MS = 5_000
"""Rows are asked for again for so long: one may be committed after one that is newer."""


class Span(Loose, frozen=True):
    created: float = 0
    completed: float | None = None
    start: float = 0
    end: float | None = None


class Message(Loose, frozen=True):
    role: str = ""
    time: Span = Span()
    modelID: str = ""


class State(Loose, frozen=True):
    status: str = ""
    input: Any = None
    output: Any = None
    error: Any = None
    time: Span = Span()


class Part(Loose, frozen=True):
    type: str = ""
    text: str = ""
    synthetic: bool = False
    time: Span = Span()
    tool: str = ""
    callID: str = ""
    state: State = State()


class SessionFile(Loose, frozen=True):
    id: str
    directory: str = ""


class _Row(NamedTuple):
    session: str
    directory: str
    message: bytes
    part: str
    data: bytes
    created_ms: float


class OpenCodeReader:
    def __init__(self, program: Program, environ: Mapping[str, str]) -> None:
        self.reading = Reading(program)
        self._data = Path(environ.get("XDG_DATA_HOME") or program.home / ".local" / "share") / "opencode"
        self._seen_ms = int(program.started.timestamp() * 1000)
        self._told = set[tuple[str, str]]()
        self._strange = set[str]()

    def read(self) -> Iterator[Said]:
        """Raises OSError."""
        for row in (*self._from_database(), *self._from_files()):
            if self.reading.is_here(row.directory):
                yield from self._row(row)

    def _from_database(self) -> list[_Row]:
        """Empty while the database can't be read: it is asked again."""
        file = self._data / "opencode.db"
        since_ms = self._seen_ms - _AGAIN_MS
        if not file.is_file():
            return []
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0.2)) as database:
                rows = database.execute(_ROWS, (since_ms, since_ms)).fetchall()
        except sqlite3.Error:
            return []
        self._seen_ms = max([self._seen_ms, *(row[6] for row in rows)])
        return [_Row(a, b, str(c).encode(), d, str(e).encode(), f) for a, b, c, d, e, f, _ in rows]

    def _from_files(self) -> Iterator[_Row]:
        storage = self._data / "storage"
        for file in changed_since(storage / "part", self.reading.started, ".json"):
            message = next(storage.glob(f"message/*/{file.parent.name}.json"), None)
            if message is None:
                continue
            session = next(storage.glob(f"session/*/{message.parent.name}.json"), None)
            if session is None or not (found := self._session(session)):
                continue
            data, created = file.read_bytes(), file.stat().st_mtime * 1000
            yield _Row(found.id, found.directory, message.read_bytes(), file.stem, data, created)

    def _session(self, file: Path) -> SessionFile | None:
        try:
            return msgspec.json.decode(file.read_bytes(), type=SessionFile)
        except msgspec.DecodeError:
            return None  # it is being written

    def _row(self, row: _Row) -> Iterator[Said]:
        try:
            message, part = msgspec.json.decode(row.message, type=Message), msgspec.json.decode(row.data, type=Part)
        except msgspec.DecodeError:
            self._leave_out(row.part)
            return
        if part.type in _SILENT:
            return
        if part.type in ("text", "reasoning"):
            yield from self._text(row, message, part)
        elif part.type == "tool":
            yield from self._tool(row, part)
        else:
            self._leave_out(row.part)

    def _leave_out(self, part: str) -> None:
        """Each once, although it is read again and again."""
        self.reading.left_out += part not in self._strange
        self._strange.add(part)

    def _text(self, row: _Row, message: Message, part: Part) -> Iterator[Said]:
        """What a model writes is taken when it is complete."""
        done = message.role == "user" or part.time.end is not None or message.time.completed is not None
        if not done or not part.text.strip():
            return
        said = MessageRecorded(
            role=_role(message, part),
            text=part.text,
            session=row.session,
            entry=row.part,
            model=message.modelID if message.role == "assistant" else "",
        )
        at = message.time.created if message.role == "user" else part.time.start or row.created_ms
        yield from self._once(row.part, "text", at or row.created_ms, said)

    def _tool(self, row: _Row, part: Part) -> Iterator[Said]:
        state = part.state
        if state.status == "pending":
            return
        call = part.callID or row.part
        called = ToolCalled(
            call=call,
            tool=part.tool,
            arguments=json_text(state.input),
            session=row.session,
            paths=self.reading.paths(state.input, row.directory),
        )
        yield from self._once(row.part, "call", state.time.start or row.created_ms, called)
        if state.status in ("completed", "error"):
            failed = state.status == "error"
            text = state.error if failed else state.output
            answered = ToolAnswered(call=call, text=text if isinstance(text, str) else json_text(text), failed=failed)
            yield from self._once(row.part, "answer", state.time.end or row.created_ms, answered)

    def _once(self, part: str, what: str, at_ms: float, entry: Entry) -> Iterator[Said]:
        if (part, what) not in self._told:
            self._told.add((part, what))
            yield from self.reading.said(moment_ms(at_ms), (entry,))


def _role(message: Message, part: Part) -> Literal["user", "assistant", "system", "thought"]:
    if message.role == "user":
        return "system" if part.synthetic else "user"
    return "thought" if part.type == "reasoning" else "assistant"
