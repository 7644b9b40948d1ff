"""Gate `tests`: the affected tests on the tree before and on the tree after, in the sandbox, compared by test id.

A test that passed before and doesn't pass now speaks against the change. It is run once more on its own, on both sides, before it
counts: what fails by chance is told apart from what was broken. A suite that doesn't get through, on either side, proves nothing: the
verdict is `failed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cavalcade.content.port import ContentStore
from cavalcade.gates.tests import PLUGIN, FailurePlace, TestRun, compare, failure_places, run_tests
from cavalcade.kernel.canonical import canonical_bytes, digest_of
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import BlobId, TreeId
from cavalcade.protocol.plan import Struct, TestPlan
from cavalcade.protocol.receipt import Finding, Receipt, Verdict
from cavalcade.sandbox.port import Limits, Sandbox
from cavalcade.sandbox.workspaces import WHOLE, Workspaces

GATE = "tests"
_RETRIED_AT_MOST = 200
"""More lost tests than that are no accident: they count as lost without a second run."""
_FINDINGS = 20


class SuiteDetails(Struct, frozen=True):
    """What lies in the content store behind a receipt: outcomes by test id, and where and why the lost ones failed."""

    before: dict[str, str]
    after: dict[str, str]
    lost: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    """On which side, and why, not every test had its turn: `before: ended by the wall limit`."""
    failures: tuple[FailurePlace, ...] = ()


def read_details(data: bytes) -> SuiteDetails:
    return msgspec.json.decode(data, type=SuiteDetails)


@dataclass(frozen=True)
class Suite:
    """`workspaces` gives scratch copies, of which none is kept; `sandbox` raises SandboxUnavailable when code can't be run safely.

    `home` is the person's home folder, never shown to the tests.
    """

    content: ContentStore
    sandbox: Callable[[], Awaitable[Sandbox]]
    workspaces: Workspaces
    clock: Clock
    home: Path
    timeout_s: int

    async def judge(self, before: TreeId, after: TreeId, plan: TestPlan, renamed: Mapping[str, str]) -> Receipt:
        """`renamed` maps words (a symbol, a path) that test ids may hold to what they are called after the change.

        Raises SandboxUnavailable. With a plan that was refused (and approved so) the verdict is `skipped`.
        """
        started = self.clock.monotonic_s()
        question = Question(before, after, plan, renamed)
        if plan.refused:
            details = SuiteDetails(before={}, after={})
            return self._receipt(question, details, started, plan.refused)
        old, new = await self._both(question, plan)
        lost = compare(old, new, new_ids(old, new, renamed)).lost
        flaky: tuple[str, ...] = ()
        if lost and len(lost) <= _RETRIED_AT_MOST and not _custom(plan):
            flaky = await self._accidents(question, lost, new_ids(old, new, renamed))
            lost = tuple(test for test in lost if test not in flaky)
        details = SuiteDetails(
            before=old.outcomes,
            after=new.outcomes,
            lost=lost,
            flaky=flaky,
            unfinished=() if _custom(plan) else _unfinished(old, new),
            failures=failure_places(new, lost),
        )
        return self._receipt(question, details, started, _told(old, new, details))

    async def rejudge(self, receipt: Receipt) -> Receipt:
        """The same question again: both trees, the same tests, the same interpreter."""
        plan = msgspec.json.decode(receipt.config["tests.plan"], type=TestPlan)
        renamed = msgspec.json.decode(receipt.config["tests.renamed"], type=dict[str, str])
        return await self.judge(receipt.before, receipt.after, plan, renamed)

    async def _both(
        self, question: Question, plan: TestPlan, only: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    ) -> tuple[TestRun, TestRun]:
        sandbox = await self.sandbox()
        first, second = only or (plan.selection, plan.selection)
        return await asyncio.gather(
            self._run(sandbox, question.before, msgspec.structs.replace(plan, selection=first)),
            self._run(sandbox, question.after, msgspec.structs.replace(plan, selection=second)),
        )

    async def _run(self, sandbox: Sandbox, tree: TreeId, plan: TestPlan) -> TestRun:
        limits = Limits(wall_s=self.timeout_s, cpu_s=2 * self.timeout_s)
        async with self.workspaces.claim(self.content, tree, WHOLE) as workspace:
            return await run_tests(sandbox, workspace.folder, plan, limits, {}, home=self.home)

    async def _accidents(self, question: Question, lost: tuple[str, ...], ids: Mapping[str, str]) -> tuple[str, ...]:
        """The lost tests that come out the same on both sides when their files are run again, or whose id was never to come back:
        some suites put the time of day into it.
        """
        back = {new: old for old, new in ids.items()}
        files = tuple(sorted({test.partition("::")[0] for test in lost}))
        old_files = tuple(sorted({back.get(test, test).partition("::")[0] for test in lost}))
        old, new = await self._both(question, question.plan, (old_files, files))
        if not (old.finished and new.finished):
            return ()
        still = set(compare(old, new, ids).lost)
        stable = {ids.get(test, test) for test in old.outcomes}
        return tuple(test for test in lost if test not in still and (test in new.outcomes or test not in stable))

    def _receipt(self, question: Question, details: SuiteDetails, started: float, summary: str) -> Receipt:
        kept = self.content.write(canonical_bytes(msgspec.to_builtins(details)))
        duration_ms = round((self.clock.monotonic_s() - started) * 1000, 1)
        return receipt_of(question, details, kept=kept, duration_ms=duration_ms, summary=summary)


@dataclass(frozen=True)
class Question:
    """Which tests are compared on which trees; `renamed` as for `Suite.judge`."""

    before: TreeId
    after: TreeId
    plan: TestPlan
    renamed: Mapping[str, str]


def receipt_of(question: Question, details: SuiteDetails, *, kept: BlobId, duration_ms: float, summary: str) -> Receipt:
    """The verdict that follows from the outcomes in `details`, which lie in the blob `kept`."""
    plan = question.plan
    verdict: Verdict = "failed" if details.lost or details.unfinished else "passed"
    verdict = "skipped" if plan.refused else verdict
    findings = tuple(_finding(place) for place in details.failures[:_FINDINGS])
    stable = [
        {test: outcome for test, outcome in outcomes.items() if test not in details.flaky}
        for outcomes in (details.before, details.after)
    ]
    return Receipt(
        gate=GATE,
        tool="command" if _custom(plan) else "pytest",
        version=plan.version,
        before=question.before,
        after=question.after,
        paths=(),
        config={
            "tests.plan": canonical_bytes(msgspec.to_builtins(plan)).decode(),
            "tests.renamed": canonical_bytes(dict(question.renamed)).decode(),
        },
        verdict=verdict,
        result_digest=digest_of([verdict, *stable]),
        duration_ms=duration_ms,
        findings=findings,
        more_findings=max(0, len(details.failures) - len(findings)),
        details=kept,
        summary=summary,
    )


def _custom(plan: TestPlan) -> bool:
    """A command of the person's own: judged by its exit status, as one test."""
    return PLUGIN not in plan.command


