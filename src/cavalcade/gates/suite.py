"""Gate `tests`: the affected tests on the tree before and on the tree after, in the sandbox, compared by test id.

A test that passed before and doesn't pass now speaks against the change. It is run once more on its own, on both sides, before it
counts: what fails by chance is told apart from what was broken.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from cavalcade.content.port import ContentStore
from cavalcade.gates.tests import Failure, TestRun, failures_of, lost_between, run_tests, suite_limits
from cavalcade.kernel.canonical import canonical_bytes, digest_of
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol.plan import Struct, TestPlan
from cavalcade.protocol.receipt import Finding, Receipt, Verdict
from cavalcade.sandbox.port import Sandbox

GATE = "tests"
_RETRIED_AT_MOST = 200
"""More lost tests than that are no accident: they count as lost without a second run."""
_FINDINGS = 20


class SuiteDetails(Struct, frozen=True):
    """What lies in the content store behind a receipt: outcomes by test id, and why the lost ones failed."""

    before: dict[str, str]
    after: dict[str, str]
    lost: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()


def read_details(data: bytes) -> SuiteDetails:
    return msgspec.json.decode(data, type=SuiteDetails)


@dataclass(frozen=True)
class Suite:
    """`workspace` is a folder for scratch copies; `sandbox` raises SandboxUnavailable when code can't be run safely."""

    content: ContentStore
    sandbox: Callable[[], Awaitable[Sandbox]]
    workspace: Path
    clock: Clock
    timeout_s: int

    async def judge(self, before: TreeId, after: TreeId, plan: TestPlan) -> Receipt:
        """Raises SandboxUnavailable. With a plan that was refused (and approved so) the verdict is `skipped`."""
        started = self.clock.monotonic_s()
        if plan.refused:
            return self._receipt(
                before, after, plan, "skipped", SuiteDetails(before={}, after={}), started, plan.refused
            )
        sandbox = await self.sandbox()
        old, new = await asyncio.gather(
            self._run(sandbox, before, plan, "before"), self._run(sandbox, after, plan, "after")
        )
        lost = lost_between(old, new)
        flaky: tuple[str, ...] = ()
        if lost and len(lost) <= _RETRIED_AT_MOST and not plan.custom:
            flaky = await self._accidents(sandbox, before, after, plan, lost)
            lost = tuple(test for test in lost if test not in flaky)
        details = SuiteDetails(
            before=old.outcomes, after=new.outcomes, lost=lost, flaky=flaky, failures=failures_of(new, lost)
        )
        return self._receipt(
            before, after, plan, "failed" if lost else "passed", details, started, _told(old, new, details)
        )

    async def rejudge(self, receipt: Receipt) -> Receipt:
        """The same question again: both trees, the same tests, the same interpreter."""
        plan = msgspec.json.decode(receipt.config["tests.plan"], type=TestPlan)
        return await self.judge(receipt.before, receipt.after, plan)

    async def _run(self, sandbox: Sandbox, tree: TreeId, plan: TestPlan, name: str) -> TestRun:
        folder = self.workspace / f"tests-{name}"
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await asyncio.to_thread(self.content.restore, tree, folder)
        return await run_tests(sandbox, folder, plan, suite_limits(self.timeout_s))

    async def _accidents(
        self, sandbox: Sandbox, before: TreeId, after: TreeId, plan: TestPlan, lost: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The lost tests that come out the same on both sides when they are run again alone."""
        again = msgspec.structs.replace(plan, selection=lost)
        old, new = await asyncio.gather(
            self._run(sandbox, before, again, "before"), self._run(sandbox, after, again, "after")
        )
        still = set(lost_between(old, new))
        return tuple(test for test in lost if test not in still and test in new.outcomes)

    def _receipt(
        self,
        before: TreeId,
        after: TreeId,
        plan: TestPlan,
        verdict: Verdict,
        details: SuiteDetails,
        started: float,
        summary: str,
    ) -> Receipt:
        kept = self.content.write(canonical_bytes(msgspec.to_builtins(details)))
        findings = tuple(_finding(failure) for failure in details.failures[:_FINDINGS])
        stable = {
            side: {test: outcome for test, outcome in outcomes.items() if test not in details.flaky}
            for side, outcomes in (("before", details.before), ("after", details.after))
        }
        return Receipt(
            gate=GATE,
            tool="pytest" if not plan.custom else "command",
            version=plan.version,
            before=before,
            after=after,
            paths=plan.selection,
            config={"tests.plan": canonical_bytes(msgspec.to_builtins(plan)).decode()},
            verdict=verdict,
            result_digest=digest_of([verdict, stable]),
            duration_ms=round((self.clock.monotonic_s() - started) * 1000, 1),
            findings=findings,
            more_findings=max(0, len(details.lost) - len(findings)),
            details=kept,
            summary=summary,
        )


def _finding(failure: Failure) -> Finding:
    path, line = failure.trace[-1] if failure.trace else (failure.test.partition("::")[0], 0)
    return Finding(path=path, line=line, code="test-lost", message=f"{failure.test}: {failure.message}"[:300])


def _told(old: TestRun, new: TestRun, details: SuiteDetails) -> str:
    def passed(run: TestRun) -> int:
        return sum(outcome == "passed" for outcome in run.outcomes.values())

    parts = [f"{passed(old)} passed before, {passed(new)} after"]
    if details.lost:
        parts.append(f"{len(details.lost)} lost")
    if details.flaky:
        parts.append(f"{len(details.flaky)} fail by chance")
    if new.hit:
        parts.append(f"ended by the {new.hit} limit")
    return ", ".join(parts)
