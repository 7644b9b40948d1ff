"""Claims jobs and carries them out; what comes of one is a command to its run."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from cavalcade.agents.coder import RecipeCoder
from cavalcade.bus.port import Bus, Outcome
from cavalcade.domain.run import UNSUPERVISED, RunState, Stop, TaskState
from cavalcade.kernel.errors import CavalcadeError, Refused
from cavalcade.protocol.job import Job
from cavalcade.worker.exploring import explore
from cavalcade.worker.planning import make_plan
from cavalcade.worker.supervision import SupervisedRecord, Supervision, left_alone
from cavalcade.worker.verifying import verify
from cavalcade.worker.workshop import Workshop


class Worker:
    def __init__(self, bus: Bus, shop: Workshop) -> None:
        self._bus = bus
        self._shop = shop

    async def serve(self) -> None:
        """Works until cancelled. An error ends the job, never the worker: whoever offered the job decides what it means.

        Where it is left alone by the supervisor of a job, it stops at the next step and says so on the record.
        """
        while True:
            job = await self._bus.claim()
            await self._bus.finish(Outcome(job, await self._error_of(job)))

    async def _error_of(self, job: Job) -> Exception | None:
        """How a job ended: None when it was carried out."""
        supervision = Supervision(partial(self._bus.supervised_until_s, job), self._shop.clock)
        record = SupervisedRecord(self._shop.record, supervision)
        try:
            supervision.check()
            await Worker(self._bus, replace(self._shop, record=record)).carry_out(job)
        except Exception as failed:  # noqa: BLE001 - carried over to the supervisor, which raises it
            error = failed
        else:
            return None
        if not supervision.lapsed:
            return error
        # What runs in a sandbox is killed where nobody watches over it: that is not what the job failed of.
        alone = left_alone()
        try:
            await self._shop.record.execute(job.run, Stop(UNSUPERVISED, alone.what))
        except CavalcadeError as unrecorded:
            self._shop.say(f"run {job.run}: {alone.what}; that is not on the record: {unrecorded.what}")
        return alone

    async def carry_out(self, job: Job) -> None:
        """Raises what the work raises; Refused when somebody decided otherwise meanwhile."""
        record = self._shop.record
        state = await record.load(job.run)
        match job.kind:
            case "plan":
                planner = self._shop.make_plan or make_plan
                await record.execute(job.run, await planner(self._shop, state, job.round))
            case "task":
                await self._coder(state).work(job.run, job.task, job.attempt)
            case "verify":
                await record.execute(job.run, await verify(self._shop, state, job.run, _task_of(state, job)))
            case "explore":
                history = await record.history(job.run)
                await record.execute(job.run, explore(self._shop, state, _task_of(state, job), history))

    def _coder(self, state: RunState) -> RecipeCoder:
        content = self._shop.content_of(state)
        return RecipeCoder(self._shop.record, content, self._shop.edit_gates(), self._shop.clock)


def _task_of(state: RunState, job: Job) -> TaskState:
    """The task in the attempt that the job is for. Raises Refused for a job that comes late: another attempt has begun."""
    task = state.tasks.get(job.task)
    if task is None or task.attempt != job.attempt:
        present = f"in attempt {task.attempt}" if task else "not in the plan"
        raise Refused(f"the job is for attempt {job.attempt} of task {job.task}, which is {present}")
    return task
