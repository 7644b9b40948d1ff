"""What the project's own environment said then: answers of the record in place of an interpreter and a sandbox."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from cavalcade.content.port import ContentStore
from cavalcade.domain.run import RunState
from cavalcade.domain.run.steps import PlanOf
from cavalcade.gates.suite import Question, read_details, receipt_of
from cavalcade.kernel.errors import ToolFailed
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.plan import TestPlan
from cavalcade.protocol.receipt import Receipt
from cavalcade.worker.project_tests import Tests


class RecordedTests:
    """Answers from a run's events. With `again`, tests are run there once more instead of being answered."""

    def __init__(self, payloads: Iterable[e.Payload], plan_of: PlanOf, today: Tests, *, again: bool) -> None:
        self._today = today
        self._again = again
        self._plans: dict[int, TestPlan] = {}
        self._receipts: list[Receipt] = []
        for payload in payloads:
            match payload:
                case e.PlanProposed():
                    self._plans[payload.round] = plan_of(payload.plan).plan.tests
                case e.GateJudged(receipt=receipt) if receipt.gate == "tests":
                    self._receipts.append(receipt)
                case _:
                    pass

    def python(self, state: RunState) -> Path | None:
        """The one that the plan was made with, if it is still there; where the record names none, today's."""
        tests = self._plans.get(state.round + 1)
        if tests is None or not tests.python:
            return self._today.python(state)
        path = Path(tests.python)
        return path if path.exists() else None

    async def plan(
        self,
        state: RunState,
        content: ContentStore,
        folder: Path,
        selection: tuple[str, ...],
        why: str,
    ) -> TestPlan:
        """How tests were run then; which of them the change concerns is found out again."""
        tests = self._plans.get(state.round + 1)
        if tests is None:
            return await self._today.plan(state, content, folder, selection, why)
        if tests.refused:
            return tests
        if state.settings.test_command:
            return replace(tests, command=state.settings.test_command, why=why)
        return replace(tests, selection=selection, why=why)

    async def judge(
        self,
        state: RunState,
        content: ContentStore,
        trees: tuple[TreeId, TreeId],
        plan: TestPlan,
        renamed: dict[str, str],
    ) -> Receipt:
        """The verdict that follows from each test's outcome then: proposals are judged one by one, in the order of the record.

        Raises ToolFailed when the record has no more of them.
        """
        if self._again:
            return await self._today.judge(state, content, trees, plan, renamed)
        if not self._receipts:
            raise ToolFailed(f"the record has no tests of tree {trees[1][:12]} against {trees[0][:12]}")
        then = self._receipts.pop(0)
        if then.details is None:
            return then
        details = read_details(content.read(then.details))
        question = Question(*trees, plan, renamed)
        return receipt_of(question, details, kept=then.details, duration_ms=then.duration_ms, summary=then.summary)
