"""Races that the simulator found, each put up by hand.

Bug class this catches: two who mean well do the same thing, or the opposite, at the same moment.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cavalcade.agents.coder import RecipeCoder
from cavalcade.bus.memory import MemoryBus
from cavalcade.bus.port import Outcome
from cavalcade.content.port import ContentStore
from cavalcade.domain.run import Abort, Approve, Command, Complete, Inject, Resume, RunState, StartTask
from cavalcade.gates.port import Judgement, Question, TreeReader
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.kernel.errors import Busy, RecipeRefused, Refused, Unsupervised
from cavalcade.kernel.ids import RunId, StreamId, TaskId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import EditApplied, RunRequested, decode
from cavalcade.protocol.job import Job
from cavalcade.sandbox.workspaces import FreshWorkspaces
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.supervise import Supervisor
from cavalcade.supervisor.timeline import short_type
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.memory_content import MemoryContent
from cavalcade.testing.simulate.projects import CALL, DrawnTests, Shape
from cavalcade.testing.simulate.simulation import PROJECT
from cavalcade.worker.worker import Worker
from cavalcade.worker.workshop import Workshop

SHAPE = Shape(3)
T1 = TaskId("t1")


class Made(NamedTuple):
    """A run and what it lies in."""

    ledger: MemoryLedger
    content: MemoryContent
    clock: FakeClock
    entropy: SeededEntropy
    run: RunId

    def service(self) -> RunService:
        """Another process's view of the same ledger."""
        return RunService(self.ledger, self.clock, self.entropy)

    def contents(self, state: RunState) -> ContentStore:
        return self.content


async def requested(ledger: MemoryLedger | None = None) -> Made:
    """A run that waits for its plan."""
    clock, entropy = FakeClock(tick_s=0.01), SeededEntropy(1)
    kept, content = ledger or MemoryLedger(entropy=entropy), MemoryContent()
    runs = RunService(kept, clock, entropy)
    made = Made(kept, content, clock, entropy, runs.new_id())
    base = SHAPE.base(content, clock.now())
    request = RunRequested(
        objective=SHAPE.objective(0), project=PROJECT, repository="/repository", base=base, recipe=CALL
    )
    await runs.request(made.run, request)
    return made


async def approved(ledger: MemoryLedger | None = None) -> Made:
    """A run whose plan was approved; no task has started."""
    made = await requested(ledger)
    runs = made.service()
    proposal = SHAPE.propose(made.content, await runs.load(made.run), 1)
    await runs.execute(made.run, proposal)
    await runs.execute(made.run, Approve(proposal.sealed.hash, "ada"))
    return made


class JustBefore(RunService):
    """Somebody else is a moment quicker: before a command of this kind is carried out, `quicker` is."""

    def __init__(self, made: Made, kind: type[Command], quicker: Command) -> None:
        super().__init__(made.ledger, made.clock, made.entropy)
        self._made = made
        self._kind = kind
        self._quicker: Command | None = quicker

    async def execute(self, run: RunId, command: Command, **known: object) -> RunState:
        quicker = self._quicker
        if isinstance(command, self._kind) and quicker is not None:
            self._quicker = None
            await self._made.service().execute(run, quicker)
        return await super().execute(run, command)


async def test_a_run_that_is_aborted_while_its_task_is_about_to_start_is_aborted_and_no_error() -> None:
    """Seed 27 of the first simulator: the supervisor gave up with `Refused`."""
    made = await approved()
    runs = JustBefore(made, StartTask, Abort("ada"))
    state = await Supervisor(runs, MemoryBus(made.clock), made.contents).drive(made.run)
    assert state.phase == "aborted"


async def test_two_supervisors_that_complete_one_run_both_come_to_its_end() -> None:
    """Seed 17: the slower one gave up with `Refused`, though all was done."""
    made = await approved()
    bus = MemoryBus(made.clock)
    runs = JustBefore(made, Complete, Complete())
    worker = asyncio.create_task(Worker(bus, workshop(made)).serve())
    state = await Supervisor(runs, bus, made.contents).drive(made.run)
    worker.cancel()
    assert state.phase == "completed"


