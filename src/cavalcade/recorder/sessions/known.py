"""Which program a command starts, and what reads its sessions.

A program is known by the base name of the first word. Words in front of it are passed over by these rules, and nothing else is guessed;
what a shell is given as text is not looked into:

- `env`, `nice`, `nohup`, `setsid`, `stdbuf`, `time`, `timeout`: with their options, assignments and numbers;
- `npx`, `bunx`, `npm exec`, `npm x`, `pnpm dlx`, `pnpm exec`, `yarn dlx`, `bun x`: the package or program that they run;
- `node`, `bun`, `deno`: the script, by its name or the package whose folder it lies in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Protocol

from cavalcade.recorder.port import Program, Said, Session
from cavalcade.recorder.sessions.claude import ClaudeReader
from cavalcade.recorder.sessions.codex import CodexReader
from cavalcade.recorder.sessions.gemini import GeminiReader
from cavalcade.recorder.sessions.opencode import OpenCodeReader
from cavalcade.recorder.sessions.reading import Reading

PACKAGES = {
    "@anthropic-ai/claude-code": "claude",
    "@openai/codex": "codex",
    "@google/gemini-cli": "gemini",
    "opencode-ai": "opencode",
}
"""Package of the npm registry → the program in it."""
_WRAPPERS = frozenset(("env", "nice", "nohup", "setsid", "stdbuf", "time", "timeout"))
_RUNNERS = frozenset(("npx", "bunx", "npm", "pnpm", "yarn"))
_SCRIPTED = frozenset(("node", "bun", "deno"))
_VERBS = frozenset(("exec", "x", "dlx", "run"))
_NOT_A_PROGRAM = re.compile(r"-|\w+=|[\d.]+[smhd]?$")


def program_name(command: Sequence[str]) -> str:
    """`claude`, `codex`, `gemini` or `opencode`; empty when it is none of them."""
    words = list(command)
    while words:
        name = _base_name(words[0])
        if name in PACKAGES.values():
            return name
        if name in _WRAPPERS:
            words = _without_options(words[1:])
        elif name in _RUNNERS or name in _SCRIPTED:
            rest = _without_options(words[1:])
            rest = _without_options(rest[1:]) if rest and rest[0] in _VERBS else rest
            return _packaged(rest[0]) if rest else ""
        else:
            return ""
    return ""


def _base_name(word: str) -> str:
    name = PurePath(word).name
    return re.sub(r"\.(exe|cmd|js|mjs|cjs)$", "", name)


def _without_options(words: list[str]) -> list[str]:
    start = next((at for at, word in enumerate(words) if not _NOT_A_PROGRAM.match(word)), len(words))
    return words[start:]


def _packaged(word: str) -> str:
    """By a package's name, a script's, or the folder of the package that a script lies in."""
    for package, program in PACKAGES.items():
        if re.fullmatch(rf"{re.escape(package)}(@[^/]+)?", word) or f"/node_modules/{package}/" in word:
            return program
    name = _base_name(word)
    return name if name in PACKAGES.values() else ""


class _Reader(Protocol):
    reading: Reading

    def read(self) -> Iterator[Said]:
        """What was written since the last call. Raises OSError."""
        ...


class _Followed:
    def __init__(self, program: str, reader: _Reader) -> None:
        self._program = program
        self._reader = reader

    @property
    def program(self) -> str:
        return self._program

    @property
    def left_out(self) -> int:
        return self._reader.reading.left_out

    def news(self) -> Sequence[Said]:
        said: list[Said] = []
        with suppress(OSError):  # gone or locked meanwhile; what was read before it counts
            said.extend(self._reader.read())
        return sorted(said, key=lambda each: each.at)


class KnownSessions:
    """Claude Code, Codex CLI, Gemini CLI and OpenCode."""

    def open(self, program: Program) -> Session | None:
        name = program_name(program.command)
        environ = program.environ
        match name:
            case "claude":
                return _Followed(name, ClaudeReader(program, environ))
            case "codex":
                return _Followed(name, CodexReader(program, environ))
            case "gemini":
                return _Followed(name, GeminiReader(program))
            case "opencode":
                return _Followed(name, OpenCodeReader(program, environ))
            case _:
                return None
