"""Any moment of a run, found by number, id and time, with the tree that was there then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from cavalcade.kernel.errors import NotRecorded, UsageError
from cavalcade.kernel.ids import EventId, ProjectId, TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.events import decode
from cavalcade.supervisor.history import (
    Instant,
    Nth,
    WithId,
    find_event,
    moment_of_project,
    moment_of_run,
    tree_at,
)
from cavalcade.testing.whole_runs import TASK, WholeRuns, whole_runs

FILES = {"shop.py": "def total(items):\n    return sum(items)\n", "test_shop.py": "from shop import total\n"}
CHANGES = {
    "shop.py": "def sum_prices(items):\n    return sum(items)\n",
    "test_shop.py": "from shop import sum_prices\n",
}


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[WholeRuns]:
    async with whole_runs(tmp_path, FILES) as runs:
        yield runs


async def test_the_tree_at_each_event_is_the_one_that_the_event_tells_of(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    history = await whole.runs.history(run)
    seen: dict[str, list[TreeId]] = {}
    for recorded in history:
        payload = decode(recorded.event)
        seen.setdefault(type(payload).__name__, []).append(tree_at(history, recorded))
        match payload:
            case e.RunRequested():
                assert tree_at(history, recorded) == payload.base.tree
            case e.TaskStarted() | e.EditApplied() | e.TaskProposed() | e.TaskMerged():
                assert tree_at(history, recorded) == payload.tree
            case e.ResultPublished() | e.RunCompleted():
                assert tree_at(history, recorded) == whole.content.tree_of(payload.commit)
            case _:
                pass
    assert len(set(seen["EditApplied"])) == 2
    assert seen["EditProposed"] == [seen["TaskStarted"][0], seen["EditApplied"][0]]


async def test_the_commit_of_a_moment_holds_its_tree(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    for recorded in await whole.runs.history(run):
        moment = await moment_of_run(whole.runs, run, Nth(recorded.version))
        assert whole.content.tree_of(moment.commit) == moment.tree
        assert moment.state.version == recorded.version


async def test_an_event_is_found_by_number_by_either_end_of_its_id_and_as_the_last(whole: WholeRuns) -> None:
    history = await whole.runs.history(await whole.completed(CHANGES))
    third = history[2]
    assert find_event(history, Nth(3)) is third
    assert find_event(history, WithId(third.event.id)) is third
    assert find_event(history, WithId(third.event.id[-12:])) is third
    assert find_event(history, Nth(0)) is history[-1]


async def test_what_is_no_event_of_the_run_is_refused(whole: WholeRuns) -> None:
    history = await whole.runs.history(await whole.proposed(CHANGES))
    with pytest.raises(NotRecorded, match="1 to 3"):
        find_event(history, Nth(99))
    with pytest.raises(NotRecorded):
        find_event(history, WithId("ffffffff"))
    with pytest.raises(UsageError) as raised:
        find_event(history, WithId(EventId(history[0].event.id[:4])))
    assert len(raised.value.places) == 3


async def test_a_time_means_the_last_event_at_or_before_it(whole: WholeRuns) -> None:
    history = await whole.runs.history(await whole.proposed(CHANGES))
    second = history[1].event.time
    assert find_event(history, Instant(second)) is history[1]
    assert find_event(history, Instant(second - timedelta(microseconds=1))) is history[0]
    assert find_event(history, Instant(second + timedelta(days=1))) is history[-1]
    with pytest.raises(NotRecorded, match="or later"):
        find_event(history, Instant(history[0].event.time - timedelta(seconds=1)))


async def test_a_project_and_a_time_mean_the_latest_event_of_any_of_its_runs(whole: WholeRuns) -> None:
    first = await whole.completed(CHANGES)
    await whole.proposed(CHANGES, project=ProjectId("another"))
    second = await whole.proposed(CHANGES)
    begun = (await whole.runs.history(second))[0].event.time
    before = await moment_of_project(whole.ledger, whole.runs, whole.project, Instant(begun - timedelta(seconds=0.5)))
    assert (before.run, before.tree) == (first, (await whole.runs.load(first)).head_tree)
    at = await moment_of_project(whole.ledger, whole.runs, whole.project, Instant(begun))
    assert (at.run, at.event.version) == (second, 1)
    last = await moment_of_project(whole.ledger, whole.runs, whole.project, Nth(0))
    assert last.run == second


async def test_a_number_alone_means_nothing_in_a_project(whole: WholeRuns) -> None:
    await whole.proposed(CHANGES)
    with pytest.raises(UsageError, match="of one run"):
        await moment_of_project(whole.ledger, whole.runs, whole.project, Nth(2))
    with pytest.raises(NotRecorded):
        await moment_of_project(whole.ledger, whole.runs, ProjectId("none"), Nth(0))


async def test_before_anything_is_merged_the_last_moment_is_the_tasks_own(whole: WholeRuns) -> None:
    run = await whole.worked(CHANGES)
    state = await whole.runs.load(run)
    moment = await moment_of_run(whole.runs, run, Nth(0))
    assert moment.tree == state.tasks[TASK].tree != state.head_tree
