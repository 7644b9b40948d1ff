"""Every event of a run of ten thousand comes out again: by the rules, and by doing all of its work once more.

Bug classes this catches: rules that look at more than the record, work of two tasks side by side that depends on who was first, an edit
that is made otherwise when it is made again, errors that only show after thousands of steps.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cavalcade.agents.coder import RecipeCoder
from cavalcade.bus.memory import MemoryBus
from cavalcade.content.port import ContentStore
from cavalcade.content.scratch import ScratchContentStore
from cavalcade.domain.run import ProposePlan, RecordExploration, decide, fold
from cavalcade.domain.run.steps import PlanOf, steps
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import BlobId, run_stream
from cavalcade.protocol import events as e
from cavalcade.protocol.job import Job
from cavalcade.replay.decisions import decided_again, plans_in
from cavalcade.replay.player import Player
from cavalcade.replay.tape import Tape, groups_of
from cavalcade.supervisor.runs import RunService, fact_of
from cavalcade.supervisor.supervise import Supervisor
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.long_runs import GATES, Verdicts, judged, long_run

EVENTS = 10_000


class LongWorker:
    """Works as those did who made the run: the plan is the drawn one, and every first attempt with residual edits is bounced."""

    def __init__(self, runs: RunService, content: ContentStore, clock: Clock, plan: BlobId, plan_of: PlanOf) -> None:
        self._runs = runs
        self._content = content
        self._clock = clock
        self._plan = plan
        self._plan_of = plan_of

    async def carry_out(self, job: Job) -> None:
        state = await self._runs.load(job.run)
        residual = state.tasks[job.task].spec.residual if job.task else ()
        match job.kind:
            case "plan":
                await self._runs.execute(job.run, ProposePlan(job.round, self._plan_of(self._plan), self._plan))
            case "task":
                coder = RecipeCoder(self._runs, self._content, [Verdicts(name) for name in GATES], self._clock)
                await coder.work(job.run, job.task, job.attempt)
            case "verify":
                verdict = "failed" if residual and job.attempt == 1 else "passed"
                found = await judged(self._content, self._clock, state, job.task, verdict)
                await self._runs.execute(job.run, found)
            case "explore":
                explored = RecordExploration(job.task, job.attempt, "what was left out is needed", (), residual)
                await self._runs.execute(job.run, explored)


@pytest.mark.timeout(300)
async def test_every_event_of_a_run_of_ten_thousand_is_decided_and_done_again(tmp_path: Path) -> None:
    made = await long_run(tmp_path, events=EVENTS)
    history = await made.runs.history(made.run)
    assert len(history) >= EVENTS
    facts = [fact_of(recorded) for recorded in history]
    plan_of = plans_in(made.content)
    found = steps(facts, plan_of)
    assert list(decided_again(found, 1)) == []
    prefix = 0
    for number, step in enumerate(found):
        if number % 300 == 0:
            assert fold(facts[:prefix]) == step.state
            assert decide(fold(facts[:prefix]), step.command) == step.events
        prefix += len(step.facts)

    clock, entropy = FakeClock(tick_s=1.0), SeededEntropy(99)
    content = ScratchContentStore(tmp_path / "scratch.git", tmp_path / "content.git")
    tape = Tape(run_stream(made.run), groups_of(found, history, 0), entropy=entropy)
    runs = RunService(tape, clock, entropy)
    (plan,) = (fact.payload.plan for fact in facts if isinstance(fact.payload, e.PlanProposed))
    supervisor = Supervisor(runs, MemoryBus(FakeClock()), lambda _state: content)
    await Player(made.run, tape, runs, supervisor, LongWorker(runs, content, clock, plan, plan_of)).play()
    assert tape.divergences == []
    assert len(tape.same) == len(history)
    assert await runs.load(made.run) == await made.runs.load(made.run)
