"""Bug class: an edit throws content away and nobody asked for it."""

from __future__ import annotations

import pytest

from cavalcade.gates.port import Judgement, Question
from cavalcade.gates.shrinkage import ShrinkageGate
from cavalcade.testing.trees import File, MemoryTree

TEN = "".join(f"line {n}\n" for n in range(10))


async def judge(before: dict[str, File], after: dict[str, File], **config: str) -> Judgement:
    reader = MemoryTree()
    question = Question(reader.tree(before), reader.tree(after), tuple({*before, *after}), config)
    return await ShrinkageGate().judge(question, reader)


def lines(count: int) -> str:
    return "".join(f"line {n}\n" for n in range(count))


@pytest.mark.parametrize(
    ("kept", "verdict"), [(10, "passed"), (3, "passed"), (2, "passed"), (1, "failed"), (0, "failed")]
)
async def test_a_loss_of_more_than_four_fifths_is_refused(kept: int, verdict: str) -> None:
    assert (await judge({"a": TEN}, {"a": lines(kept)})).verdict == verdict


async def test_blank_lines_and_white_space_do_not_count() -> None:
    assert (await judge({"a": TEN}, {"a": "x\n" + "\n" * 100 + " " * 1000})).findings[0].code == "shrunk"
    assert (await judge({"a": TEN}, {"a": "\n" * 50})).findings[0].code == "emptied"


async def test_lines_joined_into_one_count_as_lost_lines() -> None:
    assert (await judge({"a": TEN}, {"a": TEN.replace("\n", ";")})).verdict == "failed"


async def test_the_limit_is_a_setting() -> None:
    assert (await judge({"a": TEN}, {"a": lines(1)}, **{"shrinkage.limit": "0.95"})).verdict == "passed"
    assert (await judge({"a": TEN}, {"a": lines(4)}, **{"shrinkage.limit": "0.5"})).verdict == "failed"


async def test_an_empty_file_may_stay_empty_and_a_new_one_be_empty() -> None:
    assert (await judge({"a": ""}, {"a": "\n", "b": ""})).verdict == "passed"


async def test_a_removed_file_is_refused_unless_planned() -> None:
    assert (await judge({"a": TEN}, {})).findings[0].code == "deleted"
    assert (await judge({"a": TEN}, {}, **{"shrinkage.deletions": '["a"]'})).verdict == "passed"


async def test_a_planned_move_is_no_removal_and_its_content_is_compared() -> None:
    move = {"moves": '{"new":"old"}'}
    assert (await judge({"old": TEN}, {"new": TEN}, **move)).verdict == "passed"
    assert (await judge({"old": TEN}, {"new": "x\n"}, **move)).findings[0].code == "shrunk"
    assert (await judge({"old": TEN}, {}, **move)).findings[0].code == "deleted", "the new place must exist"
