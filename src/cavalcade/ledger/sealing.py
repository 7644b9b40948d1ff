"""Taking in another origin's chain: what is known is compared, what is new must follow it. Every store decides by `accept`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from cavalcade.kernel.errors import ChainDiverged, LedgerError, SequenceGap
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger.chain import (
    GENESIS,
    MAX_EVENT_BYTES,
    MAX_STREAM_CHARACTERS,
    Body,
    identified,
    link,
    microseconds,
    parse_body,
)
from cavalcade.ledger.port import OriginHead
from cavalcade.ledger.signed_heads import is_overtaken, is_signed_head, problem_of, read
from cavalcade.protocol.envelope import Sealed

NOTHING = OriginHead(0, GENESIS)
"""Where the chain stands of an origin nothing is held of."""
MAX_BODY_BYTES = MAX_EVENT_BYTES + 4096
"""An event and its place: a stream's name takes at most 1,200 bytes."""
MAX_ORIGIN_CHARACTERS = 100
MAX_VERSION = 2**53
"""What every reader of JSON keeps exact."""


class Link(NamedTuple):
    """A new event of another origin's chain, checked: to be recorded as it is. `signer` is the key of a signed head, else empty."""

    body: Body
    text: str
    prevhash: str
    hash: str
    time_us: int
    signer: str = ""


class Held(Protocol):
    """What a store holds of one origin's chain."""

    @property
    def head(self) -> OriginHead: ...

    @property
    def signer(self) -> str:
        """The key of the origin's signed heads that were taken in, empty before the first."""
        ...

    def hash_at(self, seq: int) -> str:
        """The hash of the origin's event `seq`, 1 to that of the head."""
        ...

    def version_in(self, stream: StreamId) -> int:
        """The last version that another origin's event says it has in a stream, 0 when there is none."""
        ...

    def holds(self, event: EventId) -> bool:
        """Whether the store has an event by that id, of any origin."""
        ...


def accept(origin: OriginId, events: Sequence[Sealed], *, own: OriginId, held: Held) -> list[Link]:
    """The part of a batch that is new, in order. Nothing is changed.

    Raises SequenceGap with the first sequence number that is missing; ChainDiverged for what contradicts the chain, this ledger's own or
    itself; LedgerError for an event that no ledger records.
    """
    if not 0 < len(origin) <= MAX_ORIGIN_CHARACTERS:
        raise LedgerError(f"{origin[:40]!r} can't be an origin", expected=f"1 to {MAX_ORIGIN_CHARACTERS} characters")
    batch = _Batch(origin, own, held)
    for sealed in events:
        batch.add(sealed)
    return batch.links


class _Batch:
    def __init__(self, origin: OriginId, own: OriginId, held: Held) -> None:
        self.links: list[Link] = []
        self._origin = origin
        self._own = own
        self._held = held
        self._first, _ = self._seq, self._hash = held.head
        self._versions: dict[StreamId, int] = {}
        self._ids: set[EventId] = set()
        self._signer = ""

    def add(self, sealed: Sealed) -> None:
        """Known: compared. New: checked and linked."""
        body = _read(self._origin, sealed)
        seq = body.originseq
        if self._origin == self._own and seq > self._first:
            raise self._diverged(seq, f"this ledger owns that chain, and it ends at event {self._first}")
        if seq > self._seq + 1:
            raise SequenceGap(
                f"event {seq} of origin {self._origin} can't follow event {self._seq}",
                next_seq=self._seq + 1,
                expected=f"event {self._seq + 1} next",
                hint=f"send what follows event {self._seq}",
            )
        prevhash = self._hash_at(seq - 1)
        if link(prevhash, sealed.body).hex() != sealed.hash:
            raise self._diverged(seq, "its hash doesn't follow from the event before it and its body")
        if seq <= self._seq:
            if self._hash_at(seq) != sealed.hash:
                raise self._diverged(seq, "another event is held in its place")
            return
        self._follow(Link(body, sealed.body, prevhash, sealed.hash, microseconds(body.event.time)))

    def _follow(self, new: Link) -> None:
        body, seq, stream = new.body, new.body.originseq, new.body.stream
        last = self._versions.get(stream) or self._held.version_in(stream)
        if not last < body.version <= MAX_VERSION:
            raise self._diverged(seq, f"it claims version {body.version} of {stream}, where {last} came before")
        if body.event.id in self._ids or self._held.holds(body.event.id):
            raise self._diverged(seq, f"another event has its id {body.event.id}")
        if is_signed_head(body):
            new = new._replace(signer=self._signed(body))
        self._ids.add(body.event.id)
        self._versions[stream] = body.version
        self._seq, self._hash = seq, new.hash
        self.links.append(new)

    def _signed(self, body: Body) -> str:
        """The key of a signed head that counts: what verification would refuse is not taken in."""
        signed = read(body)
        if signed is None:
            raise self._diverged(body.originseq, "wrong signature: its data can't be read")
        if is_overtaken(signed, body):
            return ""
        if wrong := problem_of(signed, body, self._hash_at):
            raise self._diverged(body.originseq, wrong)
        before = self._signer or self._held.signer
        if before and signed.key != before:
            raise self._diverged(body.originseq, f"wrong key: signed with {signed.key}, the heads before with {before}")
        self._signer = signed.key
        return signed.key

    def _hash_at(self, seq: int) -> str:
        if seq == self._seq:
            return self._hash
        if not seq:
            return GENESIS
        return self._held.hash_at(seq) if seq <= self._first else self.links[seq - self._first - 1].hash

    def _diverged(self, seq: int, why: str) -> ChainDiverged:
        return ChainDiverged(
            f"event {seq} of origin {self._origin} doesn't belong to the chain that is held: {why}",
            hint="nothing was recorded. Two histories claim one origin: find out which copy went on writing after it was copied",
            places=(f"{self._origin} {seq}",),
        )


def _read(origin: OriginId, sealed: Sealed) -> Body:
    """Raises ChainDiverged for what is no event of the origin, LedgerError for one that can't be recorded."""
    try:
        encoded = sealed.body.encode()
        body = parse_body(encoded)
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise ChainDiverged(f"an event sent for origin {origin} can't be read: {exc}") from exc
    if body.origin != origin or body.originseq < 1:
        raise ChainDiverged(
            f"event {body.originseq} of origin {body.origin!r} was sent for origin {origin}",
            hint="send each origin's chain by itself",
        )
    if (
        not identified(body.event)
        or not bytes(body.event.data).lstrip().startswith(b"{")
        or not 0 < len(body.stream) <= MAX_STREAM_CHARACTERS
        or len(encoded) > MAX_BODY_BYTES
    ):
        raise LedgerError(
            f"event {body.originseq} of origin {origin} ({len(encoded)} bytes) can't be recorded",
            expected=f"a stream, an id, a time in UTC, a JSON object as data, at most {MAX_BODY_BYTES} bytes",
        )
    return body
