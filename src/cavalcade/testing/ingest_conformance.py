"""What every ledger must do with the chains of other origins, as one suite; a part of `ledger_conformance.LedgerConformance`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import msgspec
import pytest

from cavalcade.kernel.errors import ChainDiverged, LedgerError, SequenceGap
from cavalcade.kernel.ids import EventId, OriginId, StreamId, node_stream
from cavalcade.ledger.chain import GENESIS
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.ledger.sealing import MAX_BODY_BYTES, NOTHING
from cavalcade.ledger.signing import WINDOW, SigningKey, SigningLedger
from cavalcade.protocol.envelope import Draft, Recorded, Sealed
from cavalcade.protocol.events import HeadSigned, encode
from cavalcade.testing.clock import START, FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts, seal

A = StreamId("run/a")
B = StreamId("run/b")
FOREIGN = OriginId("o-foreign")


async def whole(ledger: Ledger, origin: OriginId | None = None) -> list[Sealed]:
    """The chain of one origin, its own without a name."""
    return await ledger.sealed(origin or ledger.origin, limit=100_000)


class IngestConformance:
    """Subclasses give an empty, open ledger by a fixture named `ledger`, and `drafts`."""

    @pytest.fixture
    async def other(self) -> AsyncIterator[Ledger]:
        """Another origin's ledger."""
        ledger = MemoryLedger(entropy=SeededEntropy(77))
        yield ledger
        await ledger.aclose()

    # Giving

    async def test_the_own_chain_is_sealed_as_it_was_hashed(self, ledger: Ledger, drafts: Drafts) -> None:
        assert await ledger.heads() == {}
        assert await whole(ledger) == []
        recorded = await ledger.append(A, drafts.many(2)) + await ledger.append(B, drafts.many(1))
        sealed = await whole(ledger)
        assert [event.hash for event in sealed] == [event.hash for event in recorded]
        assert sealed == seal(ledger.origin, [(event.stream, event.version, event.event) for event in recorded])
        assert await ledger.heads() == {ledger.origin: OriginHead(3, recorded[-1].hash)}

    async def test_sealed_events_come_by_sequence_number_and_limit(self, ledger: Ledger, drafts: Drafts) -> None:
        await ledger.append(A, drafts.many(600))
        sealed = await whole(ledger)
        assert len(sealed) == 600
        assert await ledger.sealed(ledger.origin, after=597, limit=10) == sealed[597:]
        assert await ledger.sealed(ledger.origin, after=10, limit=300) == sealed[10:310]
        assert await ledger.sealed(ledger.origin, after=600, limit=10) == []
        assert await ledger.sealed(ledger.origin, limit=0) == []
        assert await ledger.sealed(OriginId("nobody"), limit=10) == []

    # Taking in

    async def test_what_is_taken_in_gets_its_place_here_and_keeps_its_link(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        await ledger.append(A, drafts.many(2))
        theirs = await other.append(A, drafts.many(3))
        assert await ledger.ingest(other.origin, await whole(other)) == OriginHead(3, theirs[-1].hash)
        await ledger.append(A, drafts.many(1))
        here = await ledger.read()
        assert [event.position for event in here] == [1, 2, 3, 4, 5, 6]
        assert [event.version for event in here] == [1, 2, 3, 4, 5, 6]
        assert here[2:5] == [
            msgspec.structs.replace(event, position=event.position + 2, version=event.version + 2) for event in theirs
        ]
        assert here[5].prevhash == here[1].hash
        assert await ledger.find(theirs[1].event.id) == here[3]
        assert await ledger.version(A) == 6
        assert await whole(ledger, other.origin) == await whole(other)
        assert await ledger.verify() == (6, None, "", here[-1].hash, ())

    async def test_origins_come_in_the_order_of_their_first_event_here(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        theirs = await other.append(B, drafts.many(1))
        await ledger.ingest(other.origin, await whole(other))
        (own,) = await ledger.append(A, drafts.many(1))
        heads = await ledger.heads()
        assert list(heads.items()) == [
            (other.origin, OriginHead(1, theirs[0].hash)),
            (ledger.origin, OriginHead(1, own.hash)),
        ]
        assert own.prevhash == GENESIS
        assert await ledger.streams() == [B, A]

    async def test_taking_in_again_or_beginning_with_what_is_known_changes_nothing(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        await other.append(A, drafts.many(10))
        sealed = await whole(other)
        assert await ledger.ingest(other.origin, []) == NOTHING
        assert await ledger.ingest(other.origin, sealed[:4]) == OriginHead(4, sealed[3].hash)
        await ledger.append(A, drafts.many(1))
        for part, until in ((sealed[:4], 4), (sealed[1:3], 4), (sealed[2:7], 7), (sealed, 10), (sealed, 10), ([], 10)):
            assert await ledger.ingest(other.origin, part) == OriginHead(until, sealed[until - 1].hash)
        assert [event.position for event in await ledger.read()] == list(range(1, 12))
        assert await whole(ledger, other.origin) == sealed
        assert (await ledger.verify()).bad_position is None

    async def test_an_event_known_by_ingest_is_known_to_append(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        batch = drafts.many(2)
        await other.append(A, batch)
        await ledger.ingest(other.origin, await whole(other))
        assert await ledger.append(A, batch, expected_version=0) == await ledger.read()
        with pytest.raises(LedgerError, match="stream run/a"):
            await ledger.append(B, batch[:1])
        assert len(await ledger.read()) == 2

    async def test_an_event_appended_and_taken_in_at_the_same_time_is_recorded_once(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        """Whichever comes first. An append finds what was taken in; what was appended here is no event of another's chain."""
        batches = [drafts.many(2) for _ in range(10)]
        for batch in batches:
            await other.append(A, batch)
        sealed = await whole(other)
        for number, batch in enumerate(batches):
            taking_in = ledger.ingest(other.origin, sealed[: 2 * number + 2])
            appending = ledger.append(A, batch)
            both = (taking_in, appending) if number < 9 else (appending, taking_in)
            first, second = await asyncio.gather(*both, return_exceptions=True)
            assert not isinstance(first, BaseException)
            assert isinstance(second, ChainDiverged) == (number == 9)
        assert [event.event for event in await ledger.read()] == [draft for batch in batches for draft in batch]
        assert (await ledger.verify()).bad_position is None

    async def test_a_chain_passed_on_by_a_third_is_the_same_chain(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        third = MemoryLedger(entropy=SeededEntropy(78))
        await other.append(A, drafts.many(3))
        await third.append(A, drafts.many(2))
        await third.ingest(other.origin, await whole(other))
        for origin in await third.heads():
            await ledger.ingest(origin, await whole(third, origin))
        assert await ledger.heads() == await third.heads()
        assert [event.event for event in await ledger.read()] == [event.event for event in await third.read()]
        assert (await ledger.verify()).bad_position is None
        await third.aclose()

    async def test_ledgers_that_exchange_what_they_have_hold_the_same_events(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        for _ in range(3):
            await ledger.append(A, drafts.many(2))
            await other.append(A, drafts.many(3))
            await ledger.ingest(other.origin, await whole(other))
            await other.ingest(ledger.origin, await whole(ledger))
        assert await ledger.heads() == await other.heads()
        assert {event.event.id for event in await ledger.read()} == {event.event.id for event in await other.read()}
        assert await ledger.version(A) == await other.version(A) == 15
        for one in (ledger, other):
            assert (await one.verify()).bad_position is None

    # What is refused

    async def test_a_gap_is_refused_and_says_what_is_missing(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        await other.append(A, drafts.many(10))
        sealed = await whole(other)
        await self._refuses(ledger, SequenceGap, other.origin, sealed[1:], 0)
        await ledger.ingest(other.origin, sealed[:4])
        with pytest.raises(SequenceGap) as caught:
            await ledger.ingest(other.origin, sealed[6:])
        assert caught.value.next_seq == 5
        with pytest.raises(SequenceGap) as caught:
            await ledger.ingest(other.origin, [*sealed[3:6], *sealed[7:]])
        assert caught.value.next_seq == 7
        assert len(await ledger.read()) == 4

    async def test_another_history_of_an_origin_is_refused(self, ledger: Ledger, drafts: Drafts) -> None:
        batch = [(A, number, draft) for number, draft in enumerate(drafts.many(5), 1)]
        one = seal(FOREIGN, batch)
        two = seal(FOREIGN, [*batch[:2], (A, 3, drafts.one("other")), *batch[3:]])
        await ledger.ingest(FOREIGN, one[:4])
        for history in (two, two[2:], two[3:], two[4:], [*one[:2], *two[2:3]], [*one, two[3]]):
            await self._refuses(ledger, ChainDiverged, FOREIGN, history, 4)
        assert await ledger.ingest(FOREIGN, one) == OriginHead(5, one[-1].hash)

    async def test_an_altered_event_is_refused_known_or_new(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        await other.append(A, drafts.many(3))
        first, second, third = await whole(other)
        await ledger.ingest(other.origin, [first, second])
        for bad in (
            Sealed(hash=first.hash, body=first.body.replace('"note":"0"', '"note":"9"')),
            Sealed(hash=third.hash, body=first.body),
            Sealed(hash=second.hash, body=second.body + " "),
            Sealed(hash=third.hash, body=third.body.replace('"note":"2"', '"note":"9"')),
            Sealed(hash=second.hash, body=third.body),
            Sealed(hash=third.hash.upper(), body=third.body),
            Sealed(hash="", body=third.body),
            Sealed(hash=third.hash, body=third.body[:-1]),
            Sealed(hash=third.hash, body="\ud800"),
        ):
            await self._refuses(ledger, ChainDiverged, other.origin, [bad], 2)
        await self._refuses(ledger, ChainDiverged, OriginId("o-else"), [first], 2)

    async def test_an_origin_that_could_not_be_is_refused(self, ledger: Ledger, drafts: Drafts) -> None:
        for name in ("", "x" * 101):
            sealed = seal(OriginId(name), [(A, 1, drafts.one())])
            await self._refuses(ledger, LedgerError, OriginId(name), sealed, 0)

    async def test_nobody_else_continues_the_own_chain(self, ledger: Ledger, drafts: Drafts) -> None:
        recorded = await ledger.append(A, drafts.many(2))
        own = await whole(ledger)
        head = OriginHead(2, recorded[-1].hash)
        assert await ledger.ingest(ledger.origin, own) == head
        more = seal(ledger.origin, [(A, 3, drafts.one()), (A, 4, drafts.one())], after=head)
        for batch in (more, more[1:], [*own, *more]):
            await self._refuses(ledger, ChainDiverged, ledger.origin, batch, 2)

    async def test_an_id_that_another_event_has_is_refused(self, ledger: Ledger, drafts: Drafts) -> None:
        known, fresh = drafts.one(), drafts.one()
        await ledger.append(A, [known])
        await self._refuses(ledger, ChainDiverged, FOREIGN, seal(FOREIGN, [(A, 1, fresh), (A, 2, known)]), 1)
        await self._refuses(ledger, ChainDiverged, FOREIGN, seal(FOREIGN, [(A, 1, fresh), (B, 1, fresh)]), 1)

    async def test_versions_at_an_origin_rise(self, ledger: Ledger, drafts: Drafts) -> None:
        """Not by one: that origin may hold others' events of the stream."""
        sealed = seal(FOREIGN, [(A, 3, drafts.one()), (A, 7, drafts.one()), (B, 2, drafts.one())])
        head = await ledger.ingest(FOREIGN, sealed)
        assert [(event.stream, event.version) for event in await ledger.read()] == [(A, 1), (A, 2), (B, 1)]
        for version in (0, -1, 6, 7, 2**60):
            sealed = seal(FOREIGN, [(A, version, drafts.one())], after=head)
            await self._refuses(ledger, ChainDiverged, FOREIGN, sealed, 3)
        sealed = seal(FOREIGN, [(B, 3, drafts.one()), (B, 3, drafts.one())], after=head)
        await self._refuses(ledger, ChainDiverged, FOREIGN, sealed, 3)
        await ledger.ingest(FOREIGN, seal(FOREIGN, [(A, 8, drafts.one())], after=head))
        assert (await ledger.verify()).bad_position is None

    async def test_what_no_ledger_records_is_not_taken_in(self, ledger: Ledger, drafts: Drafts) -> None:
        good = drafts.one()
        for stream, draft in (
            (StreamId(""), good),
            (StreamId("x" * 201), good),
            (A, msgspec.structs.replace(good, id=EventId(""))),
            (A, msgspec.structs.replace(good, time=datetime(2024, 1, 1))),  # noqa: DTZ001
            (A, msgspec.structs.replace(good, data=msgspec.Raw(b"[1]"))),
            (A, drafts.one("x" * (MAX_BODY_BYTES + 1))),
        ):
            await self._refuses(
                ledger, LedgerError, FOREIGN, seal(FOREIGN, [(A, 1, drafts.one()), (stream, 2, draft)]), 0
            )

    # Reading, following

    async def test_following_finding_and_moments_are_right_over_origins(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        everything, of_stream = ledger.follow(), ledger.follow(stream=A)
        heard = asyncio.create_task(_take(everything, 600))
        heard_of_stream = asyncio.create_task(_take(of_stream, 400))
        await other.append(A, [drafts.one(time=START + timedelta(seconds=second)) for second in range(300)])
        sealed = await whole(other)
        for start in range(0, 300, 50):
            await ledger.ingest(other.origin, sealed[start : start + 50])
            batch = [drafts.one(time=START + timedelta(seconds=1000 + start + number)) for number in range(50)]
            await ledger.append(B if start >= 100 else A, batch)
        recorded = await ledger.read()
        assert await heard == recorded
        assert await heard_of_stream == await ledger.read(stream=A)
        assert [event.position for event in recorded] == list(range(1, 601))
        assert [event.version for event in recorded if event.stream == A] == list(range(1, 401))
        for second in (0, 49, 120, 299, 1010, 1299):
            moment = START + timedelta(seconds=second)
            for stream in (None, A, B):
                expected = [e.position for e in recorded if e.event.time <= moment and stream in (None, e.stream)]
                assert await ledger.at(moment, stream=stream) == max(expected, default=0)

    async def test_appends_and_ingests_at_the_same_time_make_one_dense_ledger(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        await other.append(A, drafts.many(60))
        sealed = await whole(other)
        await asyncio.gather(
            *(ledger.append(A if number % 2 else B, drafts.many(2)) for number in range(20)),
            *(ledger.ingest(other.origin, sealed[: 10 + 5 * number]) for number in range(11)),
            *(ledger.append(A, drafts.many(1)) for _ in range(20)),
        )
        recorded = await ledger.read()
        assert [event.position for event in recorded] == list(range(1, 121))
        assert [event.event for event in recorded if event.origin == other.origin] == [
            event.event for event in await other.read()
        ]
        assert await ledger.version(A) == sum(event.stream == A for event in recorded)
        found = await ledger.verify()
        assert (found.events, found.bad_position, found.problem) == (120, None, "")

    async def test_a_closed_ledger_takes_nothing_in(self, ledger: Ledger, other: Ledger, drafts: Drafts) -> None:
        await other.append(A, drafts.many(1))
        sealed = await whole(other)
        await ledger.aclose()
        with pytest.raises(LedgerError, match="closed"):
            await ledger.ingest(other.origin, sealed)
        with pytest.raises(LedgerError, match="closed"):
            await ledger.sealed(other.origin, limit=1)
        with pytest.raises(LedgerError, match="closed"):
            await ledger.heads()

    # Signed heads

    async def test_signed_heads_are_told_by_origin_and_pinned_keys_must_have_made_them(
        self, ledger: Ledger, drafts: Drafts
    ) -> None:
        ours, theirs = SigningKey(b"1" * 32), SigningKey(b"2" * 32)
        other = signing(MemoryLedger(entropy=SeededEntropy(77)), theirs)
        own = signing(ledger, ours)
        await own.append(A, drafts.many(3))
        await own.sign()
        await own.sign()
        await other.append(A, drafts.many(2))
        await other.sign()
        await ledger.ingest(other.origin, await whole(other))
        await own.append(A, drafts.many(1))
        await own.sign()
        found = await ledger.verify()
        assert found.signed == (
            (ledger.origin, ours.public, 2, 5, 9),
            (other.origin, theirs.public, 1, 2, 7),
        )
        assert await ledger.verify(keys=[ours.public, theirs.public.upper()]) == found
        assert (await ledger.verify(keys=[ours.public])).bad_position == 7
        assert (await ledger.verify(keys=[theirs.public])).bad_position == 4
        await other.aclose()

    async def test_a_pinned_key_that_signed_nothing_is_told(self, ledger: Ledger, drafts: Drafts) -> None:
        await ledger.append(A, drafts.many(1))
        found = await ledger.verify(keys=["0" * 64])
        assert (found.events, found.bad_position) == (1, 0)
        assert "signed" in found.problem

    async def test_verify_names_a_wrong_signature_and_a_changed_key(self, ledger: Ledger, drafts: Drafts) -> None:
        key = SigningKey(b"1" * 32)
        own = signing(ledger, key)
        await own.append(A, drafts.many(2))
        await own.sign()
        await own.append(A, drafts.many(1))
        head = (await ledger.heads())[ledger.origin]
        signed = SigningKey(b"3" * 32).sign(ledger.origin, head)
        await ledger.append(node_stream(ledger.origin), [_draft(drafts, signed)])
        found = await ledger.verify()
        assert (found.bad_position, found.events) == (5, 4)
        assert found.problem.startswith("wrong key")
        assert (await ledger.verify(keys=[key.public, signed.key])).bad_position is None

    @pytest.mark.parametrize("kind", ["signature", "head", "seq", "late", "ahead", "origin", "key", "data"])
    async def test_a_wrong_signed_head_is_named_here_and_not_taken_in_from_elsewhere(
        self, ledger: Ledger, drafts: Drafts, kind: str
    ) -> None:
        await ledger.append(A, drafts.many(3))
        head = (await ledger.heads())[ledger.origin]
        wrong = _wrongly_signed(drafts, kind, ledger.origin, head)
        await ledger.append(node_stream(ledger.origin), [wrong])
        found = await ledger.verify()
        assert (found.bad_position, found.events) == (4, 3)
        assert found.problem.startswith("wrong signature")
        batch = seal(FOREIGN, [(A, number, draft) for number, draft in enumerate(drafts.many(3), 1)])
        bad = _wrongly_signed(drafts, kind, FOREIGN, OriginHead(3, batch[-1].hash))
        batch += seal(FOREIGN, [(node_stream(FOREIGN), 1, bad)], after=OriginHead(3, batch[-1].hash))
        await self._refuses(ledger, ChainDiverged, FOREIGN, batch, 4)
        await self._refuses(ledger, ChainDiverged, FOREIGN, batch, 4)

    async def test_a_signature_that_was_overtaken_says_nothing_and_does_no_harm(
        self, ledger: Ledger, other: Ledger, drafts: Drafts
    ) -> None:
        """Another process may record much between the look at the head and the signature."""
        key = SigningKey(b"1" * 32)
        await other.append(A, drafts.many(2))
        head = (await other.heads())[other.origin]
        await other.append(A, drafts.many(WINDOW - 1))
        await other.append(node_stream(other.origin), [_draft(drafts, key.sign(other.origin, head))])
        assert (await other.verify()).signed == ((other.origin, key.public, 1, 2, WINDOW + 2),)
        await other.append(node_stream(other.origin), [_draft(drafts, key.sign(other.origin, head))])
        await ledger.ingest(other.origin, await whole(other))
        for one in (ledger, other):
            found = await one.verify()
            assert found.bad_position is None
            assert found.signed == ((other.origin, key.public, 1, 2, WINDOW + 2),)

    async def test_another_origin_keeps_the_key_it_began_with(self, ledger: Ledger, drafts: Drafts) -> None:
        other = MemoryLedger(entropy=SeededEntropy(77))
        for seed in (b"1", b"2"):
            own = signing(other, SigningKey(seed * 32))
            await own.append(A, drafts.many(2))
            await own.sign()
        sealed = await whole(other)
        await self._refuses(ledger, ChainDiverged, other.origin, sealed, 0)
        await ledger.ingest(other.origin, sealed[:5])
        await self._refuses(ledger, ChainDiverged, other.origin, sealed, 5)
        assert (await ledger.verify()).signed[0].key == SigningKey(b"1" * 32).public

    async def _refuses(
        self, ledger: Ledger, error: type[LedgerError], origin: OriginId, events: Sequence[Sealed], held: int
    ) -> None:
        """Refused, and nothing of it is recorded."""
        with pytest.raises(error) as caught:
            await ledger.ingest(origin, events)
        assert caught.value.what
        assert len(await ledger.read()) == held


def signing(ledger: Ledger, key: SigningKey) -> SigningLedger:
    return SigningLedger(ledger, lambda: key, FakeClock(tick_s=0.001), SeededEntropy(int(key.public[:8], 16)))


def _draft(drafts: Drafts, signed: HeadSigned) -> Draft:
    return msgspec.structs.replace(drafts.one(), type=HeadSigned.TYPE, data=encode(signed))


def _wrongly_signed(drafts: Drafts, kind: str, origin: OriginId, head: OriginHead) -> Draft:
    key = SigningKey(b"1" * 32)
    right = key.sign(origin, head)
    match kind:
        case "signature":
            signed = msgspec.structs.replace(right, signature=right.signature[::-1])
        case "head":
            signed = key.sign(origin, OriginHead(head.seq, "0" * 64))
        case "seq":
            signed = key.sign(origin, OriginHead(head.seq - 1, head.hash))
        case "late":
            signed = key.sign(origin, NOTHING)
        case "ahead":
            signed = key.sign(origin, OriginHead(head.seq + 1, head.hash))
        case "origin":
            signed = key.sign(OriginId("o-else"), head)
        case "key":
            signed = msgspec.structs.replace(right, key="no key")
        case _:
            return msgspec.structs.replace(drafts.one(), type=HeadSigned.TYPE)
    return _draft(drafts, signed)


async def _take(events: AsyncIterator[Recorded], count: int) -> list[Recorded]:
    return [await anext(events) for _ in range(count)]