async def test_an_objective_that_was_replaced_does_not_fail_the_run() -> None:
    """Seed 31: what was wrong with the old objective was held against the new one."""
    made = await requested()
    bus, runs = MemoryBus(made.clock), made.service()
    driving = asyncio.create_task(Supervisor(runs, bus, made.contents).drive(made.run))
    old = await bus.claim()
    state = await made.service().load(made.run)
    await made.service().execute(made.run, Inject("that", "ada", SHAPE.objective(1), CALL, state.settings))
    await bus.finish(Outcome(old, RecipeRefused("nothing is left to change")))
    new = await bus.claim()
    assert (old.round, new.round) == (1, 2)
    await made.service().execute(made.run, Abort("ada"))
    assert (await driving).phase == "aborted"


class Dawdling:
    """A record whose calls take longer now and then."""

    def __init__(self, runs: RunService, chance: random.Random) -> None:
        self._runs = runs
        self._chance = chance

    async def _dawdle(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)

    async def load(self, run: RunId) -> RunState:
        await self._dawdle()
        return await self._runs.load(run)

    async def execute(self, run: RunId, command: Command) -> RunState:
        await self._dawdle()
        state = await self._runs.execute(run, command)
        await self._dawdle()
        return state

    async def history(self, run: RunId) -> list[Recorded]:
        return await self._runs.history(run)


@pytest.mark.parametrize("seed", range(30))
async def test_a_task_that_is_given_out_twice_is_done_once(seed: int) -> None:
    """Seeds 49 and 76: the slower worker broke with a KeyError, or its verdict was refused, and its supervisor gave up."""
    made = await approved()
    await made.service().execute(made.run, StartTask(T1, 1))
    chance = random.Random(seed)
    coders = [RecipeCoder(Dawdling(made.service(), chance), made.content, [SyntaxGate()], made.clock) for _ in range(2)]
    ends = await asyncio.gather(*(coder.work(made.run, T1, 1) for coder in coders), return_exceptions=True)
    assert None in ends
    assert all(end is None or "proposed in attempt 1" in str(end) for end in ends), ends
    state = await made.service().load(made.run)
    assert state.tasks[T1].status == "proposed"
    payloads = [decode(recorded.event) for recorded in await made.service().history(made.run)]
    applied = Counter(payload.edit for payload in payloads if isinstance(payload, EditApplied))
    assert set(applied.values()) == {1}


async def at_once(seconds: float) -> None:
    """Nothing takes time here."""


def workshop(made: Made) -> Workshop:
    """Without anything that needs another program."""
    clock = made.clock
    return Workshop(
        record=made.service(),
        content_of=made.contents,
        clock=clock,
        tests=DrawnTests(clock, at_once, random.Random(1)),
        workspaces=FreshWorkspaces(Path("/nowhere")),
        index_cache=None,
        edit_gates=lambda: [SyntaxGate()],
    )


@pytest.mark.parametrize("kind", ["verify", "explore"])
async def test_a_job_that_comes_late_does_not_act_in_a_later_attempt(kind: str) -> None:
    """Seed 205: a verdict asked for attempt 1 was given on attempt 2."""
    made = await approved()
    await made.service().execute(made.run, StartTask(T1, 1))
    late = Job(kind="verify" if kind == "verify" else "explore", run=made.run, task=T1, attempt=2)
    with pytest.raises(Refused, match="which is in attempt 1"):
        await Worker(MemoryBus(made.clock), workshop(made)).carry_out(late)


