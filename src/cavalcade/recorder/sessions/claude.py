"""Claude Code's session files, as version 2.1.197 writes them: `~/.claude/projects/<folder>/<session>.jsonl`; those of subagents below.

`CLAUDE_CONFIG_DIR` stands for `~/.claude`. The folder's name is the path with everything but letters and digits as `-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cavalcade.protocol.events import MessageRecorded, ToolAnswered, ToolCalled
from cavalcade.recorder.port import Entry, Program, Said
from cavalcade.recorder.sessions.reading import Appended, Loose, Reading, changed_since, json_text, moment, text_of

_LONGEST_NAME = 200
"""Longer folder names are cut there and get a hash."""
_SILENT = frozenset(
    (
        "agent-name",
        "ai-title",
        "attachment",
        "custom-title",
        "file-history-snapshot",
        "last-prompt",
        "mode",
        "permission-mode",
        "pr-link",
        "progress",
        "queue-operation",
        "summary",
        "system",
        "tag",
    )
)
"""Records that say nothing of the conversation."""


class Block(Loose, frozen=True):
    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Any = None
    tool_use_id: str = ""
    content: Any = None
    is_error: bool | None = None


class Message(Loose, frozen=True):
    content: str | list[Block] = ""
    model: str = ""


class Record(Loose, frozen=True):
    type: str = ""
    message: Message | None = None
    uuid: str = ""
    timestamp: str = ""
    cwd: str = ""
    sessionId: str = ""
    agentId: str = ""
    isMeta: bool = False
    isCompactSummary: bool = False


class ClaudeReader:
    def __init__(self, program: Program, environ: Mapping[str, str]) -> None:
        home = Path(environ.get("CLAUDE_CONFIG_DIR") or program.home / ".claude")
        self.reading = Reading(program)
        self._projects = home / "projects"
        self._appended = Appended()

    def read(self) -> Iterator[Said]:
        """Raises OSError."""
        name = re.sub(r"[^a-zA-Z0-9]", "-", self.reading.folder)[:_LONGEST_NAME]
        folders = sorted(self._projects.glob(f"{name}*")) if self._projects.is_dir() else []
        for folder in folders:
            for file in changed_since(folder, self.reading.started, ".jsonl"):
                for line in self._appended.lines(file):
                    if (record := self.reading.decode(line, Record)) is not None:
                        yield from self._said(record)

    def _said(self, record: Record) -> Iterator[Said]:
        if record.type in _SILENT:
            return
        if record.type not in ("user", "assistant") or record.message is None:
            self.reading.left_out += 1
        elif self.reading.is_here(record.cwd):
            yield from self.reading.said(moment(record.timestamp), self._entries(record, record.message))

    def _entries(self, record: Record, message: Message) -> Iterator[Entry]:
        session = f"{record.sessionId}/{record.agentId}" if record.agentId else record.sessionId
        written = record.isMeta or record.isCompactSummary
        role = "assistant" if record.type == "assistant" else "system" if written else "user"
        content = message.content
        for block in [Block(type="text", text=content)] if isinstance(content, str) else content:
            match block.type:
                case "text" | "thinking":
                    said, who = (block.text, role) if block.type == "text" else (block.thinking, "thought")
                    if said.strip():
                        yield MessageRecorded(
                            role=who, text=said, session=session, entry=record.uuid, model=message.model
                        )
                case "tool_use":
                    yield ToolCalled(
                        call=block.id,
                        tool=block.name,
                        arguments=json_text(block.input),
                        session=session,
                        paths=self.reading.paths(block.input, record.cwd),
                    )
                case "tool_result":
                    yield ToolAnswered(
                        call=block.tool_use_id, text=text_of(block.content), failed=block.is_error is True
                    )
                case "image" | "document" | "redacted_thinking":
                    pass
                case _:
                    self.reading.left_out += 1
