"""A test double of what known programs write: their real session files played again, as this moment's, while a file is edited.

Run under the program's name. The conversation comes from tests/golden/sessions; the edit is done between the tool's call and its answer,
as the real programs do. Every line is written in two halves.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent.parent / "golden" / "sessions"
TABLES = """
create table if not exists session (id text primary key, directory text, version text, time_created, time_updated);
create table if not exists message (id text primary key, session_id text, time_created, time_updated, data text);
create table if not exists part (id text primary key, message_id text, session_id text, time_created, time_updated, data text);
"""


def golden(program: str) -> list[str]:
    (file,) = GOLDEN.glob(f"{program}-*.jsonl")
    return file.read_text().splitlines()


def filled(line: str, folder: Path, at: datetime) -> str:
    """A line as of a moment, in a folder."""
    ms = int(at.timestamp() * 1000)
    line = line.replace("@TIME@", at.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
    return re.sub(r'"?@MS@"?', str(ms), line).replace("@FOLDER@", str(folder)).replace("@HOME@", str(folder.parent))


def session_file(program: str, home: Path, folder: Path) -> Path:
    """Where the program writes; its folders are made."""
    match program:
        case "claude":
            slug = re.sub(r"[^a-zA-Z0-9]", "-", str(folder))
            file = home / ".claude/projects" / slug / "586e2769-cea6-4b98-9c89-b96188404c1d.jsonl"
        case "codex":
            file = (
                home
                / ".codex/sessions/2026/11/20/rollout-2026-11-20T23-22-49-01a1fb45-0d16-7dc1-b3c9-1bc0bc30f391.jsonl"
            )
        case "gemini":
            file = home / ".gemini/tmp" / folder.name / "chats/session-2026-11-20T23-23-8ef16719.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent.parent / ".project_root").write_text(str(folder))
        case _:
            file = home / ".local/share/opencode/opencode.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def append(file: Path, line: str) -> None:
    with file.open("a", encoding="utf-8") as stream:
        for half in (line[: len(line) // 2], line[len(line) // 2 :] + "\n"):
            stream.write(half)
            stream.flush()


def insert(database: Path, line: str) -> None:
    row: dict[str, Any] = json.loads(line)
    table = row.pop("table")
    values = [json.dumps(value) if isinstance(value, dict) else value for value in row.values()]
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("pragma journal_mode = wal")
        connection.executescript(TABLES)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", values)


def write_documents(storage: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """OpenCode's rows as its older versions kept them."""
    for row in rows:
        match row["table"]:
            case "session":
                name, data = f"session/project/{row['id']}", {"id": row["id"], "directory": row["directory"]}
            case "message":
                name, data = f"message/{row['session_id']}/{row['id']}", row["data"]
            case _:
                name, data = f"part/{row['message_id']}/{row['id']}", row["data"]
        file = storage / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data))


def answers(line: str) -> bool:
    """Whether a line tells how the tool did."""
    return any(word in line for word in ('"tool_result"', "CommandExecution", '"toolCalls"', '"type":"tool"'))


def play(program: str, edit: Callable[[], object]) -> None:
    folder, home = Path.cwd(), Path(os.environ["HOME"])
    file = session_file(program, home, folder)
    write = insert if file.suffix == ".db" else append
    edited = False
    for line in golden(program):
        if answers(line) and not edited:
            edit()
            edited = True
        write(file, filled(line, folder, datetime.now(UTC)))


if __name__ == "__main__":
    play(Path(sys.argv[0]).name, lambda: Path("hello.py").write_text('print("hello")\n'))
