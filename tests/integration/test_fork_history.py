"""A fork's history, as the ledger tells it: the parent's events, then its own, under numbers of one row.

Bug class this catches: events appended at the wrong place of a stream, a follower that skips or repeats where two streams meet, a fork
that goes on from something else than it was forked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cavalcade.domain.run import Approve, Fork, RunState, fold
from cavalcade.kernel.errors import LedgerDamaged, NotRecorded
from cavalcade.kernel.ids import EventId, RunId, run_stream
from cavalcade.protocol.envelope import Recorded
from cavalcade.supervisor.history import WithId, moment_of_project
from cavalcade.supervisor.runs import RunService, fact_of
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.whole_runs import WholeRuns, whole_runs

FILES = {"shop.py": "def total(items):\n    return sum(items)\n"}
CHANGES = {"shop.py": "def sum_prices(items):\n    return sum(items)\n"}


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[WholeRuns]:
    async with whole_runs(tmp_path, FILES) as runs:
        yield runs


def command(parent: RunId, history: list[Recorded], at: int, state: RunState) -> Fork:
    assert state.request is not None
    settings = replace(state.settings, auto_approve=False)
    event = history[at - 1].event.id
    return Fork(parent, event, at, "eve", state.request.base, "", state.objective, state.recipe, settings)


async def forked(whole: WholeRuns, parent: RunId, at: int) -> RunId:
    history = await whole.runs.history(parent)
    run = whole.runs.new_id()
    await whole.runs.fork(run, command(parent, history, at, fold(map(fact_of, history[:at]))))
    return run


async def waiting(whole: WholeRuns) -> tuple[RunId, int]:
    """A run whose plan waits, and how many events it has."""
    run = await whole.proposed(CHANGES)
    return run, (await whole.runs.load(run)).version


async def test_events_are_numbered_through_and_lie_in_streams_of_their_own(whole: WholeRuns) -> None:
    parent, at = await waiting(whole)
    fork = await forked(whole, parent, at)
    state = await whole.runs.execute(fork, Approve((await whole.runs.load(fork)).plan_hash, "eve"))
    history = await whole.runs.history(fork)
    assert [recorded.version for recorded in history] == list(range(1, at + 3))
    assert [recorded.stream for recorded in history] == [run_stream(parent)] * at + [run_stream(fork)] * 2
    assert await whole.ledger.version(run_stream(fork)) == state.own_version == 2
    assert (await whole.runs.load(parent)).version == at


async def test_another_process_sees_the_same(whole: WholeRuns) -> None:
    parent, at = await waiting(whole)
    second = await forked(whole, await forked(whole, parent, at), at + 1)
    fresh = RunService(whole.ledger, FakeClock(), SeededEntropy(8))
    assert await fresh.load(second) == await whole.runs.load(second)
    assert await fresh.history(second) == await whole.runs.history(second)


async def test_following_a_fork_goes_on_into_what_is_still_to_come(whole: WholeRuns) -> None:
    parent, at = await waiting(whole)
    fork = await forked(whole, parent, at)
    following = whole.runs.follow(fork, after=at - 1)
    assert [(await anext(following)).version for _ in range(2)] == [at, at + 1]
    await whole.runs.execute(fork, Approve((await whole.runs.load(fork)).plan_hash, "eve"))
    assert (await anext(following)).version == at + 2
    await following.aclose()


async def test_a_shared_event_is_one_event_however_many_forks_have_it(whole: WholeRuns) -> None:
    parent, at = await waiting(whole)
    await forked(whole, parent, at)
    state = await whole.runs.load(parent)
    assert state.request is not None
    event = (await whole.runs.history(parent))[0].event.id
    moment = await moment_of_project(whole.ledger, whole.runs, state.request.project, WithId(event))
    assert (moment.run, moment.event.version) == (parent, 1)


async def test_a_fork_of_another_event_than_its_parent_has_there_is_refused(whole: WholeRuns) -> None:
    parent, at = await waiting(whole)
    history = await whole.runs.history(parent)
    made = command(parent, history, at, fold(map(fact_of, history)))
    with pytest.raises(LedgerDamaged, match=f"event #{at} of run {parent}"):
        await whole.runs.fork(RunId("rother"), made._replace(event=EventId("another")))
    assert await whole.runs.list() == [parent]
    with pytest.raises(NotRecorded):
        await whole.runs.fork(RunId("rthird"), made._replace(parent=RunId("rnone")))