def new_ids(before: TestRun, after: TestRun, renamed: Mapping[str, str]) -> dict[str, str]:
    """Ids of tests that are gone, with the id they have now because a path or a name in it was changed."""
    found: dict[str, str] = {}
    for test in before.outcomes:
        if test in after.outcomes:
            continue
        for old, new in renamed.items():
            candidate = test.replace(old, new)
            if candidate != test and candidate in after.outcomes and candidate not in before.outcomes:
                found[test] = candidate
    return found


def _finding(place: FailurePlace) -> Finding:
    reason = f"{place.type}: {place.message}" if place.type else place.message
    return Finding(
        path=place.path, line=place.line, code="tests-lost", message=f"{len(place.tests)} lost: {reason}"[:300]
    )


def _unfinished(before: TestRun, after: TestRun) -> tuple[str, ...]:
    sides = (("before", before), ("after", after))
    return tuple(
        f"{side}: " + (f"ended by the {run.hit} limit" if run.hit else "the test process ended early")
        for side, run in sides
        if not run.finished
    )


def _told(old: TestRun, new: TestRun, details: SuiteDetails) -> str:
    parts = [f"{len(old.passed())} passed before, {len(new.passed())} after"]
    if details.lost:
        parts.append(f"{len(details.lost)} lost")
    if details.flaky:
        parts.append(f"{len(details.flaky)} fail by chance")
    if details.unfinished:
        parts.append("not finished " + " and ".join(details.unfinished))
    return ", ".join(parts)
