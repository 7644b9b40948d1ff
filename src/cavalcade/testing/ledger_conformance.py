"""What every ledger must do, as one suite. A store's test file subclasses it and says how the store is made:

    class TestMyLedger(LedgerConformance):
        @pytest.fixture
        async def ledger(self): ...

Needs pytest with coroutine tests (pytest-asyncio in auto mode). What a store does with the chains of other origins is in
`ingest_conformance`, how it sends and receives in `outbox_conformance`, and both belong to it. A store whose content a test can
reach from outside also subclasses `DamageConformance`.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta

import msgspec
import pytest

from cavalcade.kernel.errors import LedgerDamaged, LedgerError, VersionConflict
from cavalcade.kernel.ids import EventId, StreamId
from cavalcade.ledger.chain import GENESIS, MAX_EVENT_BYTES
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.testing.clock import START, FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts
from cavalcade.testing.ingest_conformance import IngestConformance
from cavalcade.testing.outbox_conformance import OutboxConformance

A = StreamId("run/a")
B = StreamId("run/b")


async def take(events: AsyncIterator[Recorded], count: int) -> list[Recorded]:
    """The next `count` events of a follower."""
    return [await anext(events) for _ in range(count)]


class LedgerConformance(IngestConformance, OutboxConformance):
    """Subclasses give an empty, open ledger by a fixture named `ledger` and close it."""

    @pytest.fixture
    def drafts(self) -> Drafts:
        return Drafts(FakeClock(tick_s=0.001), SeededEntropy(11))

    # Appending

    async def test_an_append_gives_each_event_its_position_version_and_link(
        self, ledger: Ledger, drafts: Drafts
    ) -> None:
        batch = drafts.many(3)
        first = await ledger.append(A, batch[:2])
        second = await ledger.append(B, batch[2:])
        recorded = first + second
        assert [event.event for event in recorded] == batch
        assert [event.position for event in recorded] == [1, 2, 3]
        assert [event.originseq for event in recorded] == [1, 2, 3]
        assert [(event.stream, event.version) for event in recorded] == [(A, 1), (A, 2), (B, 1)]
        assert {event.origin for event in recorded} == {ledger.origin}
        assert [event.prevhash for event in recorded] == [GENESIS, *(event.hash for event in recorded[:2])]

    async def test_the_hash_is_sha256_over_prevhash_and_the_body_text(self, ledger: Ledger, drafts: Drafts) -> None:
        (event,) = await ledger.append(A, [drafts.one("\u00e9 \u4e16 \U0001f40e \\ \" '")])
        body = (
            f'{{"origin":"{event.origin}","originseq":1,"stream":"run/a","version":1,"event":'.encode()
            + msgspec.json.encode(event.event)
            + b"}"
        )
        assert event.hash == hashlib.sha256(GENESIS.encode() + body).hexdigest()

    async def test_what_was_appended_is_read_back_the_same(self, ledger: Ledger) -> None:
        draft = Draft(
            id=EventId("an id of another kind '\"\u00fc"),
            type="cavalcade.note.taken.v1",
            time=START + timedelta(microseconds=1),
            data=msgspec.Raw(b'{ "spaces" : [1, 2.50, "\\u00e9", null] }'),
            subject="src/\u00e9.py",
            tenant="t",
            agent="coder-1",
        )
        recorded = await ledger.append(A, [draft])
        assert recorded[0].event == draft
        assert await ledger.read() == recorded
        assert bytes((await ledger.read())[0].event.data) == b'{ "spaces" : [1, 2.50, "\\u00e9", null] }'
        assert await ledger.find(draft.id) == recorded[0]

    async def test_the_expected_version_must_be_exactly_right(self, ledger: Ledger, drafts: Drafts) -> None:
        await ledger.append(A, drafts.many(2), expected_version=0)
        for wrong in (0, 1, 3):
            with pytest.raises(VersionConflict, match="at version 2"):
                await ledger.append(A, drafts.many(1), expected_version=wrong)
        await ledger.append(A, drafts.many(1), expected_version=2)
        await ledger.append(A, drafts.many(1))
        assert await ledger.version(A) == 4
        assert await ledger.version(B) == 0

    async def test_of_many_who_expect_the_same_version_one_wins(self, ledger: Ledger, drafts: Drafts) -> None:
        attempts = [ledger.append(A, [draft], expected_version=0) for draft in drafts.many(20)]
        answers = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(answer, list) for answer in answers) == 1
        assert sum(isinstance(answer, VersionConflict) for answer in answers) == 19
        assert len(await ledger.read()) == 1

    async def test_an_empty_batch_only_checks_the_version(self, ledger: Ledger) -> None:
        assert await ledger.append(A, [], expected_version=0) == []
        with pytest.raises(VersionConflict):
            await ledger.append(A, [], expected_version=1)
        assert await ledger.streams() == []

    # Idempotency

    async def test_appending_a_known_batch_again_returns_what_was_recorded(
        self, ledger: Ledger, drafts: Drafts
    ) -> None:
        batch = drafts.many(3)
        recorded = await ledger.append(A, batch, expected_version=0)
        await ledger.append(A, drafts.many(1))
        for stale in (None, 0, 99):
            assert await ledger.append(A, batch, expected_version=stale) == recorded
        assert await ledger.append(A, batch[1:2]) == recorded[1:2]
        assert len(await ledger.read()) == 4

    @pytest.mark.parametrize("version", [0, None])
    async def test_the_same_batch_at_the_same_time_is_recorded_once(
        self, ledger: Ledger, drafts: Drafts, version: int | None
    ) -> None:
        batch = drafts.many(2)
        answers = await asyncio.gather(*(ledger.append(A, batch, expected_version=version) for _ in range(10)))
        assert all(answer == answers[0] for answer in answers)
        assert len(await ledger.read()) == 2
        assert (await ledger.verify()).bad_position is None

    async def test_a_repeat_does_not_disturb_those_who_append_beside_it(self, ledger: Ledger, drafts: Drafts) -> None:
        (known,) = await ledger.append(A, [draft := drafts.one()])
        fresh = drafts.many(5)
        answers = await asyncio.gather(
            ledger.append(A, [draft]),
            *(ledger.append(B, [event]) for event in fresh),
            ledger.append(A, [draft], expected_version=0),
        )
        assert answers[0] == answers[-1] == [known]
        assert [event.event for event in await ledger.read(stream=B)] == fresh

    async def test_a_batch_known_in_part_is_refused(self, ledger: Ledger, drafts: Drafts) -> None:
        batch = drafts.many(3)
        await ledger.append(A, batch[:1])
        for version in (None, 1):
            with pytest.raises(VersionConflict, match="1 of these 3"):
                await ledger.append(A, batch, expected_version=version)
        assert len(await ledger.read()) == 1

    async def test_an_id_never_gets_a_second_content_or_stream(self, ledger: Ledger, drafts: Drafts) -> None:
        draft = drafts.one("first")
        await ledger.append(A, [draft])
        with pytest.raises(LedgerError, match="another content"):
            await ledger.append(A, [drafts.one("second", id=draft.id, time=draft.time)])
        with pytest.raises(LedgerError, match="stream run/a"):
            await ledger.append(B, [draft])
        assert len(await ledger.read()) == 1

    async def test_an_id_twice_in_one_batch_is_refused(self, ledger: Ledger, drafts: Drafts) -> None:
        draft = drafts.one()
        with pytest.raises(LedgerError, match="more than once"):
            await ledger.append(A, [draft, draft])
        assert await ledger.read() == []

    # What can't be recorded

    async def test_an_event_over_the_budget_is_told_to_use_the_content_store(
        self, ledger: Ledger, drafts: Drafts
    ) -> None:
        spare = MAX_EVENT_BYTES - len(msgspec.json.encode(drafts.one("")))
        await ledger.append(A, [drafts.one("x" * spare)])
        with pytest.raises(LedgerError, match="content store"):
            await ledger.append(A, [drafts.one(), drafts.one("x" * (spare + 1))])
        assert len(await ledger.read()) == 1

    @pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'"text"', b"{} {}", b'{},"id":"x"', b'{"a":"\xff"}', b"nul"])
    async def test_data_that_is_no_json_object_is_refused(self, ledger: Ledger, drafts: Drafts, data: bytes) -> None:
        with pytest.raises(LedgerError):
            await ledger.append(A, [msgspec.structs.replace(drafts.one(), data=msgspec.Raw(data))])
        assert await ledger.read() == []

    async def test_a_time_without_zone_and_an_empty_name_are_refused(self, ledger: Ledger, drafts: Drafts) -> None:
        with pytest.raises(LedgerError, match="UTC"):
            await ledger.append(A, [drafts.one(time=datetime(2024, 1, 1))])  # noqa: DTZ001
        with pytest.raises(LedgerError, match="can't be recorded"):
            await ledger.append(A, [msgspec.structs.replace(drafts.one(), id=EventId(""))])
        for name in ("", "x" * 201):
            with pytest.raises(LedgerError, match="stream"):
                await ledger.append(StreamId(name), [drafts.one()])
        with pytest.raises(LedgerError, match="JSON"):
            await ledger.append(A, [msgspec.structs.replace(drafts.one(), subject="\ud800")])
        assert await ledger.read() == []

    # Reading

    async def test_reading_is_by_position_after_limit_and_stream(self, ledger: Ledger, drafts: Drafts) -> None:
        for number, draft in enumerate(drafts.many(600)):
            await ledger.append(A if number % 3 else B, [draft])
        everything = await ledger.read()
        assert [event.position for event in everything] == list(range(1, 601))
        assert await ledger.read(after=598) == everything[598:]
        assert await ledger.read(after=10, limit=300) == everything[10:310]
        assert await ledger.read(after=600) == []
        assert await ledger.read(limit=0) == []
        of_b = [event for event in everything if event.stream == B]
        assert await ledger.read(stream=B) == of_b
        assert await ledger.read(stream=B, after=of_b[4].position, limit=7) == of_b[5:12]
        assert await ledger.read(stream=StreamId("run/none")) == []

    async def test_streams_come_in_order_of_their_first_event(self, ledger: Ledger, drafts: Drafts) -> None:
        for name in ("run/z", "project/1", "run/a", "run/z", "run/%"):
            await ledger.append(StreamId(name), [drafts.one()])
        assert await ledger.streams() == ["run/z", "project/1", "run/a", "run/%"]
        assert await ledger.streams("run/") == ["run/z", "run/a", "run/%"]
        assert await ledger.streams("run/%") == ["run/%"]

    async def test_an_unknown_event_is_not_found(self, ledger: Ledger) -> None:
        assert await ledger.find(EventId("nobody")) is None

    # Moments

    async def test_at_is_the_greatest_position_whose_time_is_not_later(self, ledger: Ledger, drafts: Drafts) -> None:
        await self._append_at(ledger, drafts, [10, 20, 20, 30])
        assert [await self._at(ledger, second) for second in (9, 10, 15, 20, 29, 30, 99)] == [0, 1, 1, 3, 3, 4, 4]
        with pytest.raises(ValueError, match="zone"):
            await ledger.at(datetime(2024, 1, 1))  # noqa: DTZ001

    async def test_at_is_right_when_clocks_go_back_and_forth(self, ledger: Ledger, drafts: Drafts) -> None:
        seconds = [(number * 7919) % 997 for number in range(700)]
        await self._append_at(ledger, drafts, seconds)
        for moment in range(-1, 1000, 37):
            expected = max((number for number, second in enumerate(seconds, 1) if second <= moment), default=0)
            assert await self._at(ledger, moment) == expected
            expected = max(
                (number for number, second in enumerate(seconds, 1) if second <= moment and number % 2), default=0
            )
            assert await self._at(ledger, moment, stream=B) == expected

    async def test_at_finds_the_far_past_behind_complete_segments(self, ledger: Ledger, drafts: Drafts) -> None:
        await self._append_at(ledger, drafts, list(range(1, 1101)))
        for second in (1, 255, 256, 257, 512, 1024, 1025, 1100):
            assert await self._at(ledger, second) == second

    # Following

    async def test_a_follower_gets_the_past_then_what_is_new_without_a_gap(
        self, ledger: Ledger, drafts: Drafts
    ) -> None:
        await ledger.append(A, drafts.many(300))
        events = ledger.follow(after=5)
        past = await take(events, 295)
        appending = asyncio.gather(*(ledger.append(B, [draft]) for draft in drafts.many(50)))
        new = await take(events, 50)
        await appending
        assert [event.position for event in past + new] == list(range(6, 351))
        assert past + new == await ledger.read(after=5)

    async def test_a_follower_of_a_stream_gets_only_that_stream(self, ledger: Ledger, drafts: Drafts) -> None:
        events = ledger.follow(stream=B)
        waiting = asyncio.create_task(take(events, 2))
        await ledger.append(A, drafts.many(3))
        first = await ledger.append(B, drafts.many(1))
        await ledger.append(A, drafts.many(3))
        second = await ledger.append(B, drafts.many(1))
        assert await waiting == first + second

    async def test_a_cancelled_follower_leaves_others_and_the_ledger_alone(
        self, ledger: Ledger, drafts: Drafts
    ) -> None:
        cancelled = asyncio.create_task(take(ledger.follow(), 1))
        other = asyncio.create_task(take(ledger.follow(), 1))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        recorded = await ledger.append(A, drafts.many(1))
        assert await other == recorded

    async def test_followers_end_and_calls_fail_when_the_ledger_is_closed(self, ledger: Ledger, drafts: Drafts) -> None:
        recorded = await ledger.append(A, drafts.many(1))
        seen: list[Recorded] = []

        async def follow() -> None:
            async for event in ledger.follow():
                seen.append(event)
                reached.set()

        reached = asyncio.Event()
        following = asyncio.create_task(follow())
        await reached.wait()
        await ledger.aclose()
        await following
        await ledger.aclose()
        assert seen == recorded
        with pytest.raises(LedgerError, match="closed"):
            await ledger.append(A, drafts.many(1))
        with pytest.raises(LedgerError, match="closed"):
            await ledger.read()

    # Many callers

    async def test_concurrent_appends_make_one_dense_chain(self, ledger: Ledger, drafts: Drafts) -> None:
        batches = [drafts.many(1 + number % 3) for number in range(200)]
        answers = await asyncio.gather(
            *(ledger.append(StreamId(f"run/{number % 7}"), batch) for number, batch in enumerate(batches))
        )
        everything = await ledger.read()
        assert sorted((event for answer in answers for event in answer), key=_position) == everything
        assert [event.position for event in everything] == list(range(1, len(everything) + 1))
        # A batch lies together.
        assert all(_positions(answer) == list(range(answer[0].position, answer[-1].position + 1)) for answer in answers)
        assert await ledger.verify() == (len(everything), None, "", everything[-1].hash, ())

    async def test_event_loops_in_several_threads_may_append_and_follow(self, ledger: Ledger) -> None:
        async def work(seed: int) -> None:
            drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(seed))
            events = ledger.follow(stream=StreamId(f"run/{seed}"))
            batch = drafts.many(20)
            for draft in batch:
                await ledger.append(StreamId(f"run/{seed}"), [draft])
            assert [event.event for event in await take(events, 20)] == batch
            finished.append(seed)

        finished: list[int] = []
        threads = [threading.Thread(target=_run, args=(work(seed),)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert sorted(finished) == [0, 1, 2, 3]
        assert (await ledger.verify()).events == 80

    # The chain

    async def test_an_empty_ledger_is_whole(self, ledger: Ledger) -> None:
        assert await ledger.verify() == (0, None, "", GENESIS, ())

    async def _append_at(self, ledger: Ledger, drafts: Drafts, seconds: Sequence[int]) -> None:
        batch = [drafts.one(time=START + timedelta(seconds=second)) for second in seconds]
        for number, draft in enumerate(batch, 1):
            await ledger.append(B if number % 2 else A, [draft])

    async def _at(self, ledger: Ledger, second: int, *, stream: StreamId | None = None) -> int:
        return await ledger.at(START + timedelta(seconds=second), stream=stream)


class DamageConformance:
    """What a store does that was changed behind its back.

    Subclasses give `ledger`, and a fixture `alter`: a coroutine function that changes a letter in the stored body of the event at a
    position.
    """

    async def test_an_altered_event_is_never_read_and_its_position_named(
        self, ledger: Ledger, alter: Callable[[int], Awaitable[None]]
    ) -> None:
        drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(11))
        other = MemoryLedger(entropy=SeededEntropy(77))
        await other.append(A, drafts.many(200))
        await ledger.append(A, drafts.many(100))
        await ledger.ingest(other.origin, await other.sealed(other.origin, limit=200))
        await ledger.append(A, drafts.many(100))
        before = await ledger.read()
        for position in (250, 50):
            await alter(position)
            found = await ledger.verify()
            assert (found.bad_position, found.events) == (position, position - 1)
            assert found.head == before[position - 2].hash
            assert await ledger.read(limit=position - 1) == before[: position - 1]
            for read in (ledger.read(), ledger.read(stream=A), ledger.find(before[position - 1].event.id)):
                with pytest.raises(LedgerDamaged, match=f"position {position}"):
                    await read
            with pytest.raises(LedgerDamaged, match=f"position {position}"):
                await ledger.sealed(before[position - 1].origin, limit=1000)
        await other.aclose()


def _run(work: Coroutine[object, object, None]) -> None:
    """In an event loop of its own."""
    asyncio.run(work)


def _position(event: Recorded) -> int:
    return event.position


def _positions(events: Sequence[Recorded]) -> list[int]:
    return [event.position for event in events]
