"""Gemini CLI's session files, as version 0.61.0 writes them: `~/.gemini/tmp/<project>/chats/session-<time>-<id>.jsonl`.

The folder has a file `.project_root` with the project's path; before there was one, its name was the SHA-256 of that path, and a session
was one document (`.json`) written anew each time. A message is written again whenever something is added to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cavalcade.protocol.events import MessageRecorded, ToolAnswered, ToolCalled
from cavalcade.recorder.port import Entry, Program, Said
from cavalcade.recorder.sessions.reading import (
    Appended,
    Loose,
    Reading,
    changed_since,
    items,
    json_text,
    mapping,
    moment,
    text_of,
)

_WRITTEN = ("<session_context>", "This is the Gemini CLI. We are setting up the context")
_OPEN = frozenset(("validating", "scheduled", "executing", "awaiting_approval"))
"""A tool call in one of these states has no answer yet."""


class Thought(Loose, frozen=True):
    subject: str = ""
    description: str = ""
    timestamp: str = ""


class Call(Loose, frozen=True):
    id: str
    name: str
    args: Any = None
    result: Any = None
    status: str = ""
    timestamp: str = ""


class Message(Loose, frozen=True):
    id: str
    timestamp: str = ""
    type: str = ""
    content: Any = ""
    thoughts: list[Thought] = msgspec.field(default_factory=list[Thought])
    toolCalls: list[Call] = msgspec.field(default_factory=list[Call])
    model: str = ""


class Updates(Loose, frozen=True):
    messages: list[msgspec.Raw] = msgspec.field(default_factory=list[msgspec.Raw])


class Line(Loose, frozen=True, rename={"updates": "$set", "rewound": "$rewindTo"}):
    """One line, or a whole session."""

    id: str = ""
    sessionId: str = ""
    messages: list[msgspec.Raw] = msgspec.field(default_factory=list[msgspec.Raw])
    updates: Updates | None = None
    rewound: str = ""


class GeminiReader:
    def __init__(self, program: Program) -> None:
        self.reading = Reading(program)
        self._tmp = program.home / ".gemini" / "tmp"
        self._appended = Appended()
        self._whole: dict[Path, tuple[int, int]] = {}
        self._sessions: dict[Path, str] = {}
        self._told = set[tuple[str, ...]]()

    def read(self) -> Iterator[Said]:
        """Raises OSError."""
        for folder in sorted(self._tmp.iterdir()) if self._tmp.is_dir() else ():
            if folder.is_dir() and self._is_ours(folder):
                yield from self._chats(folder / "chats")

    def _is_ours(self, folder: Path) -> bool:
        root = folder / ".project_root"
        if root.is_file():
            return self.reading.is_here(root.read_text(encoding="utf-8", errors="replace").strip())
        return folder.name == hashlib.sha256(self.reading.folder.encode()).hexdigest()

    def _chats(self, chats: Path) -> Iterator[Said]:
        for file in changed_since(chats, self.reading.started, ".jsonl"):
            for data in self._appended.lines(file):
                if (line := self.reading.decode(data, Line)) is not None:
                    yield from self._line(line, data, file)
        for file in changed_since(chats, self.reading.started, ".json", prefix="session-"):
            now = file.stat()
            if self._whole.get(file) == (now.st_mtime_ns, now.st_size):
                continue
            try:
                line = msgspec.json.decode(file.read_bytes(), type=Line)
            except msgspec.DecodeError:
                continue  # it is being written
            self._whole[file] = (now.st_mtime_ns, now.st_size)
            yield from self._line(line, b"", file)

    def _line(self, line: Line, data: bytes, file: Path) -> Iterator[Said]:
        self._sessions[file] = line.sessionId or self._sessions.get(file, "")
        messages = [*line.messages, *(line.updates.messages if line.updates else ())]
        for raw in [msgspec.Raw(data)] if line.id else messages:
            if (message := self.reading.decode(raw, Message)) is not None:
                yield from self._message(message, self._sessions[file])
        if not (line.id or line.sessionId or line.updates or line.rewound):
            self.reading.left_out += 1

    def _message(self, message: Message, session: str) -> Iterator[Said]:
        for thought in message.thoughts:
            text = f"{thought.subject}\n{thought.description}".strip()
            yield from self._once(
                ("thought", message.id, text), thought.timestamp or message.timestamp,
                MessageRecorded(role="thought", text=text, session=session, entry=message.id, model=message.model),
            )  # fmt: skip
        text = text_of(message.content)
        if message.type not in ("user", "gemini", "info", "error", "warning"):
            self.reading.left_out += 1
        elif text.strip():
            yield from self._once(
                ("text", message.id), message.timestamp,
                MessageRecorded(
                    role=_role(message.type, text), text=text, session=session, entry=message.id, model=message.model
                ),
            )  # fmt: skip
        for call in message.toolCalls:
            yield from self._call(call, session)

    def _call(self, call: Call, session: str) -> Iterator[Said]:
        called = ToolCalled(
            call=call.id,
            tool=call.name,
            arguments=json_text(call.args),
            session=session,
            paths=self.reading.paths(call.args, ""),
        )
        yield from self._once(("call", call.id), call.timestamp, called)
        if call.status not in _OPEN:
            answered = ToolAnswered(call=call.id, text=_answer(call.result), failed=call.status != "success")
            yield from self._once(("answer", call.id), call.timestamp, answered)

    def _once(self, key: tuple[str, ...], time: str, entry: Entry) -> Iterator[Said]:
        if key not in self._told:
            self._told.add(key)
            yield from self.reading.said(moment(time), (entry,))


def _role(kind: str, text: str) -> Any:
    if kind == "gemini":
        return "assistant"
    return "user" if kind == "user" and not text.lstrip().startswith(_WRITTEN) else "system"


def _answer(result: object) -> str:
    answers: list[str] = []
    for part in items(result) or [result]:
        response = mapping(mapping(mapping(part).get("functionResponse")).get("response"))
        answers.append(text_of(response.get("output") or response.get("error")) if response else text_of(part))
    return "\n".join(answer for answer in answers if answer)
