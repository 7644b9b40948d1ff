"""What a run looks like: as data, as a report, as a plan at the gate, and while it moves."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from rich.console import Console, RenderableType

from cavalcade.cli.plan_view import next_commands, plan_sheet
from cavalcade.cli.progress import Lines, Progress, drawn, row_text
from cavalcade.cli.report import Report, make_report
from cavalcade.cli.report_view import headline, report_sheet
from cavalcade.domain.run import Abort, Approve, Fail
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.kernel.ids import RunId
from cavalcade.protocol.events import Problem
from cavalcade.protocol.plan import Place
from cavalcade.protocol.receipt import Receipt
from cavalcade.supervisor.recheck import recheck
from cavalcade.supervisor.timeline import row_of
from cavalcade.testing.whole_runs import WholeRuns, whole_runs

SHOP = "def total(items):\n    return sum(items)\n"
TEST = "from shop import total\n"
CHANGES = {"shop.py": SHOP.replace("total", "sum_prices"), "test_shop.py": TEST.replace("total", "sum_prices")}


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[WholeRuns]:
    async with whole_runs(tmp_path, {"shop.py": SHOP, "test_shop.py": TEST}) as runs:
        yield runs


async def report_of(whole: WholeRuns, run: RunId) -> Report:
    return make_report(run, await whole.runs.load(run), await whole.runs.history(run), whole.content)


def screen(*renderables: RenderableType, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


async def test_the_report_of_a_completed_run_has_every_field_that_programs_look_for(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    data = msgspec.to_builtins(await report_of(whole, run))
    assert (data["run"], data["phase"], data["branch"]) == (run, "completed", f"cavalcade/{run}")
    assert data["commit"] == (await whole.runs.load(run)).head
    assert data["objective"] == "rename shop:total to sum_prices"
    plan = data["plan"]
    assert (plan["files"], plan["changes"]) == (2, 2)
    assert [edit["path"] for edit in plan["edits"]] == ["shop.py", "test_shop.py"]
    assert plan["mentions"][0]["path"] == "README.md"
    assert (list(plan["unresolved"]), list(plan["residual"]), list(plan["problems"])) == ([], [], [])
    assert data["gates"]["syntax"] | {"ms": 0} == {"passed": 2, "failed": 0, "skipped": 0, "ms": 0}
    assert data["gates"]["tests"]["ms"] == 2000.0
    assert (data["tests"]["before"], data["tests"]["after"]) == ({"passed": 1}, {"passed": 1})
    assert list(data["tests"]["lost"]) == []
    assert data["tasks"][0]["status"] == "merged"
    assert data["decisions"][0]["rejected"][0]["choice"] == "the parameter"
    assert (data["stop"], data["problem"], data["cost_usd"]) == (None, None, 0.0)
    assert data["events"] == len(await whole.runs.history(run))
    assert data["duration_s"] > 0


async def test_the_final_report_tells_what_why_cost_gates_tests_branch_and_the_way_back(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    report = await report_of(whole, run)
    told = screen(headline(report), report_sheet(report).table)
    for part in (
        "completed",
        f"git diff main...cavalcade/{run}",
        f"git merge cavalcade/{run}",
        "2 files, 2 changes",
        "approved by ada",
        "the function (which name is meant?): it is the only one",
        "not the parameter: nobody passes it",
        "syntax      2 passed",
        "before: 1 passed; after: 1 passed; 0 lost",
        "README.md:3",
        "$0.00",
        f"cavalcade restore {run} --at EVENT --into DIR",
    ):
        assert part in told, told


async def test_the_plan_shows_files_unclear_places_tests_notes_and_cost(whole: WholeRuns) -> None:
    (whole.repository / "new.py").write_text("x = 1\n")
    places = [Place(path=f"mod{number}.py", line=number, text="getattr(shop, name)") for number in range(1, 31)]
    report = await report_of(whole, await whole.proposed(CHANGES, unclear=places))
    told = screen(headline(report), plan_sheet(report).table)
    for part in (
        "waits for your approval",
        "shop.py  1 change",
        "30 places that may mean it",
        "mod1.py:1  getattr(shop, name)",
        f"... and 20 more; `cavalcade show {report.run} --all`",
        "1 path with uncommitted changes",
        "new.py",
        "1 affected file, in the sandbox, by python -m pytest",
        "$0.00",
    ):
        assert part in told, told
    assert "mod30.py:30" not in told
    assert "mod30.py:30" in screen(plan_sheet(report, everything=True).table)


@pytest.mark.parametrize("width", [60, 120])
async def test_nothing_is_wider_than_the_terminal_and_no_word_is_lost(whole: WholeRuns, width: int) -> None:
    places = [Place(path="package/with/a/rather/long/path/to/module.py", line=7, text="x" * 90)]
    for run in (await whole.proposed(CHANGES, unclear=places), await whole.completed(CHANGES)):
        report = await report_of(whole, run)
        told = screen(headline(report), report_sheet(report).table, next_commands(run), width=width)
        assert max(len(line) for line in told.splitlines()) <= width
        assert run in told.replace("\n", "")


async def test_text_of_the_project_is_never_taken_for_markup(whole: WholeRuns) -> None:
    places = [Place(path="m[red].py", line=1, text="x = [bold]:smile:")]
    run = await whole.proposed(CHANGES, unclear=places, objective="rename [link=x]a to b")
    report = await report_of(whole, run)
    told = screen(plan_sheet(report).table)
    assert "m[red].py:1  x = [bold]:smile:" in told
    assert "rename [link=x]a to b" in told


async def test_a_run_that_failed_or_was_aborted_says_why(whole: WholeRuns) -> None:
    failed = await whole.proposed(CHANGES)
    await whole.runs.execute(failed, Fail(Problem(code="x", what="no such symbol", hint="try y", places=("a.py:1",))))
    report = await report_of(whole, failed)
    assert report.problem is not None
    told = screen(headline(report), report_sheet(report).table)
    assert "failed, nothing landed" in told
    assert "no such symbol" in told
    assert "try y" in told
    aborted = await whole.proposed(CHANGES)
    await whole.runs.execute(aborted, Abort("ada", "changed my mind"))
    told = screen(report_sheet(await report_of(whole, aborted)).table)
    assert "changed my mind" in told


async def test_the_moving_view_shows_tasks_gates_time_and_what_is_waited_for(whole: WholeRuns) -> None:
    run = await whole.proposed(CHANGES)
    state = await whole.runs.load(run)
    await whole.runs.execute(run, Approve(state.plan_hash, "ada"))
    progress = Progress()
    history = await whole.runs.history(run)
    for recorded in history:
        progress.add(recorded)
    told = screen(drawn(run, progress, history[-1].event.time + timedelta(seconds=3)))
    assert f"run {run} executing" in told
    assert "0/2 edits" in told
    assert "t1: edit 1 of 2  since 3.0 s" in told
    assert "$0.00" in told

    worked = await whole.worked(CHANGES)
    history = await whole.runs.history(worked)
    progress = Progress()
    lefts: list[float | None] = []
    for recorded in history:
        progress.add(recorded)
        lefts.append(progress.left_s(recorded.event.time))
    assert any(left is not None and left > 0 for left in lefts)
    told = screen(drawn(worked, progress, history[-1].event.time))
    assert "syntax      2 passed" in told
    assert "gates over the whole tree, then tests (tests at most 20 min 00 s)" in told


async def test_plain_lines_tell_what_is_new_and_leave_single_verdicts_to_the_log(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    said: list[str] = []
    history = await whole.runs.history(run)
    lines = Lines(lambda text: said.append(text.plain), after=2)
    for recorded in history:
        lines.add(recorded)
    assert not any("asked:" in line or "syntax" in line or "edit 1 proposed" in line for line in said)
    assert any("edit 1 applied: shop.py +1 -1" in line for line in said)
    assert any("tests passed on the whole tree in 2.0 s" in line for line in said)
    assert said[-1].endswith(f"completed: cavalcade/{run}")
    assert all("\n" not in row_text(row_of(recorded)).plain for recorded in history)


async def test_receipts_are_asked_again_and_differences_named(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    history = await whole.runs.history(run)

    async def other_tests(receipt: Receipt) -> Receipt:
        return msgspec.structs.replace(receipt, verdict="failed")

    results = [r async for r in recheck(history, whole.content, [SyntaxGate()], other_tests, whole.clock)]
    assert [(r.gate, r.edit, r.outcome) for r in results] == [
        ("syntax", 1, "same"),
        ("syntax", 2, "same"),
        ("tests", None, "differs"),
    ]
    assert results[2].why == "tests passed then and failed now"


async def test_a_receipt_that_can_not_be_asked_again_here_is_unknown_not_confirmed(whole: WholeRuns) -> None:
    history = await whole.runs.history(await whole.completed(CHANGES))

    async def no_sandbox(receipt: Receipt) -> Receipt:
        raise SandboxUnavailable("no bubblewrap")

    results = [r async for r in recheck(history, whole.content, [], no_sandbox, whole.clock)]
    assert [(r.outcome, r.why) for r in results][2] == ("unknown", "no bubblewrap")
    assert results[0].outcome == "differs"
    assert "no gate named 'syntax'" in results[0].why
