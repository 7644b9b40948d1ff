"""Bug class: an edit that leaves a file unparsable lands, or one that isn't to blame is refused."""

from __future__ import annotations

import pytest

from cavalcade.gates.port import Judgement, Question
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.testing.trees import File, MemoryTree


async def judge(before: dict[str, File], after: dict[str, File], **config: str) -> Judgement:
    reader = MemoryTree()
    question = Question(reader.tree(before), reader.tree(after), tuple({*before, *after}), config)
    return await SyntaxGate().judge(question, reader)


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("a.py", "x = 1\n", "x = (1\n"),
        ("a.pyi", "x: int\n", "x: \n"),
        ("a.json", '{"a": 1}', '{"a": 1,}'),
        ("a.toml", "a = 1\n", "a = \n"),
        ("a.py", "x = 1\n", b"x = '\xff'\n"),
        ("a.toml", "a = 1\n", b"a = '\xff'\n"),
        ("a.py", "x = 1\n", b"x = 1\0\n"),
        ("a.py", "x = 1\n", "# coding: no-such-codec\nx = 1\n"),
        ("a.py", "x = 1\n", "def f():\nreturn 1\n"),
        ("a.py", "x = 1\n", "return 1 +\n"),
    ],
)
async def test_a_file_that_could_be_parsed_must_stay_so(path: str, good: File, bad: File) -> None:
    assert (await judge({path: good}, {path: bad})).verdict == "failed"
    assert (await judge({}, {path: bad})).verdict == "failed", "a new file too"
    assert (await judge({path: bad}, {path: good})).verdict == "passed"


async def test_a_file_that_was_broken_before_is_not_a_new_finding() -> None:
    assert (await judge({"a.py": "print 'x'\n"}, {"a.py": "print 'y'\n"})).verdict == "passed"


async def test_the_place_of_the_error_is_named() -> None:
    finding = (await judge({"a.py": "x = 1\n"}, {"a.py": "x = 1\ny = = 2\n"})).findings[0]
    assert (finding.path, finding.line, finding.column, finding.code) == ("a.py", 2, 5, "syntax")


@pytest.mark.parametrize(
    "text", ["x = " + "(" * 5000 + ")" * 5000, "x = " + "-" * 100_000 + "1", "x = 1" + " + 1" * 100_000]
)
async def test_nesting_too_deep_for_the_parser_is_a_finding_and_no_crash(text: str) -> None:
    judgement = await judge({"a.py": "x = 1\n"}, {"a.py": text})
    assert {finding.code for finding in judgement.findings} <= {"too-deep", "syntax"}


async def test_deep_json_and_toml_are_findings_and_no_crash() -> None:
    deep = "[" * 200_000 + "]" * 200_000
    judgement = await judge({}, {"a.json": deep, "b.toml": f"a = {deep}"})
    assert [finding.code for finding in judgement.findings] == ["too-deep", "too-deep"]


async def test_a_file_grown_beyond_the_limit_is_refused_and_one_that_was_beyond_is_not() -> None:
    config = {"syntax.max_bytes": "100"}
    assert (await judge({"a.py": "x = 1\n"}, {"a.py": "x = 1\n" * 50}, **config)).findings[0].code == "too-large"
    assert (await judge({"a.py": "x = 2\n" * 50}, {"a.py": "x = 1\n" * 50}, **config)).verdict == "passed"


async def test_json_that_may_hold_comments_and_long_numbers_are_left_alone() -> None:
    assert (
        await judge({}, {"tsconfig.json": "{} // c", ".vscode/x.json": "// c", "n.json": "9" * 10_000})
    ).verdict == "passed"


async def test_symlinks_and_other_files_are_not_parsed() -> None:
    assert (await judge({}, {"a.py": ("def f(", 0o120000), "b.txt": "def f("})).verdict == "passed"


async def test_a_moved_file_is_compared_with_what_it_was() -> None:
    moved = await judge({"old.py": "print 1\n"}, {"new.py": "print 1\n"}, moves='{"new.py":"old.py"}')
    assert moved.verdict == "passed"


async def test_invalid_escapes_are_no_syntax_errors() -> None:
    assert (await judge({}, {"a.py": 'x = "\\d"\n'})).verdict == "passed"
