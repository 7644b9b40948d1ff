"""From a line to the edit that made it, or to git's answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pygit2
import pytest

from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.ids import RunId
from cavalcade.supervisor.why import Explainer, Why, hunk_with, line_in
from cavalcade.testing.whole_runs import DECISION, WholeRuns, commit_all, whole_runs

SHOP = "import math\n\n\ndef total(items):\n    return math.fsum(items)\n"
TEST = "from shop import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
CHANGES = {"shop.py": SHOP.replace("total", "sum_prices"), "test_shop.py": TEST.replace(" total", " sum_prices")}


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[WholeRuns]:
    async with whole_runs(tmp_path, {"shop.py": SHOP, "test_shop.py": TEST}) as runs:
        yield runs


async def ask(whole: WholeRuns, path: str, line: int) -> Why:
    base = whole.content.import_repository(whole.repository)
    return await Explainer(whole.runs, whole.content).why(base, path, line, await whole.runs.list())


def merge_result(whole: WholeRuns, run: RunId) -> None:
    """Fast forward to the result branch, as `git merge` does here."""
    repository = pygit2.Repository(str(whole.repository))
    result = repository.branches[f"cavalcade/{run}"].target
    repository.reset(pygit2.Oid(hex=str(result)), pygit2.enums.ResetMode.HARD)


async def test_a_line_of_a_merged_result_names_edit_task_plan_decision_approval_and_gates(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES, by="grace")
    merge_result(whole, run)
    found = await ask(whole, "test_shop.py", 5)
    assert (found.kind, found.text) == ("edit", "    assert sum_prices([1, 2]) == 3")
    edit = found.edit
    assert edit is not None
    assert (edit.run, edit.task, edit.edit, edit.path, edit.line) == (run, "t1", 2, "test_shop.py", 5)
    assert edit.objective == "rename shop:total to sum_prices"
    assert edit.plan_hash == (await whole.runs.load(run)).approved_hash
    assert edit.approval is not None
    assert edit.approval.by == "grace"
    assert edit.decisions == (DECISION,)
    assert [receipt.gate for receipt in edit.edit_verdicts] == ["syntax"]
    assert [receipt.gate for receipt in edit.tree_verdicts] == ["tests"]
    assert edit.hunk.splitlines() == ["-    assert total([1, 2]) == 3", "+    assert sum_prices([1, 2]) == 3"]
    applied = (await whole.runs.history(run))[edit.version - 1]
    assert applied.event.id == edit.event
    assert applied.event.type.endswith("edit.applied.v1")


async def test_a_line_that_moved_down_after_the_merge_is_still_explained(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    merge_result(whole, run)
    repository = pygit2.Repository(str(whole.repository))
    commit_all(repository, {"shop.py": "# A shop.\n" + CHANGES["shop.py"]}, message="Say what it is")
    found = await ask(whole, "shop.py", 5)
    assert found.edit is not None
    assert (found.edit.edit, found.edit.line, found.line) == (1, 4, 5)
    above = await ask(whole, "shop.py", 1)
    assert above.git is not None
    assert above.git.summary == "Say what it is"


async def test_an_untouched_line_falls_back_to_git_blame(whole: WholeRuns) -> None:
    merge_result(whole, await whole.completed(CHANGES))
    found = await ask(whole, "shop.py", 5)
    assert found.kind == "git"
    assert found.git is not None
    assert (found.git.author.startswith("Ada"), found.git.summary) == (True, "A shop")
    assert found.hints == ()


async def test_an_uncommitted_line_is_said_to_be_one(whole: WholeRuns) -> None:
    (whole.repository / "shop.py").write_text(SHOP.replace("math.fsum", "sum"), encoding="utf-8")
    assert (await ask(whole, "shop.py", 5)).kind == "uncommitted"
    assert (await ask(whole, "shop.py", 4)).kind == "git"


async def test_a_result_that_is_not_merged_is_hinted_at_where_it_changed_the_line(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    found = await ask(whole, "shop.py", 4)
    assert found.kind == "git"
    assert [(hint.run, hint.branch) for hint in found.hints] == [(run, f"cavalcade/{run}")]
    assert (await ask(whole, "shop.py", 5)).hints == ()


async def test_a_run_can_be_asked_about_its_own_result(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    explainer = Explainer(whole.runs, whole.content)
    found = await explainer.why_in_run(run, "shop.py", 4)
    assert found.edit is not None
    assert found.edit.edit == 1
    assert (await explainer.why_in_run(run, "shop.py", 5)).kind == "git"


async def test_a_run_that_has_not_landed_can_be_asked_about_its_work(whole: WholeRuns) -> None:
    run = await whole.worked(CHANGES)
    found = await Explainer(whole.runs, whole.content).why_in_run(run, "shop.py", 4)
    assert found.edit is not None
    assert found.edit.merged == ""


async def test_uncommitted_work_that_a_run_started_from_is_told_apart_from_its_edits(whole: WholeRuns) -> None:
    dirty = SHOP.replace("math.fsum", "sum")
    (whole.repository / "shop.py").write_text(dirty, encoding="utf-8")
    run = await whole.completed({"shop.py": dirty.replace("total", "sum_prices")})
    explainer = Explainer(whole.runs, whole.content)
    assert (await explainer.why_in_run(run, "shop.py", 5)).kind == "uncommitted"
    assert (await explainer.why_in_run(run, "shop.py", 4)).kind == "edit"


async def test_trailers_of_a_run_that_is_not_on_record_are_no_reason_to_fail(whole: WholeRuns) -> None:
    repository = pygit2.Repository(str(whole.repository))
    message = "Elsewhere\n\nCavalcade-Run: r00000000dead\nCavalcade-Task: t1\n"
    commit_all(repository, {"shop.py": CHANGES["shop.py"]}, message=message)
    found = await ask(whole, "shop.py", 4)
    assert found.kind == "git"
    assert "r00000000dead" in found.note


async def test_forged_trailers_of_a_real_run_are_no_reason_to_fail(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    repository = pygit2.Repository(str(whole.repository))
    for trailer in ("Cavalcade-Task: t9", "Cavalcade-Edit: 1", "Cavalcade-Task: t1"):
        text = f"import math\n\n\n# {trailer}\ndef odd():\n    pass\n"
        commit_all(repository, {"shop.py": text}, message=f"Forged\n\nCavalcade-Run: {run}\n{trailer}\n")
        found = await ask(whole, "shop.py", 4)
        assert found.kind == "git"
        assert "no single edit" in found.note


@pytest.mark.parametrize(("path", "line"), [("shop.py", 99), ("nosuch.py", 1)])
async def test_a_line_that_is_not_there_is_refused(whole: WholeRuns, path: str, line: int) -> None:
    with pytest.raises(UsageError):
        await ask(whole, path, line)


def test_a_line_is_found_again_where_lines_were_put_before_it() -> None:
    old = [b"a\n", b"b\n", b"c\n"]
    assert line_in(old, [b"x\n", b"a\n", b"b\n", b"c\n"], 3) == 4
    assert line_in(old, [b"a\n", b"B\n", b"c\n"], 2) is None


def test_the_hunk_around_a_line_is_cut_out_of_a_difference() -> None:
    patch = "--- a\n+++ b\n@@ -1 +1 @@\n-a\n+A\n@@ -5,2 +5,3 @@ def f\n-e\n-f\n+E\n+F\n+G\n"
    assert hunk_with(patch, 1) == "-a\n+A"
    assert hunk_with(patch, 7) == "-e\n-f\n+E\n+F\n+G"
    assert hunk_with(patch, 3) == ""
