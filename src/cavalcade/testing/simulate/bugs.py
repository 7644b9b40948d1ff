"""Mistakes put in on purpose, to see that they are found. Each replaces one sound part; production code knows nothing of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from cavalcade.bus.port import Bus
from cavalcade.domain.run import Approve, Command, Effect, Refusal, RunState, TaskState, VerifyTask, decide
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import RunId, StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.job import Job
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.supervise import Contents, Supervisor, branch_of
from cavalcade.testing.simulate.actors import Parts
from cavalcade.testing.simulate.broker import Broker
from cavalcade.testing.simulate.invariants import Seen
from cavalcade.testing.simulate.network import ContentDisk, Heard, LedgerEnd, Store
from cavalcade.testing.simulate.projects import Shape
from cavalcade.testing.simulate.simulation import PartsOf, StoreOf, Verdict, simulate
from cavalcade.testing.simulate.world import Process, World
from cavalcade.worker.workshop import Workshop


class _PresentAttempt(RunService):
    """Says that a command is for whichever attempt is the present one: the fence never refuses anybody."""

    async def execute(self, run: RunId, command: Command, **known: Any) -> RunState:
        task: TaskState | None = (await self.load(run)).tasks.get(getattr(command, "task", None) or "")  # type: ignore[arg-type]
        if task is not None:
            command = cast("Any", command)._replace(attempt=task.attempt)
        return await super().execute(run, command, **known)


class OldAttempt(Parts):
    """A worker judges with an old attempt number, and nobody notices."""

    def workshop(self, process: Process) -> Workshop:
        record = _PresentAttempt(self.ledger(process), process, self.world.entropy)
        return dataclasses.replace(super().workshop(process), record=record)


class _AnyVersion(LedgerEnd):
    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        del expected_version
        return await super().append(stream, events)


class ForgottenVersion(Parts):
    """A supervisor appends wherever the stream is by now."""

    def ledger(self, process: Process) -> Ledger:
        if process.kind == "supervisor":
            return _AnyVersion(process, self.network, self.store)
        return super().ledger(process)


class _ApprovesAnything(RunService):
    async def execute(self, run: RunId, command: Command, **known: Any) -> RunState:
        if isinstance(command, Approve):
            command = command._replace(plan_hash=(await self.load(run)).plan_hash)
        return await super().execute(run, command, **known)


class UncheckedApproval(Parts):
    """An approval holds for whichever plan is there when it arrives."""

    def runs(self, process: Process) -> RunService:
        if process.kind == "person":
            return _ApprovesAnything(self.ledger(process), process, self.world.entropy)
        return super().runs(process)


class EarlyAcknowledgement(Store):
    """A ledger that says yes before its disk does: what is younger than a moment is gone when the power is."""

    _LAG_S = 0.3

    def __init__(self, world: World, heard: Heard) -> None:
        super().__init__(world, heard)
        self._written_s: dict[int, float] = {}

    async def append(
        self, process: Process, stream: StreamId, events: Sequence[Draft], expected_version: int | None
    ) -> list[Recorded]:
        recorded = await super().append(process, stream, events, expected_version)
        for each in recorded:
            self._written_s.setdefault(each.position, self.world.loop.now_s)
        return recorded

    async def power_loss(self) -> None:
        await super().power_loss()
        told = {position for position, _ in self.acknowledged}
        limit_s = self.world.loop.now_s - self._LAG_S
        young = [position for position, at_s in self._written_s.items() if at_s > limit_s and position in told]
        if young:
            kept = (await self.ledger.read())[: min(young) - 1]
            self.ledger = MemoryLedger(entropy=self.world.entropy)
            for each in kept:
                await self.ledger.append(each.stream, [each.event])


class _Hasty(Supervisor):
    def __init__(self, runs: RunService, bus: Bus, contents: Contents) -> None:
        super().__init__(runs, bus, contents)
        self._own_contents = contents

    async def carry_out(self, run: RunId, state: RunState, effect: Effect) -> Job | None:
        left = [task for task in state.tasks.values() if task.status != "merged"]
        if isinstance(effect, VerifyTask) and len(left) == 1 and state.start is not None:
            (task,) = left
            self._own_contents(state).publish(Path(state.start.repository), branch_of(run), task.commit)
        return await super().carry_out(run, state, effect)


class HastyPublication(Parts):
    """The result is published when the last task is proposed, before the record says that it is merged."""

    def supervisor(self, process: Process, runs: RunService, bus: Bus) -> Supervisor:
        content = self.disk.end(process)
        return _Hasty(runs, bus, lambda _state: content)


class _LosingBroker(Broker):
    def restart(self) -> None:
        """Its queues are gone, and nobody hears of it."""
        self.clear()


class SilentBus(Parts):
    """A bus loses what it was given, and says nothing."""

    def __init__(self, world: World, seen: Seen, store: Store, disk: ContentDisk, shape: Shape) -> None:
        super().__init__(world, seen, store, disk, shape)
        self.broker = _LosingBroker(world, self.network)


class _Deaf(RunService):
    async def execute(self, run: RunId, command: Command, **known: Any) -> RunState:
        try:
            return await super().execute(run, command, **known)
        except Refused:
            state = await self.load(run)
            decided = decide(state.going_on(), command)
            if state.phase != "halted" or state.start is None or isinstance(decided, Refusal) or not decided:
                raise
            await self._append(run, state, decided, state.start.project)
            return await self.load(run)


class DeafWorker(Parts):
    """A worker goes on in a run that was stopped."""

    def workshop(self, process: Process) -> Workshop:
        record = _Deaf(self.ledger(process), process, self.world.entropy)
        return dataclasses.replace(super().workshop(process), record=record)


class Bug(NamedTuple):
    what: str
    parts: PartsOf = Parts
    store: StoreOf = Store

    def simulate(self, seed: int) -> Verdict:
        return simulate(seed, parts=self.parts, store=self.store)


BUGS = {
    "old-attempt": Bug("a worker judges with an old attempt number", parts=OldAttempt),
    "forgotten-version": Bug("a supervisor forgets the expected version", parts=ForgottenVersion),
    "unchecked-approval": Bug("an approval is not checked against the plan", parts=UncheckedApproval),
    "early-acknowledgement": Bug("a ledger acknowledges before it is durable", store=EarlyAcknowledgement),
    "silent-bus": Bug("a bus loses its queues and nobody hears of it", parts=SilentBus),
    "deaf-worker": Bug("a worker goes on after a stop", parts=DeafWorker),
    "hasty-publication": Bug("a result is published before the record says so", parts=HastyPublication),
}


def found_after(name: str, seeds: int) -> tuple[int, Verdict] | None:
    """How many seeds it took until one failed, from 1, and its verdict; None when none of that many did."""
    for seed in range(1, seeds + 1):
        if (verdict := BUGS[name].simulate(seed)).violations:
            return seed, verdict
    return None
