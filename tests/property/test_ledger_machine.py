"""Whatever is done to a ledger, in whatever order, it answers as a plain list would."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from cavalcade.kernel.errors import LedgerError, VersionConflict
from cavalcade.kernel.ids import EventId, StreamId
from cavalcade.ledger.chain import GENESIS
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.testing.clock import START, FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

STREAMS = st.sampled_from([StreamId("run/a"), StreamId("run/b"), StreamId("project/\u00fc")])
JUMPS = st.integers(-400, 400)


class LedgerMachine(RuleBasedStateMachine):
    """The model is `self.model`: what was recorded, in order."""

    batches: Bundle[tuple[StreamId, list[Draft]]] = Bundle("batches")
    followers: Bundle[Any] = Bundle("followers")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(tick_s=1.0)
        self.drafts = Drafts(self.clock, SeededEntropy(1))
        self.model: list[Recorded] = []
        self.ledger: Ledger

    def make(self) -> Ledger:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.ledger = self.make()

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.runner.run(self.ledger.aclose())
        self.runner.close()

    def version(self, stream: StreamId) -> int:
        return sum(event.stream == stream for event in self.model)

    def of(self, stream: StreamId | None) -> list[Recorded]:
        return [event for event in self.model if stream in (None, event.stream)]

    @rule(target=batches, stream=STREAMS, size=st.integers(0, 3), jump=JUMPS, check=st.booleans())
    def append(
        self, stream: StreamId, size: int, jump: int, check: bool
    ) -> MultipleResults[tuple[StreamId, list[Draft]]]:
        self.clock.jump(jump)
        batch = self.drafts.many(size)
        version = self.version(stream)
        recorded = self.runner.run(self.ledger.append(stream, batch, expected_version=version if check else None))
        assert [event.event for event in recorded] == batch
        assert [event.version for event in recorded] == list(range(version + 1, version + 1 + size))
        self.model += recorded
        return multiple(*([(stream, batch)] if batch else []))

    @rule(streams=st.lists(STREAMS, min_size=1, max_size=8))
    def append_at_the_same_time(self, streams: list[StreamId]) -> None:
        async def everybody() -> list[list[Recorded]]:
            return await asyncio.gather(*(self.ledger.append(stream, self.drafts.many(2)) for stream in streams))

        answers = self.runner.run(everybody())
        self.model += sorted((event for answer in answers for event in answer), key=lambda event: event.position)

    @rule(stream=STREAMS, wrong=st.integers(-3, 3).filter(bool))
    def append_with_a_wrong_version(self, stream: StreamId, wrong: int) -> None:
        try:
            self.runner.run(
                self.ledger.append(stream, self.drafts.many(2), expected_version=self.version(stream) + wrong)
            )
        except VersionConflict:
            return
        raise AssertionError("a wrong version was accepted")

    @rule(known=batches, expected=st.none() | st.integers(0, 5))
    def append_again(self, known: tuple[StreamId, list[Draft]], expected: int | None) -> None:
        stream, batch = known
        recorded = self.runner.run(self.ledger.append(stream, batch, expected_version=expected))
        assert recorded == [event for event in self.model if event.event in batch]

    @rule(known=batches, stream=STREAMS)
    def append_a_part_again_or_elsewhere(self, known: tuple[StreamId, list[Draft]], stream: StreamId) -> None:
        own, batch = known
        try:
            self.runner.run(self.ledger.append(stream, [*batch, self.drafts.one()]))
        except VersionConflict:
            assert stream == own
        except LedgerError:
            assert stream != own
        else:
            raise AssertionError("a batch known in part was accepted")

    @rule(stream=st.none() | STREAMS, after=st.integers(0, 60), limit=st.none() | st.integers(0, 20))
    def read(self, stream: StreamId | None, after: int, limit: int | None) -> None:
        expected = [event for event in self.of(stream) if event.position > after][:limit]
        assert self.runner.run(self.ledger.read(stream=stream, after=after, limit=limit)) == expected

    @rule(target=followers, stream=st.none() | STREAMS, after=st.integers(0, 60))
    def follow(self, stream: StreamId | None, after: int) -> Any:
        return [stream, after, self.ledger.follow(stream=stream, after=after), self.ledger]

    @rule(follower=followers)
    def hear(self, follower: Any) -> None:
        """As much as there is for it, in order, each once. One whose ledger was closed comes to its end."""
        stream, after, events, ledger = follower
        expected = [event for event in self.of(stream) if event.position > after]
        ended = ledger is not self.ledger

        async def take() -> list[Recorded]:
            if ended:
                return [event async for event in events]
            return [await anext(events) for _ in expected]

        heard = self.runner.run(take())
        assert heard == expected[: len(heard)]
        assert ended or len(heard) == len(expected)
        if heard:
            follower[1] = heard[-1].position

    @rule(follower=consumes(followers))
    def follow_no_more(self, follower: Any) -> None:
        self.runner.run(follower[2].aclose())

    @rule(stream=st.none() | STREAMS, seconds=st.integers(-1000, 1000))
    def at(self, stream: StreamId | None, seconds: int) -> None:
        moment = START + timedelta(seconds=seconds)
        expected = max((event.position for event in self.of(stream) if event.event.time <= moment), default=0)
        assert self.runner.run(self.ledger.at(moment, stream=stream)) == expected

    @rule(known=batches)
    def find(self, known: tuple[StreamId, list[Draft]]) -> None:
        event = next(event for event in self.model if event.event == known[1][0])
        assert self.runner.run(self.ledger.find(event.event.id)) == event
        assert self.runner.run(self.ledger.find(EventId("no such event"))) is None

    @rule()
    def verify(self) -> None:
        head = self.model[-1].hash if self.model else GENESIS
        assert self.runner.run(self.ledger.verify()) == (len(self.model), None, "", head, ())

    @rule(prefix=st.sampled_from(["", "run/", "run/a", "project/\u00fc", "x"]))
    def streams(self, prefix: str) -> None:
        expected = list(dict.fromkeys(event.stream for event in self.model if event.stream.startswith(prefix)))
        assert self.runner.run(self.ledger.streams(prefix)) == expected

    @invariant()
    def places_are_dense(self) -> None:
        assert [event.position for event in self.model] == list(range(1, len(self.model) + 1))
        assert [event.prevhash for event in self.model] == [GENESIS, *(event.hash for event in self.model)][:-1]


class MemoryLedgerMachine(LedgerMachine):
    def make(self) -> Ledger:
        return MemoryLedger(entropy=SeededEntropy(2))


class SqliteLedgerMachine(LedgerMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.origins: set[str] = set()

    def make(self) -> Ledger:
        ledger = SqliteLedger(Path(self.folder.name) / "ledger.db", clock=self.clock, entropy=SeededEntropy(2))
        self.origins.add(ledger.origin)
        assert len(self.origins) == 1
        return ledger

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.ledger.aclose())
        self.ledger = self.make()
        assert self.runner.run(self.ledger.read()) == self.model

    @rule(stream=STREAMS)
    def append_through_another_connection(self, stream: StreamId) -> None:
        """As another process would: this one's memory of heads and versions is stale afterwards."""
        other = self.make()
        self.model += self.runner.run(other.append(stream, self.drafts.many(2)))
        self.runner.run(other.aclose())


TestMemoryLedgerMachine = MemoryLedgerMachine.TestCase
TestMemoryLedgerMachine.settings = settings(stateful_step_count=40)
TestSqliteLedgerMachine = SqliteLedgerMachine.TestCase
TestSqliteLedgerMachine.settings = settings(stateful_step_count=40)
