"""The conversation of a known program is on record with its changes, as the program's own session files tell it.

Bug classes this catches: a half-written line taken for an unknown one or lost, an entry recorded twice, another folder's conversation,
a secret in what was said, a format that changed stopping a recording.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from agent_double import append, filled, golden, insert, session_file, write_documents
from projects import Project, a_project

from cavalcade.protocol.events import MessageRecorded, ToolAnswered, ToolCalled
from cavalcade.recorder.port import Program, Said, Session
from cavalcade.recorder.sessions.known import KnownSessions

DOUBLE = Path(__file__).with_name("agent_double.py")
PROGRAMS = ("claude", "codex", "gemini", "opencode")
STARTED = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
WORDS = [
    ("user", "write hello.py"),
    ("assistant", "I will write the file now."),
    ("assistant", "Done: hello.py prints hello."),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = (tmp_path / "home" / "shop").resolve()
    made.mkdir(parents=True)
    return made


def opened(program: str, folder: Path, **environ: str) -> Session:
    session = KnownSessions().open(Program((program,), folder, folder, folder.parent, STARTED, environ))
    assert session is not None
    return session


def told(program: str, folder: Path) -> list[str]:
    """The program's lines, one a second after the start."""
    return [
        filled(line, folder, STARTED + timedelta(seconds=number))
        for number, line in enumerate(golden(program), start=1)
    ]


def write_all(program: str, folder: Path, lines: list[str]) -> Path:
    file = session_file(program, folder.parent, folder)
    for line in lines:
        insert(file, line) if file.suffix == ".db" else append(file, line)
    return file


