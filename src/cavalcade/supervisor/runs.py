"""Runs as the ledger knows them: folding, deciding, appending."""

from __future__ import annotations

from collections.abc import Sequence

from cavalcade.domain.run import Command, Fact, Refusal, RunState, decide, fold
from cavalcade.domain.run.spans import Span, spans_of
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import NotRecorded, VersionConflict
from cavalcade.kernel.ids import ProjectId, RunId, TaskId, new_event_id, new_run_id, run_stream
from cavalcade.kernel.trace import trace_id
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.events import EditProposed, Payload, RunRequested, decode, encode

_TRIES = 50
"""Conflicts in a row before giving up: each means that somebody else made progress."""


def fact_of(recorded: Recorded) -> Fact:
    return Fact(recorded.event.id, recorded.event.time, decode(recorded.event))


class RunService:
    """The only way to change a run. Two of them on one ledger are safe: appends are checked against the stream's version."""

    def __init__(self, ledger: Ledger, clock: Clock, entropy: Entropy) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        self._states: dict[RunId, tuple[int, RunState]] = {}

    def new_id(self) -> RunId:
        return new_run_id(self._clock, self._entropy)

    async def load(self, run: RunId) -> RunState:
        """The run as of now. Costs what has happened since the last call. Raises NotRecorded."""
        after, state = self._states.get(run, (0, RunState()))
        news = await self._ledger.read(stream=run_stream(run), after=after)
        if news:
            state = fold(map(fact_of, news), state)
            self._states[run] = (news[-1].position, state)
        if state.phase == "none":
            raise NotRecorded(f"there is no run {run}", hint="`cavalcade runs` lists the runs")
        return state

    async def history(self, run: RunId) -> list[Recorded]:
        """All events of a run, oldest first. Raises NotRecorded."""
        recorded = await self._ledger.read(stream=run_stream(run))
        if not recorded:
            raise NotRecorded(f"there is no run {run}", hint="`cavalcade runs` lists the runs")
        return recorded

    async def list(self) -> list[RunId]:
        """Every run, oldest first."""
        prefix = run_stream(RunId(""))
        return [RunId(stream.removeprefix(prefix)) for stream in await self._ledger.streams(prefix)]

    async def wait_closed(self, run: RunId) -> RunState:
        """Returns as soon as the run is closed, by whomever, in whichever process."""
        state = await self.load(run)
        if not state.closed:
            position, _ = self._states[run]
            async for _event in self._ledger.follow(stream=run_stream(run), after=position):
                state = await self.load(run)
                if state.closed:
                    break
        return state

    async def request(self, run: RunId, request: RunRequested) -> RunState:
        await self._append(run, RunState(), (request,), request.project)
        return await self.load(run)

    async def execute(self, run: RunId, command: Command) -> RunState:
        """Decides and appends; the new state. Raises Refused when the rules forbid it, LedgerError when it can't be recorded."""
        for _ in range(_TRIES):
            state = await self.load(run)
            decided = decide(state, command)
            if isinstance(decided, Refusal):
                raise decided.error()
            if not decided:
                return state
            assert state.request is not None
            try:
                recorded = await self._append(run, state, decided, state.request.project)
            except VersionConflict:
                continue
            state = fold(map(fact_of, recorded), state)
            self._states[run] = (recorded[-1].position, state)
            return state
        raise VersionConflict(f"run {run} kept changing while {type(command).__name__} was tried {_TRIES} times")

    async def _append(
        self, run: RunId, state: RunState, payloads: Sequence[Payload], project: ProjectId
    ) -> list[Recorded]:
        spans = spans_of(run, state, payloads)
        drafts = [self._draft(run, payload, project, span) for payload, span in zip(payloads, spans, strict=True)]
        return await self._ledger.append(run_stream(run), drafts, expected_version=state.version)

    def _draft(self, run: RunId, payload: Payload, project: ProjectId, span: Span) -> Draft:
        task: TaskId = getattr(payload, "task", TaskId(""))
        return Draft(
            id=new_event_id(self._clock, self._entropy),
            type=payload.TYPE,
            time=self._clock.now(),
            data=encode(payload),
            subject=payload.path if isinstance(payload, EditProposed) else task,
            project=project,
            run=run,
            task=task,
            agent=f"coder/{task}" if task else "",
            role="coder" if task else "supervisor",
            traceid=trace_id(run),
            spanid=span.id,
        )
