"""Runs as the ledger knows them: folding, deciding, appending."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from itertools import count

from msgspec.structs import replace

from cavalcade.domain.run import Command, Fact, Fork, Refusal, RunState, decide, fold
from cavalcade.domain.run.spans import Span, spans_of
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import LedgerDamaged, NotRecorded, VersionConflict
from cavalcade.kernel.ids import EventId, ProjectId, RunId, TaskId, new_event_id, new_run_id, run_stream
from cavalcade.kernel.trace import trace_id
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.events import (
    EditProposed,
    FilesChanged,
    MessageRecorded,
    OutputWritten,
    Payload,
    RecordingEnded,
    RecordingStarted,
    RunForked,
    RunRequested,
    ToolAnswered,
    ToolCalled,
    decode,
    encode,
)
from cavalcade.supervisor.projects import Projects

_RECORDED = (
    RecordingStarted,
    FilesChanged,
    OutputWritten,
    MessageRecorded,
    ToolCalled,
    ToolAnswered,
    RecordingEnded,
)
_TRIES = 50
"""Conflicts in a row before giving up: each means that somebody else made progress."""


def fact_of(recorded: Recorded) -> Fact:
    return Fact(recorded.event.id, recorded.event.time, decode(recorded.event))


class RunService:
    """The only way to change a run. Two of them on one ledger are safe: appends are checked against the stream's version.

    A fork's history is its parent's up to the fork, then its own stream. Its events are numbered through: what the two share has the
    same numbers in both.
    """

    def __init__(self, ledger: Ledger, clock: Clock, entropy: Entropy) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        self._projects = Projects(ledger, clock, entropy)
        self._states: dict[RunId, tuple[int, RunState]] = {}
        self._shared: dict[RunId, tuple[Recorded, ...]] = {}
        """For each fork, its parent's events: they never change."""

    def new_id(self) -> RunId:
        return new_run_id(self._clock, self._entropy)

    async def load(self, run: RunId) -> RunState:
        """The run as of now. Costs what has happened since the last call. Raises NotRecorded."""
        after, state = self._states.get(run, (0, RunState()))
        news = await self._ledger.read(stream=run_stream(run), after=after)
        if news:
            if not after:
                state = fold(map(fact_of, await self._shared_history(run, news[0])))
            state = fold(map(fact_of, news), state)
            if not after:
                state = await self.located(state)
            self._states[run] = (news[-1].position, state)
        if state.phase == "none":
            raise _unknown(run)
        return state

    async def located(self, state: RunState) -> RunState:
        """With the folder in which its project lies on this installation, where that isn't the one it was asked for in."""
        if state.start is None or (folder := await self._projects.folder(state.start.project)) is None:
            return state
        if state.request is not None:
            state = replace(state, request=replace(state.request, repository=folder))
        if state.recording is not None:
            state = replace(state, recording=replace(state.recording, repository=folder))
        return state

    async def history(self, run: RunId) -> list[Recorded]:
        """All events of a run, oldest first; `version` is an event's number in the run. Raises NotRecorded."""
        own = await self._ledger.read(stream=run_stream(run))
        if not own:
            raise _unknown(run)
        shared = await self._shared_history(run, own[0])
        return [*shared, *_numbered(own, len(shared))] if shared else own

    async def follow(self, run: RunId, *, after: int = 0) -> AsyncGenerator[Recorded]:
        """The events of a run beyond number `after`, then each new one; `version` is its number in the run. Raises NotRecorded."""
        known = await self.history(run)
        for recorded in known[after:]:
            yield recorded
        own = known[-1].position
        numbers = count(max(after, len(known)) + 1)
        async for recorded in self._ledger.follow(stream=run_stream(run), after=own):
            yield replace(recorded, version=next(numbers))

    async def _shared_history(self, run: RunId, first: Recorded) -> tuple[Recorded, ...]:
        """What a run has from its parent, by its first event; nothing unless it is a fork. Raises NotRecorded, LedgerDamaged."""
        if run not in self._shared:
            forked = decode(first.event)
            self._shared[run] = (
                await self._upto(forked.parent, forked.version, forked.event) if isinstance(forked, RunForked) else ()
            )
        return self._shared[run]

    async def _upto(self, run: RunId, version: int, event: EventId) -> tuple[Recorded, ...]:
        """A run's first `version` events, the last of which is `event`. Raises NotRecorded, LedgerDamaged."""
        history = await self.history(run)
        if len(history) < version or history[version - 1].event.id != event:
            raise LedgerDamaged(
                f"a fork goes on from event #{version} of run {run}, which is not the one it was forked at",
                expected=f"event {event}",
                hint="`cavalcade verify` checks the record",
            )
        return tuple(history[:version])

    async def list(self) -> list[RunId]:
        """Every run, oldest first."""
        prefix = run_stream(RunId(""))
        return [RunId(stream.removeprefix(prefix)) for stream in await self._ledger.streams(prefix)]

    async def wait_ended(self, run: RunId) -> RunState:
        """Returns as soon as the run is closed or was stopped, by whomever, in whichever process."""
        state = await self.load(run)
        if not (state.closed or state.halting):
            position, _ = self._states[run]
            async for _event in self._ledger.follow(stream=run_stream(run), after=position):
                state = await self.load(run)
                if state.closed or state.halting:
                    break
        return state

    async def fork(self, run: RunId, command: Fork) -> RunState:
        """Makes a new run that shares its parent's history up to the command's event. Raises Refused, NotRecorded, LedgerDamaged."""
        state = fold(map(fact_of, await self._upto(command.parent, command.version, command.event)))
        decided = decide(state, command)
        if isinstance(decided, Refusal):
            raise decided.error()
        assert state.start is not None  # the decider forks nothing that never began
        drafts = self._drafts(run, state, decided, state.start.project)
        await self._ledger.append(run_stream(run), drafts, expected_version=0)
        return await self.load(run)

    def new_event_id(self) -> EventId:
        return new_event_id(self._clock, self._entropy)

    async def request(self, run: RunId, request: RunRequested) -> RunState:
        return await self._begin(run, request)

    async def record(self, run: RunId, recording: RecordingStarted) -> RunState:
        """The first event of a run in which a program works."""
        return await self._begin(run, recording)

    async def _begin(self, run: RunId, first: RunRequested | RecordingStarted) -> RunState:
        recorded = await self._append(run, RunState(), (first,), first.project)
        state = await self.located(fold(map(fact_of, recorded)))
        self._states[run] = (recorded[-1].position, state)
        return state

    async def execute(
        self, run: RunId, command: Command, *, event: EventId | None = None, at: datetime | None = None
    ) -> RunState:
        """Decides and appends; the new state. Raises Refused when the rules forbid it, LedgerError when it can't be recorded.

        `event` is the id that the first event gets, where something names it already; `at` the time of what happened before it is told.
        """
        known = self._states.get(run)
        state = await self.load(run) if known is None else known[1]
        for _ in range(_TRIES):
            decided = decide(state, command)
            if isinstance(decided, Refusal) or not decided:
                # What is known may be old: only what is on the record now refuses a command, or has nothing left to do.
                now = await self.load(run)
                if now.version != state.version:
                    state = now
                    continue
                if isinstance(decided, Refusal):
                    raise decided.error()
                return state
            assert state.start is not None
            try:
                recorded = await self._append(run, state, decided, state.start.project, event, at)
            except VersionConflict:
                state = await self.load(run)
                continue
            state = fold(map(fact_of, recorded), state)
            self._states[run] = (recorded[-1].position, state)
            return state
        raise VersionConflict(f"run {run} kept changing while {type(command).__name__} was tried {_TRIES} times")

    async def _append(
        self,
        run: RunId,
        state: RunState,
        payloads: Sequence[Payload],
        project: ProjectId,
        event: EventId | None = None,
        at: datetime | None = None,
    ) -> list[Recorded]:
        drafts = self._drafts(run, state, payloads, project, at)
        if event is not None:
            drafts[0] = replace(drafts[0], id=event)
        return await self._ledger.append(run_stream(run), drafts, expected_version=state.own_version)

    def _drafts(
        self,
        run: RunId,
        state: RunState,
        payloads: Sequence[Payload],
        project: ProjectId,
        at: datetime | None = None,
    ) -> list[Draft]:
        spans = spans_of(run, state, payloads)
        return [self._draft(run, payload, project, span, at) for payload, span in zip(payloads, spans, strict=True)]

    def _draft(self, run: RunId, payload: Payload, project: ProjectId, span: Span, at: datetime | None) -> Draft:
        task: TaskId = getattr(payload, "task", TaskId(""))
        return Draft(
            id=new_event_id(self._clock, self._entropy),
            type=payload.TYPE,
            time=at or self._clock.now(),
            data=encode(payload),
            subject=payload.path if isinstance(payload, EditProposed) else task,
            project=project,
            run=run,
            task=task,
            agent=f"coder/{task}" if task else "",
            role="coder" if task else "recorder" if isinstance(payload, _RECORDED) else "supervisor",
            traceid=trace_id(run),
            spanid=span.id,
        )


def _unknown(run: RunId) -> NotRecorded:
    return NotRecorded(f"there is no run {run}", hint="`cavalcade runs` lists the runs")


def _numbered(own: Iterable[Recorded], shared: int) -> list[Recorded]:
    return [replace(recorded, version=shared + recorded.version) for recorded in own]