class Echo(MemoryBus):
    """Tells the first outcome three times."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.offers = 0
        self._told: Outcome | None = None
        self._times = 0

    async def offer(self, job: Job) -> bool:
        self.offers += 1
        return await super().offer(job)

    async def outcome(self) -> Outcome:
        if self._told is not None and self._times < 3:
            self._times += 1
            return self._told
        self._told = await super().outcome()
        return self._told


async def test_an_outcome_that_is_told_again_and_again_counts_once() -> None:
    """The supervisor took it for the outcome of other jobs, and from then on offered those without a pause."""
    made = await approved()
    bus = Echo(made.clock)
    driving = asyncio.create_task(Supervisor(made.service(), bus, made.contents).drive(made.run))
    job = await bus.claim()
    await bus.finish(Outcome(job, None))
    await bus.claim()
    for _ in range(500):
        await asyncio.sleep(0)
    assert bus.offers < 20
    await made.service().execute(made.run, Abort("ada"))
    assert (await driving).phase == "aborted"


class CutOff(MemoryLedger):
    """Nothing can be followed on it."""

    async def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        raise Busy("the ledger can't be reached")
        yield


class Unheard(MemoryBus):
    """Only the first renewal gets through."""

    async def renew(self, lease_s: float) -> bool:
        if self.until_s > 0:
            raise Busy("the bus can't be reached")
        return await super().renew(lease_s)


async def test_a_supervisor_that_can_not_renew_its_lease_gives_up() -> None:
    """Seed 1260: its workers had stopped, and it waited for them for ever."""
    made = await approved()
    with pytest.raises(Busy):
        await Supervisor(made.service(), Unheard(made.clock), made.contents, pause=at_once).drive(made.run)


async def test_a_supervisor_that_can_not_know_whether_its_run_is_open_gives_up() -> None:
    """It went on without a pause, and who aborted the run waited for the end of its tests."""
    made = await approved(CutOff(entropy=SeededEntropy(2)))
    with pytest.raises(Busy):
        await Supervisor(made.service(), MemoryBus(made.clock), made.contents).drive(made.run)


def told(made: Made, events: list[Recorded]) -> list[str]:
    return [short_type(recorded.event.type) for recorded in events if recorded.event.run == made.run]


async def test_a_worker_whose_supervisor_never_renews_stops_before_its_first_step_and_says_so() -> None:
    """What a dead man's switch is for: the job was offered by somebody who has been silent since."""
    made = await approved()
    await made.service().execute(made.run, StartTask(T1, 1))
    bus = MemoryBus(made.clock)
    await bus.offer(Job(kind="task", run=made.run, task=T1, attempt=1))
    worker = asyncio.create_task(Worker(bus, workshop(made)).serve())
    outcome = await bus.outcome()
    worker.cancel()
    assert isinstance(outcome.error, Unsupervised)
    state = await made.service().load(made.run)
    assert (state.phase, state.halted_by) == ("halted", "policy:supervision")
    assert told(made, await made.ledger.read())[-2:] == ["task.started", "run.halted"]


class Stalling(SyntaxGate):
    """Takes longer than any lease."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        self._clock.advance(1000.0)
        return await super().judge(question, reader)


async def test_a_worker_that_is_left_alone_in_the_middle_of_an_edit_records_nothing_of_it_and_stops() -> None:
    made = await approved()
    bus = MemoryBus(made.clock)
    shop = dataclasses.replace(workshop(made), edit_gates=lambda: [Stalling(made.clock)])
    worker = asyncio.create_task(Worker(bus, shop).serve())
    state = await Supervisor(made.service(), bus, made.contents).drive(made.run)
    worker.cancel()
    assert (state.phase, state.halted_by) == ("halted", "policy:supervision")
    assert told(made, await made.ledger.read())[-2:] == ["edit.proposed", "run.halted"]
    await made.service().execute(made.run, Resume("ada"))
    assert (await made.service().load(made.run)).phase == "executing"


async def test_a_supervisor_that_comes_back_too_late_stops_the_run() -> None:
    """Its process was stopped, or its loop was stuck: its workers have stopped, or will at their next step."""
    made = await approved()

    async def asleep(seconds: float) -> None:
        made.clock.advance(seconds + 1000.0)

    state = await Supervisor(made.service(), MemoryBus(made.clock), made.contents, pause=asleep).drive(made.run)
    assert (state.phase, state.halted_by) == ("halted", "policy:supervision")