def words(said: list[Said]) -> list[tuple[str, str]]:
    """What was said by person and model; the program's own messages (`system`) are left out."""
    messages = [each.entry for each in said if isinstance(each.entry, MessageRecorded)]
    return [(entry.role, entry.text.strip('"')) for entry in messages if entry.role != "system"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_prompt_words_call_and_answer_are_read_each_once(program: str, folder: Path) -> None:
    session = opened(program, folder)
    assert session.program == program
    assert session.news() == []
    write_all(program, folder, told(program, folder))
    said = list(session.news())
    assert words(said) == WORDS
    (call,) = [each.entry for each in said if isinstance(each.entry, ToolCalled)]
    (answer,) = [each.entry for each in said if isinstance(each.entry, ToolAnswered)]
    assert (answer.call, answer.failed) == (call.call, False)
    assert "hello" in call.arguments
    if program != "codex":  # it told a shell to write the file
        assert call.paths == ("hello.py",)
    assert {each.entry.session for each in said if not isinstance(each.entry, ToolAnswered)} == {call.session}
    assert [each.at for each in said] == sorted(each.at for each in said)
    assert (session.news(), session.left_out) == ([], 0)


@pytest.mark.parametrize("program", ["claude", "codex", "gemini"])
def test_lines_are_read_as_they_come_and_a_torn_one_waits(program: str, folder: Path) -> None:
    session = opened(program, folder)
    lines = told(program, folder)
    file = session_file(program, folder.parent, folder)
    said: list[Said] = []
    for line in lines:
        with file.open("a") as stream:
            stream.write(line[:-5])
        before = len(said)
        said += session.news()
        assert len(said) == before
        with file.open("a") as stream:
            stream.write(line[-5:] + "\n")
        said += session.news()
    assert (words(said), session.left_out) == (WORDS, 0)


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_not_understood_is_counted_and_the_rest_is_read(program: str, folder: Path) -> None:
    session = opened(program, folder)
    lines = told(program, folder)
    if program == "opencode":
        strange = json.loads(lines[-1]) | {"id": "prt_new", "data": {"type": "hologram"}}
        broken = strange | {"id": "prt_broken", "data": {"type": 7}}
        lines += [json.dumps(strange), json.dumps(broken)]
    else:
        lines[2:2] = ['{"type": "hologram", "timestamp": "2026-03-01T10:00:02Z"}', "{not json", '{"type": 7}']
    write_all(program, folder, lines)
    said = list(session.news())
    session.news()
    assert words(said) == WORDS
    assert session.left_out == (2 if program == "opencode" else 3)


@pytest.mark.parametrize("program", PROGRAMS)
def test_other_folders_and_earlier_words_are_not_taken(program: str, folder: Path) -> None:
    other = folder.parent / "shop-two"
    other.mkdir()
    write_all(program, other, told(program, other))
    assert list(opened(program, folder).news()) == []
    there = Program((program,), other, other, folder.parent, STARTED, {})
    for started, expected in ((STARTED, WORDS), (STARTED + timedelta(hours=1), [])):
        session = KnownSessions().open(there._replace(started=started))
        assert session is not None
        assert words(list(session.news())) == expected


@pytest.mark.parametrize("program", PROGRAMS)
def test_paths_are_told_from_the_top_of_the_project(program: str, folder: Path) -> None:
    inside = folder / "sub"
    inside.mkdir()
    session = KnownSessions().open(Program((program,), folder, inside, folder.parent, STARTED, {}))
    assert session is not None
    file = session_file(program, folder.parent, inside)
    for line in told(program, inside):
        insert(file, line) if file.suffix == ".db" else append(file, line)
    calls = [each.entry for each in session.news() if isinstance(each.entry, ToolCalled)]
    assert [call.paths for call in calls] == [() if program == "codex" else ("sub/hello.py",)]


def test_a_patch_of_codex_names_its_files(folder: Path) -> None:
    session = opened("codex", folder)
    patch = "*** Begin Patch\n*** Update File: a/old.py\n*** Move to: a/new.py\n@@\n-x\n+y\n*** Add File: b.py\n+z\n*** End Patch\n"
    calls = [
        {"type": "custom_tool_call", "call_id": "1", "name": "apply_patch", "input": patch},
        {
            "type": "function_call",
            "call_id": "2",
            "name": "shell",
            "arguments": json.dumps({"command": ["apply_patch", patch]}),
        },
        {"type": "custom_tool_call_output", "call_id": "1", "output": "Exit code: 1\nOutput:\nno such file"},
    ]
    lines = [
        json.dumps({"timestamp": "2026-03-01T10:00:30Z", "type": "response_item", "payload": call}) for call in calls
    ]
    write_all("codex", folder, [*told("codex", folder)[:1], *lines])
    said = [each.entry for each in session.news()]
    assert [call.paths for call in said if isinstance(call, ToolCalled)] == [("a/old.py", "a/new.py", "b.py")] * 2
    assert [answer.failed for answer in said if isinstance(answer, ToolAnswered)] == [True]


def test_the_older_document_of_gemini_is_read_whenever_it_was_written_anew(folder: Path) -> None:
    session = opened("gemini", folder)
    lines = [json.loads(line) for line in told("gemini", folder)]
    file = session_file("gemini", folder.parent, folder).with_suffix(".json")
    said: list[Said] = []
    for count in range(len(lines) + 1):
        messages = {line["id"]: line for line in lines[:count] if "id" in line}
        whole = json.dumps({"sessionId": "s", "projectHash": "h", "messages": list(messages.values())})
        file.write_text(whole[:-3])
        assert list(session.news()) == []
        file.write_text(whole)
        said += session.news()
    assert (words(said), session.left_out) == (WORDS, 0)


def test_the_older_documents_of_opencode_are_read(folder: Path) -> None:
    session = opened("opencode", folder)
    rows: list[Any] = [json.loads(line) for line in told("opencode", folder)]
    write_documents(folder.parent / ".local/share/opencode/storage", rows)
    said = list(session.news())
    assert words(said) == WORDS
    assert [call.entry.paths for call in said if isinstance(call.entry, ToolCalled)] == [("hello.py",)]
    assert (list(session.news()), session.left_out) == ([], 0)


def test_folders_set_by_environment_are_looked_at(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    for program, name, made in (
        ("claude", "CLAUDE_CONFIG_DIR", ".claude"),
        ("codex", "CODEX_HOME", ".codex"),
        ("opencode", "XDG_DATA_HOME", ".local/share"),
    ):
        write_all(program, folder, told(program, folder))
        (folder.parent / made).rename(elsewhere)
        assert words(list(opened(program, folder, **{name: str(elsewhere)}).news())) == WORDS
        elsewhere.rename(folder.parent / f"seen-{program}")


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return a_project(tmp_path, {"prices.py": "def total(items):\n    return sum(items)\n"})


def installed(shop: Project, program: str) -> Path:
    """The double under the program's name."""
    file = shop.home / "bin" / program
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(DOUBLE.parent)!r})\n"
        "from pathlib import Path\nfrom agent_double import play\n"
        f"play({program!r}, lambda: Path('hello.py').write_text('print(\"hello\")\\n'))\n"
    )
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("program", "flags"),
    [("claude", ()), ("codex", ("--in-place",)), ("gemini", ("--in-place",)), ("opencode", ())],
)
def test_a_recorded_program_is_told_with_what_it_was_asked(shop: Project, program: str, flags: tuple[str, ...]) -> None:
    said = shop(
        "record", "--repo", str(shop.folder), "--json", *flags, "--", str(installed(shop, program)), "write hello.py"
    )
    assert said.status == 0, said
    recorded = said.data
    assert (recorded["program"], recorded["left_out"]) == (program, 0)
    assert recorded["said"] >= 5
    assert f"entries of {program}" in said.err
    why = shop("why", "hello.py:1", "--repo", str(shop.folder), "--run", recorded["run"], "--json").data["recorded"]
    assert why["program"] == program
    conversation = why["conversation"]
    assert conversation["prompt"]["text"].strip('"') == "write hello.py"
    assert conversation["words"][0]["text"] == "I will write the file now."
    assert "hello.py" in conversation["call"]["arguments"]
    shown = shop("why", "hello.py:1", "--repo", str(shop.folder), "--run", recorded["run"]).out
    assert "asked" in shown
    assert "I will write the file now." in shown
    log = shop("log", recorded["run"]).out
    assert "write hello.py" in log
    assert shop("verify").status == 0


def test_secrets_and_long_texts_of_a_conversation_are_kept_without_the_secret(shop: Project) -> None:
    secret = "sk-ant-api03-" + "Ab3xYz9Qw7" * 9
    long = f"key {secret}\n" + "and so on\n" * 3000
    program = installed(shop, "claude")
    line = json.dumps(
        {
            "type": "user", "message": {"role": "user", "content": long}, "uuid": "u", "cwd": "@FOLDER@",
            "timestamp": "@TIME@", "sessionId": "s",
        }
    )  # fmt: skip
    program.write_text(
        program.read_text().replace("from agent_double import play", "import agent_double")
        .replace("play(", f"agent_double.golden = lambda program: [{line!r}]\nagent_double.play(", 1)
    )  # fmt: skip
    said = shop("record", "--repo", str(shop.folder), "--json", "--", str(program))
    assert said.status == 0, said
    events = [json.loads(text)["event"] for text in shop("log", said.data["run"], "--json").out.splitlines()]
    (message,) = [event["data"] for event in events if event["type"] == "cavalcade.message.recorded.v1"]
    text = shop.git("--git-dir", str(shop.store), "cat-file", "blob", message["blob"])
    assert secret not in text
    assert text.endswith("and so on\n")
