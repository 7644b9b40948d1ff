"""The dead-man's switch, with a clock in the hand: a worker goes on only while somebody watches over it."""

from __future__ import annotations

import asyncio

import pytest

from cavalcade.bus.memory import MemoryBus
from cavalcade.domain.run import UNSUPERVISED, Abort, Command, RunState, Stop
from cavalcade.kernel.errors import LedgerUnwritable, Unsupervised
from cavalcade.kernel.ids import RunId
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.job import Job
from cavalcade.testing.clock import FakeClock
from cavalcade.worker.supervision import DeadMan, SupervisedRecord, Supervision

RUN = RunId("r1")
JOB = Job(kind="task", run=RUN)


class Notes:
    """A record that only notes what it is asked."""

    def __init__(self, *, full: bool = False) -> None:
        self.commands: list[Command] = []
        self._full = full

    async def load(self, run: RunId) -> RunState:
        return RunState()

    async def execute(self, run: RunId, command: Command) -> RunState:
        if self._full:
            raise LedgerUnwritable("the disk is full")
        self.commands.append(command)
        return RunState()

    async def history(self, run: RunId) -> list[Recorded]:
        return []


async def leased(clock: FakeClock, lease_s: float = 10.0) -> tuple[MemoryBus, Supervision]:
    bus = MemoryBus(clock)
    assert await bus.renew(lease_s)
    return bus, Supervision(lambda: bus.supervised_until_s(JOB), clock)


async def test_while_the_lease_is_renewed_work_goes_on() -> None:
    clock = FakeClock()
    bus, supervision = await leased(clock)
    for _ in range(5):
        clock.advance(9.0)
        assert await bus.renew(10.0)
        supervision.check()


async def test_a_worker_without_any_renewal_takes_no_step() -> None:
    clock, record = FakeClock(), Notes()
    bus = MemoryBus(clock)
    supervision = Supervision(lambda: bus.supervised_until_s(JOB), clock)
    with pytest.raises(Unsupervised):
        await SupervisedRecord(record, supervision).execute(RUN, Abort("ada"))
    assert record.commands == []


async def test_after_the_lease_nothing_is_recorded_and_no_renewal_brings_it_back() -> None:
    clock, record = FakeClock(), Notes()
    bus, supervision = await leased(clock)
    watched = SupervisedRecord(record, supervision)
    await watched.execute(RUN, Abort("ada"))
    clock.advance(10.5)
    assert not await bus.renew(10.0)
    with pytest.raises(Unsupervised, match="silent"):
        await watched.execute(RUN, Abort("ada"))
    assert len(record.commands) == 1


async def test_a_clock_that_is_set_does_not_end_a_lease() -> None:
    clock = FakeClock()
    _, supervision = await leased(clock)
    clock.jump(3600)
    supervision.check()


async def test_what_runs_is_killed_once_when_the_lease_ends_and_not_before() -> None:
    clock = FakeClock()
    _, supervision = await leased(clock)
    killed: list[float] = []
    dead_man = DeadMan(supervision, lambda: killed.append(clock.monotonic_s()))
    clock.advance(10.0)
    assert dead_man.look()
    clock.advance(0.1)
    assert not dead_man.look()
    assert killed == [10.1]


def test_a_stop_by_supervision_says_so() -> None:
    assert Stop(UNSUPERVISED).by == "policy:supervision"


async def test_the_thread_ends_with_what_it_watches_over() -> None:
    clock = FakeClock()
    _, supervision = await leased(clock)
    with DeadMan(supervision, lambda: None).watching():
        await asyncio.sleep(0)
