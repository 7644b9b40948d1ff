"""Carrying a run out again along its record, by the same supervisor and worker."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from cavalcade.domain.run import Effect, Fail, Fork, RequestRun, RunState, WaitForHuman, pending
from cavalcade.kernel.errors import CavalcadeError, Refused, UsageError
from cavalcade.kernel.ids import RunId
from cavalcade.protocol import events as e
from cavalcade.protocol.job import Job
from cavalcade.replay.tape import Group, Lane, Tape
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.supervise import Supervisor, problem_of


class Carrier(Protocol):
    """Carries out jobs on the record, as a worker does."""

    async def carry_out(self, job: Job) -> None: ...


class Player:
    """Does for each group of events what led to it. `runs` records on `tape`, which says what comes next and what is different."""

    def __init__(self, run: RunId, tape: Tape, runs: RunService, supervisor: Supervisor, worker: Carrier) -> None:
        self._run = run
        self._tape = tape
        self._runs = runs
        self._supervisor = supervisor
        self._worker = worker
        self._jobs: dict[Job, asyncio.Task[None]] = {}

    async def play(self) -> None:
        """To the end of the record. Work that was under way there, or that somebody decided against, is left."""
        try:
            while (group := self._tape.due) is not None:
                await self._do(group)
        finally:
            for task in self._jobs.values():
                task.cancel()
            await asyncio.gather(*self._jobs.values(), return_exceptions=True)

    async def _do(self, group: Group) -> None:
        kind, _ = group.lane
        before = self._tape.played
        try:
            if kind == "person":
                await self._person(group)
            elif isinstance(group.payloads[0], e.RecordingStarted):
                await self._tape.answer()
            else:
                await self._work(group, await self._runs.load(self._run))
        except CavalcadeError as error:
            if self._tape.played == before:
                self._tape.leave(group, error.what)
        else:
            if self._tape.played == before:
                self._tape.leave(group, "nothing")

    async def _person(self, group: Group) -> None:
        match group.command:
            case RequestRun() as asked:
                await self._runs.request(self._run, asked.request)
            case Fork() as fork:
                await self._runs.fork(self._run, fork)
            case command:
                await self._runs.execute(self._run, command)

    async def _work(self, group: Group, state: RunState) -> None:
        if _from_outside(group, state):
            await self._tape.answer()
            return
        effect = owed(state, group.lane)
        if effect is None:
            raise Refused("nothing that is owed leads to it")
        before = self._tape.played
        job = await self._supervisor.carry_out(self._run, state, effect)
        if job is None or self._tape.played != before:
            return  # a start is recorded by itself; the job follows when its first event is due
        task = self._jobs.get(job)
        if task is None or task.done():
            task = self._jobs[job] = asyncio.create_task(self._worker.carry_out(job))
        await self._first(task, before)
        if self._tape.played == before and task.done():
            await self._ended(group, task)

    async def _first(self, task: asyncio.Task[None], played: int) -> None:
        """Until the record has moved on, or the work has ended."""
        moved = asyncio.create_task(self._tape.moved(played))
        try:
            await asyncio.wait({moved, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()
            with suppress(asyncio.CancelledError):
                await moved

    async def _ended(self, group: Group, task: asyncio.Task[None]) -> None:
        """Raises what the work raised; an objective that can't be carried out fails the run, as it did then."""
        try:
            task.result()
        except UsageError as error:
            if not isinstance(group.payloads[0], e.RunFailed):
                raise
            await self._runs.execute(self._run, Fail(problem_of(error)))


def _from_outside(group: Group, state: RunState) -> bool:
    """What a recorded program did, what other runs had published by then, and errors that only a machine in that condition gives."""
    event = group.payloads[0]
    if state.recording is not None:
        return True
    return isinstance(event, e.RunCompleted) or (isinstance(event, e.RunFailed) and state.phase != "planning")


def owed(state: RunState, lane: Lane) -> Effect | None:
    """The effect that the next event in a lane can come of."""
    kind, name = lane
    for effect in pending(state):
        task = getattr(effect, "task", "")
        if task == name and not isinstance(effect, WaitForHuman) and (kind == "task") == bool(task):
            return effect
    return None
