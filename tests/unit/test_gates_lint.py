"""Bug class: an edit introduces an undefined or unused name, or is blamed for one that was there."""

from __future__ import annotations

from pathlib import Path

import pytest

from cavalcade.gates.lint import LintGate
from cavalcade.gates.port import Judgement, Question
from cavalcade.gates.ruff import Ruff
from cavalcade.kernel.errors import ToolFailed, UsageError
from cavalcade.testing.trees import File, MemoryTree


async def judge(before: dict[str, File], after: dict[str, File], **config: str) -> Judgement:
    reader = MemoryTree()
    question = Question(reader.tree(before), reader.tree(after), tuple({*before, *after}), config)
    return await LintGate().judge(question, reader)


def codes(judgement: Judgement) -> list[str]:
    return [finding.code for finding in judgement.findings]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("import os\n", "F401"),
        ("print(undefined)\n", "F821"),
        ("def f():\n    x = 1\n", "F841"),
        ("'{} {}'.format(1)\n", "F524"),
        ("__all__ = ['gone']\n", "F822"),
        ("x = )\n", "invalid-syntax"),
    ],
)
async def test_a_finding_that_the_edit_introduces_is_refused(text: str, code: str) -> None:
    assert set(codes(await judge({"a.py": "y = 1\n"}, {"a.py": "y = 1\n" + text}))) == {code}
    assert set(codes(await judge({}, {"a.py": text}))) == {code}
    assert codes(await judge({"a.py": text}, {"a.py": "y = 1\n" + text})) == [], "it was there before"


async def test_shifted_lines_are_not_new_and_one_more_of_the_same_is() -> None:
    before = "def f():\n    return gone\n"
    assert codes(await judge({"a.py": before}, {"a.py": "\n\nX = 1\n\n\n" + before})) == []
    again = await judge({"a.py": before}, {"a.py": before + "def g():\n    return gone\n"})
    assert [(finding.code, finding.line) for finding in again.findings] in ([("F821", 4)], [("F821", 2)])


async def test_the_same_finding_on_an_edited_line_is_not_new() -> None:
    assert codes(await judge({"a.py": "import os, sys\nsys.exit()\n"}, {"a.py": "import os\n"})) == []


async def test_the_same_message_on_a_quite_different_line_is_new() -> None:
    before, after = "value = compute(gone) + 1\n", "raise SystemExit(f'{gone!r} is not here')\n"
    assert codes(await judge({"a.py": before}, {"a.py": after})) == ["F821"]


async def test_what_was_said_of_the_old_name_is_not_new_when_said_of_the_new_one() -> None:
    before, after = "from m import old\n", "from m import new\n"
    assert codes(await judge({"a.py": before}, {"a.py": after})) == ["F401"]
    assert codes(await judge({"a.py": before}, {"a.py": after}, **{"lint.renames": '{"old":"new"}'})) == []


async def test_a_moved_file_is_compared_with_what_it_was() -> None:
    assert codes(await judge({"a.py": "import os\n"}, {"b.py": "import os\n"}, moves='{"b.py":"a.py"}')) == []


async def test_an_import_that_a_package_init_does_not_use_is_a_reexport() -> None:
    text = "from p.a import x\nfrom .b import y\n"
    assert codes(await judge({}, {"p/__init__.py": text, "p/__init__.pyi": text})) == []
    assert codes(await judge({}, {"p/c.py": text})) == ["F401", "F401"]


async def test_the_projects_python_decides_what_is_valid() -> None:
    text = "match 1:\n    case 1:\n        pass\n"
    assert codes(await judge({}, {"a.py": text}, **{"lint.python": '"3.12"'})) == []
    assert codes(await judge({}, {"a.py": text}, **{"lint.python": '"3.9"'})) == ["invalid-syntax"]


async def test_odd_contents_are_judged_without_a_crash() -> None:
    odd: dict[str, File] = {
        "a.py": b"\xff\xfe\0",
        "b.py": b"x = 1\0",
        "c.py": "",
        "d.pyi": "x: int\n",
        "-rf.py": "x = 1\n",
    }
    assert (await judge(odd, odd)).verdict == "passed"
    await judge({}, odd)


async def test_only_regular_python_files_are_looked_at() -> None:
    assert (await judge({}, {"a.txt": "import os", "b.py": ("import os", 0o120000)})).verdict == "passed"


async def test_a_missing_ruff_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    reader = MemoryTree()
    gate = LintGate(Ruff(tmp_path / "ruff"))
    with pytest.raises(ToolFailed):
        await gate.judge(Question(reader.tree({}), reader.tree({"a.py": ""}), ("a.py",)), reader)
    with pytest.raises(ToolFailed):
        gate.tool()


async def test_a_setting_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"lint\.renames"):
        await judge({}, {"a.py": ""}, **{"lint.renames": "[1]"})
