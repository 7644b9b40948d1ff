"""Whatever is done to a ledger, in whatever order, and wherever its process dies, it answers as a plain list would."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
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
    run_state_machine_as_test,
)

from cavalcade.kernel.errors import ChainDiverged, LedgerError, SequenceGap, VersionConflict
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger.chain import GENESIS
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.ledger.sealing import NOTHING
from cavalcade.ledger.sqlite import FAULT_POINTS, SqliteLedger
from cavalcade.protocol.envelope import Draft, Recorded, Sealed
from cavalcade.testing.clock import START, FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts, seal
from cavalcade.testing.postgres_server import PostgresServer

PEERS = st.integers(0, 1)
STREAMS = st.sampled_from([StreamId("run/a"), StreamId("run/b"), StreamId("project/\u00fc")])
JUMPS = st.integers(-400, 400)


def fold(state: dict[StreamId, str], event: Recorded) -> dict[StreamId, str]:
    """A state that knows which events of each stream came in which order."""
    before = state.get(event.stream, "")
    return state | {event.stream: hashlib.sha256(f"{before}{event.version}{event.hash}".encode()).hexdigest()}


class LedgerMachine(RuleBasedStateMachine):
    """The model is `self.model`: what was recorded, in order. `self.peers` are other origins, whose chains it takes in."""

    batches: Bundle[tuple[StreamId, list[Draft]]] = Bundle("batches")
    followers: Bundle[Any] = Bundle("followers")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(tick_s=1.0)
        self.drafts = Drafts(self.clock, SeededEntropy(1))
        self.model: list[Recorded] = []
        self.peers = [MemoryLedger(entropy=SeededEntropy(seed)) for seed in (101, 102)]
        self.live: dict[StreamId, str] = {}
        self.live_until = 0
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

    def taken(self, origin: OriginId) -> list[Recorded]:
        return [event for event in self.model if event.origin == origin]

    def sealed(self, peer: MemoryLedger, after: int, limit: int) -> list[Sealed]:
        return self.runner.run(peer.sealed(peer.origin, after=max(after, 0), limit=limit))

    def take_into_model(self, peer: MemoryLedger, head: OriginHead) -> None:
        """What is new up to a head gets the next places, and is otherwise as the peer recorded it."""
        own = [event for event in self.runner.run(peer.read()) if event.origin == peer.origin]
        for event in own[len(self.taken(peer.origin)) : head.seq]:
            place = {"position": len(self.model) + 1, "version": self.version(event.stream) + 1}
            self.model.append(msgspec.structs.replace(event, **place))

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

    @rule(stream=STREAMS, size=st.integers(1, 3), check=st.booleans())
    def append_the_same_at_the_same_time(self, stream: StreamId, size: int, check: bool) -> None:
        batch = self.drafts.many(size)
        version = self.version(stream) if check else None

        async def everybody() -> list[list[Recorded]]:
            return await asyncio.gather(
                *(self.ledger.append(stream, batch, expected_version=version) for _ in range(3))
            )

        answers = self.runner.run(everybody())
        assert answers == [answers[0]] * 3
        self.model += answers[0]

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

    @rule(peer=PEERS, stream=STREAMS, size=st.integers(1, 4), jump=JUMPS)
    def a_peer_appends(self, peer: int, stream: StreamId, size: int, jump: int) -> None:
        self.clock.jump(jump)
        self.runner.run(self.peers[peer].append(stream, self.drafts.many(size)))

    @rule(peer=PEERS)
    def a_peer_takes_in_the_own_chain(self, peer: int) -> None:
        sealed = self.runner.run(self.ledger.sealed(self.ledger.origin, limit=1000))
        self.runner.run(self.peers[peer].ingest(self.ledger.origin, sealed))

    @rule(peer=PEERS, back=st.integers(0, 4), limit=st.integers(0, 9))
    def ingest(self, peer: int, back: int, limit: int) -> None:
        """Some that are known, some that are new."""
        origin = self.peers[peer].origin
        batch = self.sealed(self.peers[peer], len(self.taken(origin)) - back, limit)
        head = self.runner.run(self.ledger.ingest(origin, batch))
        self.take_into_model(self.peers[peer], head)
        held = self.taken(origin)
        assert head == (OriginHead(len(held), held[-1].hash) if held else NOTHING)
        assert not batch or head.seq >= msgspec.json.decode(batch[-1].body)["originseq"]

    @rule(peer=PEERS, missing=st.integers(1, 3))
    def ingest_with_a_gap(self, peer: int, missing: int) -> None:
        held = len(self.taken(self.peers[peer].origin))
        if batch := self.sealed(self.peers[peer], held + missing, 5):
            with pytest.raises(SequenceGap) as caught:
                self.runner.run(self.ledger.ingest(self.peers[peer].origin, batch))
            assert caught.value.next_seq == held + 1

    @rule(peer=PEERS, own=st.booleans())
    def ingest_another_history(self, peer: int, own: bool) -> None:
        origin = self.ledger.origin if own else self.peers[peer].origin
        held = self.taken(origin)
        after = OriginHead(len(held) - 1, held[-1].prevhash) if held else NOTHING
        if own or held:
            batch = seal(origin, [(StreamId("run/a"), 900, self.drafts.one("another"))], after=after)
            with pytest.raises(ChainDiverged):
                self.runner.run(self.ledger.ingest(origin, batch))

    @rule()
    def heads_and_sealed_chains_are_those_of_the_origins(self) -> None:
        origins = list(dict.fromkeys(event.origin for event in self.model))
        heads = {origin: OriginHead(len(held), held[-1].hash) for origin in origins if (held := self.taken(origin))}
        assert list(self.runner.run(self.ledger.heads()).items()) == list(heads.items())
        for peer in self.peers:
            held = len(self.taken(peer.origin))
            passed_on = self.runner.run(self.ledger.sealed(peer.origin, limit=1000))
            assert passed_on == (self.sealed(peer, 0, held) if held else [])

    @rule()
    def what_was_followed_and_what_is_replayed_fold_to_the_same_state(self) -> None:
        async def follow(count: int) -> list[Recorded]:
            events = self.ledger.follow(after=self.live_until)
            return [await anext(events) for _ in range(count)]

        for event in self.runner.run(follow(len(self.model) - self.live_until)):
            self.live, self.live_until = fold(self.live, event), event.position
        replayed: dict[StreamId, str] = {}
        for event in self.runner.run(self.ledger.read()):
            replayed = fold(replayed, event)
        assert replayed == self.live

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
        for origin in {event.origin for event in self.model}:
            chain = self.taken(origin)
            assert [event.prevhash for event in chain] == [GENESIS, *(event.hash for event in chain)][:-1]
            assert [event.originseq for event in chain] == list(range(1, len(chain) + 1))
        for stream in {event.stream for event in self.model}:
            events = self.of(stream)
            assert [event.version for event in events] == list(range(1, len(events) + 1))


class MemoryLedgerMachine(LedgerMachine):
    def make(self) -> Ledger:
        return MemoryLedger(entropy=SeededEntropy(2))


class SqliteLedgerMachine(LedgerMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folders = tempfile.TemporaryDirectory()
        self.folder = Path(self.folders.name) / "0"
        self.folder.mkdir()
        self.origins: set[str] = set()
        self.crash_at = ""

    def make(self) -> Ledger:
        path = self.folder / "ledger.db"
        ledger = SqliteLedger(path, clock=self.clock, entropy=SeededEntropy(2), fault_point=self.image)
        self.origins.add(ledger.origin)
        assert len(self.origins) == 1
        return ledger

    def image(self, step: str) -> None:
        """What is in the files when the process dies at this step: its memory, `-shm` too, is gone."""
        if step == self.crash_at:
            self.crash_at = ""
            image = self.folder.with_name(str(int(self.folder.name) + 1))
            image.mkdir()
            for suffix in ("", "-wal", "-head"):
                if (file := self.folder / f"ledger.db{suffix}").exists():
                    shutil.copy(file, image)

    def die(self) -> None:
        """The process ended where the image was taken; the next one opens that."""
        self.runner.run(self.ledger.aclose())
        self.folder = self.folder.with_name(str(int(self.folder.name) + 1))
        self.ledger = self.make()

    def teardown(self) -> None:
        super().teardown()
        self.folders.cleanup()

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.ledger.aclose())
        self.ledger = self.make()
        assert self.runner.run(self.ledger.read()) == self.model

    @rule(step=st.sampled_from(FAULT_POINTS), stream=STREAMS, size=st.integers(1, 3))
    def crash_while_appending_and_repeat(self, step: str, stream: StreamId, size: int) -> None:
        batch = self.drafts.many(size)
        self.crash_at = step
        recorded = self.runner.run(self.ledger.append(stream, batch))
        self.die()
        if FAULT_POINTS.index(step) < FAULT_POINTS.index("committed"):
            assert self.runner.run(self.ledger.read()) == self.model
        assert self.runner.run(self.ledger.append(stream, batch)) == recorded
        self.model += recorded
        assert self.runner.run(self.ledger.read()) == self.model

    @rule(step=st.sampled_from(FAULT_POINTS), peer=PEERS, limit=st.integers(1, 5))
    def crash_while_taking_in_and_repeat(self, step: str, peer: int, limit: int) -> None:
        batch = self.sealed(self.peers[peer], len(self.taken(self.peers[peer].origin)), limit)
        if not batch:
            return
        self.crash_at = step
        head = self.runner.run(self.ledger.ingest(self.peers[peer].origin, batch))
        self.die()
        if FAULT_POINTS.index(step) < FAULT_POINTS.index("committed"):
            assert self.runner.run(self.ledger.read()) == self.model
        assert self.runner.run(self.ledger.ingest(self.peers[peer].origin, batch)) == head
        self.take_into_model(self.peers[peer], head)
        assert self.runner.run(self.ledger.read()) == self.model

    @rule(stream=STREAMS)
    def append_through_another_connection(self, stream: StreamId) -> None:
        """As another process would: this one's memory of heads and versions is stale afterwards."""
        other = self.make()
        self.model += self.runner.run(other.append(stream, self.drafts.many(2)))
        self.runner.run(other.aclose())

    @rule(peer=PEERS)
    def ingest_through_another_connection(self, peer: int) -> None:
        other = self.make()
        batch = self.sealed(self.peers[peer], 0, 1000)
        head = self.runner.run(other.ingest(self.peers[peer].origin, batch))
        self.take_into_model(self.peers[peer], head)
        self.runner.run(other.aclose())


class PostgresLedgerMachine(LedgerMachine):
    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self.url = server.new_database()

    def make(self) -> Ledger:
        return PostgresLedger(self.url, clock=self.clock, entropy=SeededEntropy(2))

    @rule(stream=STREAMS)
    def append_as_another_process(self, stream: StreamId) -> None:
        """This one's memory of heads and versions is stale afterwards."""
        other = self.make()
        self.model += self.runner.run(other.append(stream, self.drafts.many(2)))
        self.runner.run(other.aclose())

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.ledger.aclose())
        self.ledger = self.make()
        assert self.runner.run(self.ledger.read()) == self.model


TestMemoryLedgerMachine = MemoryLedgerMachine.TestCase
TestMemoryLedgerMachine.settings = settings(stateful_step_count=40)
TestSqliteLedgerMachine = SqliteLedgerMachine.TestCase
TestSqliteLedgerMachine.settings = settings(stateful_step_count=40)


def test_a_postgres_ledger_answers_as_a_plain_list_would(postgres: PostgresServer) -> None:
    class Machine(PostgresLedgerMachine):
        def __init__(self) -> None:
            super().__init__(postgres)

    run_state_machine_as_test(Machine, settings=settings(stateful_step_count=30, max_examples=12, deadline=None))
