"""Codex CLI's rollout files, as version 0.169.0 writes them: `~/.codex/sessions/YYYY/MM/DD/rollout-<time>-<id>.jsonl`.

`CODEX_HOME` stands for `~/.codex`. Each line has `timestamp`, `type` and `payload`; the first one names the session and its folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

_SILENT = frozenset(
    (
        "compacted",
        "event_msg",
        "inter_agent_communication",
        "inter_agent_communication_metadata",
        "token_usage_record",
        "world_state",
    )
)
_WRITTEN = re.compile(r"\s*(<[a-z][a-z_ ]*>|# AGENTS\.md instructions)")
"""How texts begin that the program puts into the person's mouth: the environment, instructions, what was interrupted."""
_PATCHED = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+)$", re.MULTILINE)
_EXIT = re.compile(r"(?:Process exited with code|Exit code:) (-?\d+)")


class Part(Loose, frozen=True):
    type: str = ""
    text: str = ""


class Item(Loose, frozen=True):
    """A response item, the session's own data, or the context of a turn."""

    type: str = ""
    id: str | None = None
    cwd: str = ""
    model: str = ""
    role: str = ""
    content: list[Part] | None = None
    summary: Any = None
    name: str = ""
    arguments: str = ""
    input: str = ""
    call_id: str | None = None
    action: Any = None
    output: Any = None


class Line(Loose, frozen=True):
    timestamp: str = ""
    type: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"{}")


@dataclass
class _Session:
    name: str = ""
    folder: str = ""
    model: str = ""


class CodexReader:
    def __init__(self, program: Program, environ: Mapping[str, str]) -> None:
        self.reading = Reading(program)
        self._sessions = Path(environ.get("CODEX_HOME") or program.home / ".codex") / "sessions"
        self._appended = Appended()
        self._known: dict[Path, _Session] = {}

    def read(self) -> Iterator[Said]:
        """Raises OSError."""
        for file in changed_since(self._sessions, self.reading.started, ".jsonl", prefix="rollout-"):
            session = self._known.setdefault(file, _Session())
            for data in self._appended.lines(file):
                if (line := self.reading.decode(data, Line)) is not None:
                    yield from self._said(line, session)

    def _said(self, line: Line, session: _Session) -> Iterator[Said]:
        if line.type in _SILENT:
            return
        if line.type not in ("session_meta", "turn_context", "response_item"):
            self.reading.left_out += 1
            return
        item = self.reading.decode(line.payload, Item)
        if item is None:
            return
        if line.type == "response_item":
            if self.reading.is_here(session.folder):
                yield from self.reading.said(moment(line.timestamp), self._entries(item, session))
            return
        session.name = session.name or item.id or ""  # a forked session repeats its parent's first line
        session.folder = item.cwd or session.folder
        session.model = item.model or session.model

    def _entries(self, item: Item, session: _Session) -> Iterator[Entry]:
        match item.type:
            case "message":
                yield from _message(item, session)
            case "reasoning":
                text = text_of(item.summary)
                if text:
                    yield MessageRecorded(
                        role="thought", text=text, session=session.name, entry=item.id or "", model=session.model
                    )
            case "function_call" | "custom_tool_call":
                arguments = item.arguments or item.input
                yield ToolCalled(
                    call=item.call_id or "",
                    tool=item.name,
                    arguments=arguments if item.type == "function_call" else json_text(item.input),
                    session=session.name,
                    paths=self._paths(arguments, session),
                )
            case "local_shell_call" | "web_search_call":
                arguments = json_text(item.action)
                tool = item.type.removesuffix("_call")
                yield ToolCalled(
                    call=item.call_id or item.id or "", tool=tool, arguments=arguments, session=session.name
                )
            case "function_call_output" | "custom_tool_call_output":
                text, failed = _output(item.output)
                yield ToolAnswered(call=item.call_id or "", text=text, failed=failed)
            case "additional_tools" | "agent_message" | "compaction" | "ghost_snapshot" | "other":
                pass
            case _:
                self.reading.left_out += 1

    def _paths(self, arguments: str, session: _Session) -> tuple[str, ...]:
        """Those that a patch names, also one in a shell's command, and those that arguments name by the usual words."""
        try:
            decoded: Any = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            decoded = arguments
        patches = [text for text in _strings(decoded) if "*** Begin Patch" in text]
        named = [path.strip() for text in patches for path in _PATCHED.findall(text)]
        found = (*self.reading.relative(named, session.folder), *self.reading.paths(decoded, session.folder))
        return tuple(dict.fromkeys(found))


def _message(item: Item, session: _Session) -> Iterator[MessageRecorded]:
    text = "\n".join(part.text for part in item.content or () if part.text)
    if not text.strip() or item.role not in ("user", "assistant"):
        return
    role = "assistant" if item.role == "assistant" else "system" if _WRITTEN.match(text) else "user"
    model = session.model if role == "assistant" else ""
    yield MessageRecorded(role=role, text=text, session=session.name, entry=item.id or "", model=model)


def _output(output: object) -> tuple[str, bool]:
    """Text and whether it tells of a failure: an exit status other than 0, or said so."""
    told = mapping(output)
    text = text_of(told.get("content") if told else output)
    found = _EXIT.search(text)
    return text, told.get("success") is False or bool(found and int(found[1]))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in (*mapping(value).values(), *items(value)):
        yield from _strings(each)
