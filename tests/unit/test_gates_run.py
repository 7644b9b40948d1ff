"""Bug class: a receipt that can't be reached again, or that is confirmed by something else than what was judged."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest

from cavalcade.content.port import TreeReader
from cavalcade.gates.defaults import edit_gates
from cavalcade.gates.port import Judgement, Question
from cavalcade.gates.run import MAX_FINDINGS, difference, judge, rejudge, result_digest, same
from cavalcade.kernel.errors import ObjectMissing
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol.receipt import Finding
from cavalcade.testing.trees import MemoryTree


class StepClock:
    """Every look at it takes 5 ms."""

    def __init__(self) -> None:
        self._at_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        self._at_s += 0.005
        return self._at_s


class FixedGate:
    """Says what it was told to say."""

    def __init__(self, findings: list[Finding], version: str = "1") -> None:
        self.name = "fixed"
        self.asked: list[Question] = []
        self._findings = tuple(findings)
        self._version = version

    def tool(self) -> tuple[str, str]:
        return "fixed-tool", self._version

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        self.asked.append(question)
        return Judgement("failed" if self._findings else "passed", self._findings, "said")


READER = MemoryTree()
BEFORE, AFTER = READER.tree({"a.py": "x = 1\n"}), READER.tree({"a.py": "import os\n"})
CONFIG = {"fence.allowed": '["a.py"]', "fixed.key": "1", "moves": "{}"}
QUESTION = Question(BEFORE, AFTER, ("a.py",), CONFIG)


async def test_a_receipt_holds_the_whole_question_and_only_the_gates_own_settings() -> None:
    gate = FixedGate([])
    (receipt,) = await judge([gate], QUESTION, READER, StepClock())
    assert (receipt.gate, receipt.tool, receipt.version) == ("fixed", "fixed-tool", "1")
    assert (receipt.before, receipt.after, receipt.paths) == (BEFORE, AFTER, ("a.py",))
    assert receipt.config == gate.asked[0].config == {"fixed.key": "1", "moves": "{}"}
    assert receipt.duration_ms == pytest.approx(5.0)


async def test_receipts_come_in_the_order_of_the_gates() -> None:
    receipts = await judge(edit_gates(), QUESTION, READER, StepClock())
    assert [receipt.gate for receipt in receipts] == [gate.name for gate in edit_gates()]
    assert [receipt.gate for receipt in receipts if receipt.verdict == "failed"] == ["lint"]


async def test_many_findings_are_cut_and_the_digest_covers_all() -> None:
    findings = [Finding(path=f"{n:03}") for n in range(MAX_FINDINGS + 7)]
    (receipt,) = await judge([FixedGate(list(reversed(findings)))], QUESTION, READER, StepClock())
    assert receipt.findings == tuple(findings[:MAX_FINDINGS])
    assert receipt.more_findings == 7
    assert (
        receipt.result_digest == result_digest("failed", findings) != result_digest("failed", findings[:MAX_FINDINGS])
    )


async def test_a_receipt_survives_the_wire_and_is_confirmed_by_asking_again() -> None:
    for receipt in await judge(edit_gates(), QUESTION, READER, StepClock()):
        stored = msgspec.json.decode(msgspec.json.encode(receipt), type=type(receipt))
        again = await rejudge(stored, READER, edit_gates(), StepClock())
        assert same(stored, again), difference(stored, again)


async def test_an_unknown_gate_does_not_confirm() -> None:
    (receipt,) = await judge([FixedGate([])], QUESTION, READER, StepClock())
    again = await rejudge(receipt, READER, edit_gates(), StepClock())
    assert again.verdict == "skipped"
    assert not same(receipt, again)
    assert "no gate named 'fixed'" in difference(receipt, again)


async def test_another_version_does_not_confirm_even_with_the_same_result() -> None:
    (receipt,) = await judge([FixedGate([])], QUESTION, READER, StepClock())
    again = await rejudge(receipt, READER, [FixedGate([], version="2")], StepClock())
    assert not same(receipt, again)
    assert "fixed-tool 2" in difference(receipt, again)


async def test_another_result_does_not_confirm() -> None:
    (receipt,) = await judge([FixedGate([Finding(path="a")])], QUESTION, READER, StepClock())
    assert not same(receipt, await rejudge(receipt, READER, [FixedGate([])], StepClock()))
    other = await rejudge(receipt, READER, [FixedGate([Finding(path="b")])], StepClock())
    assert "other findings" in difference(receipt, other)


async def test_what_utf8_cannot_carry_is_escaped_in_a_receipt() -> None:
    (receipt,) = await judge([FixedGate([Finding(path="\udcff", message="\ud800")])], QUESTION, READER, StepClock())
    assert json.loads(msgspec.json.encode(receipt))["findings"][0]["path"] == "\\udcff"


async def test_without_the_trees_there_is_no_verdict() -> None:
    with pytest.raises(ObjectMissing):
        await judge(edit_gates(), Question(TreeId("gone"), AFTER, ("a.py",)), READER, StepClock())
