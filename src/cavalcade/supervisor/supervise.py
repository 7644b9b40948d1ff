"""Driving a run: what is pending becomes jobs, what the jobs report becomes events, until nothing is owed.

The supervisor can die anywhere. Whoever drives next folds the ledger and asks `pending` again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from cavalcade.bus.port import Bus, Outcome
from cavalcade.content.port import ContentStore
from cavalcade.domain.run import (
    UNSUPERVISED,
    AwaitProgram,
    Complete,
    DoTask,
    Effect,
    ExploreTask,
    Fail,
    Finish,
    MakePlan,
    Publish,
    RecordPublished,
    RunState,
    StartTask,
    Stop,
    VerifyTask,
    WaitForHuman,
    pending,
)
from cavalcade.kernel.errors import CavalcadeError, Refused, UsageError
from cavalcade.kernel.ids import RunId
from cavalcade.protocol.events import Overlap, Problem
from cavalcade.protocol.job import Job
from cavalcade.supervisor.overlaps import find_overlaps
from cavalcade.supervisor.runs import RunService

LEASE_S = 120.0
"""How long workers go on without hearing from their supervisor. It shares an event loop with them in one process, where resolving a
large project may take most of a minute at once."""
_BEATS = 12
"""Renewals in the time of one lease."""
Pause = Callable[[float], Awaitable[object]]

Contents = Callable[[RunState], ContentStore]
"""Opens the content store of a run's project."""


def branch_of(run: RunId) -> str:
    return f"cavalcade/{run}"


def problem_of(error: CavalcadeError) -> Problem:
    return Problem(
        code=error.code,
        what=error.what,
        expected=error.expected,
        hint=error.hint,
        places=error.places,
        exit_status=error.exit_status,
    )


def job_of(run: RunId, effect: Effect) -> Job | None:
    """The work that an effect asks of workers; None for what the supervisor does itself, or a person."""
    match effect:
        case MakePlan():
            return Job(kind="plan", run=run, round=effect.round)
        case DoTask():
            return Job(kind="task", run=run, task=effect.task, attempt=effect.attempt)
        case VerifyTask():
            return Job(kind="verify", run=run, task=effect.task, attempt=effect.attempt)
        case ExploreTask():
            return Job(kind="explore", run=run, task=effect.task, attempt=effect.attempt)
        case _:
            return None


class Supervisor:
    def __init__(
        self, runs: RunService, bus: Bus, contents: Contents, *, lease_s: float = LEASE_S, pause: Pause = asyncio.sleep
    ) -> None:
        self._runs = runs
        self._bus = bus
        self._contents = contents
        self._lease_s = lease_s
        self._pause = pause

    async def drive(self, run: RunId) -> RunState:
        """Goes on until the run is closed, was stopped, or waits for a person or a recorded program; the state then.

        An objective that can't be carried out closes the run as failed. Any other error (ledger, sandbox, tools) is raised and leaves
        the run as it stood: it can be resumed when the cause is gone.
        """
        await self._bus.renew(self._lease_s)
        ended = asyncio.create_task(self._runs.wait_ended(run))
        beating = asyncio.create_task(self._beat(run))
        try:
            return await self._drive(run, ended, beating)
        finally:
            ended.cancel()
            beating.cancel()

    async def _beat(self, run: RunId) -> None:
        """Lets workers know that they are watched over. Who comes back after too long a silence finds them stopped, and says so."""
        while await self._bus.renew(self._lease_s):
            await self._pause(self._lease_s / _BEATS)
        silence = f"the supervisor was silent for longer than {self._lease_s:.0f} s"
        with suppress(Refused):  # somebody ended the run meanwhile
            await self._runs.execute(run, Stop(UNSUPERVISED, silence))

    async def _drive(self, run: RunId, ended: asyncio.Task[RunState], beating: asyncio.Task[None]) -> RunState:
        # By key, since the bus may tell the same outcome twice.
        under_way: set[str] = set()
        while True:
            state = await self._runs.load(run)
            effects = pending(state)
            if state.at_rest or any(isinstance(effect, WaitForHuman | AwaitProgram) for effect in effects):
                return state
            for effect in effects:
                if (job := await self._carry_out_if_owed(run, state, effect)) is not None:
                    await self._bus.offer(job)
                    under_way.add(job.key)
            if under_way and (outcome := await self._next_outcome(ended, beating)) is not None:
                under_way.discard(outcome.job.key)
                await self._take_note(run, outcome)

    async def _carry_out_if_owed(self, run: RunId, state: RunState, effect: Effect) -> Job | None:
        """As `carry_out`; nothing when somebody else did it, or ended the run, while it was on its way. Raises Refused otherwise."""
        try:
            return await self.carry_out(run, state, effect)
        except Refused:
            if effect in pending(await self._runs.load(run)):
                raise
            return None

    async def _next_outcome(self, ended: asyncio.Task[RunState], beating: asyncio.Task[None]) -> Outcome | None:
        """Waits for a job to end, but no longer than the run goes on: who aborts or stops it doesn't wait for a test suite.

        Raises what keeps it from knowing whether the run goes on, or from telling workers that they are watched over.
        """
        done = asyncio.create_task(self._bus.outcome())
        await asyncio.wait({done, ended, beating}, return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            return done.result()
        done.cancel()
        (ended if ended.done() else beating).result()
        return None

    async def _take_note(self, run: RunId, outcome: Outcome) -> None:
        """Nothing, where a person ended the run, or asked for something else, while the job was under way."""
        error, job = outcome.error, outcome.job
        if error is None:
            return
        state = await self._runs.load(run)
        owed = any(job_of(run, effect) == job for effect in pending(state))
        match error:
            case Refused() | UsageError() if not owed:
                return
            case UsageError():
                await self._fail(run, error, job)
            case _:
                raise error

    async def _fail(self, run: RunId, error: UsageError, job: Job) -> None:
        try:
            await self._runs.execute(run, Fail(problem_of(error), job.round))
        except Refused:
            if job in map(partial(job_of, run), pending(await self._runs.load(run))):
                raise

    async def carry_out(self, run: RunId, state: RunState, effect: Effect) -> Job | None:
        """Does the supervisor's own part of an effect; the work that is left for a worker."""
        match effect:
            case DoTask() if not effect.started:
                await self._runs.execute(run, StartTask(effect.task, effect.attempt))
            case Publish():
                await self._publish(run, state)
            case Finish():
                await self._runs.execute(run, Complete(await self._overlaps(run, state)))
            case _:
                pass
        return job_of(run, effect)

    async def _publish(self, run: RunId, state: RunState) -> None:
        assert state.start is not None
        self._contents(state).publish(Path(state.start.repository), branch_of(run), state.head)
        await self._runs.execute(run, RecordPublished(branch_of(run), state.head))

    async def _overlaps(self, run: RunId, state: RunState) -> tuple[Overlap, ...]:
        """Whether this result merges with the other results of the same project that stand on the same base."""
        others = [await self._runs.load(other) for other in await self._runs.list() if other != run]
        return find_overlaps(self._contents(state), state, others)
