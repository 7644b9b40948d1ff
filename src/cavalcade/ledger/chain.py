"""What is hashed, and how: the text of an event's body and the link to the one before.

Every store keeps the body exactly as it was hashed and shares the rules here, so that a chain written by one is verified by
another.

    body = {"origin":…,"originseq":…,"stream":…,"version":…,"event":{…}}     UTF-8 JSON, the keys in this order
    hash = SHA-256(prevhash as 64 ASCII hexadecimal digits + body), prevhash of an origin's first event being 64 zeros

`version` in a body is the event's place in its stream where it was made. A ledger that holds several origins gives each event its next
place of the stream, which is kept beside the body (`Row.version`); for a ledger's own events both are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from cavalcade.kernel.errors import LedgerDamaged, LedgerError, VersionConflict
from cavalcade.kernel.ids import OriginId, StreamId
from cavalcade.protocol.envelope import Draft, Recorded

GENESIS = "0" * 64
MAX_EVENT_BYTES = 1 << 20
"""Few come near: a plan of ten thousand edits, a verdict on all their files. What a program says goes to the content store beyond 8 KiB."""
MAX_STREAM_CHARACTERS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_OFFSET = timedelta(0)

_encode = msgspec.json.Encoder().encode
_check_json = msgspec.json.Decoder(msgspec.Raw).decode


class Body(msgspec.Struct, frozen=True, kw_only=True):
    origin: OriginId
    originseq: int
    stream: StreamId
    version: int
    event: Draft


_decode_body = msgspec.json.Decoder(Body).decode


class Prepared(NamedTuple):
    """A draft that may be recorded, with its JSON text."""

    draft: Draft
    text: str
    time_us: int


class Row(NamedTuple):
    """An event as a store keeps it. `version` is its place in the stream here."""

    position: int
    version: int
    prevhash: str
    hash: str
    body: bytes


def microseconds(moment: datetime) -> int:
    """Since 1970, exact. Raises ValueError without a zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return (moment - _EPOCH) // _MICROSECOND


def prepare(stream: StreamId, drafts: Sequence[Draft]) -> list[Prepared]:
    """Encodes a batch and refuses what could not be read back. Raises LedgerError."""
    if not stream or len(stream) > MAX_STREAM_CHARACTERS:
        raise LedgerError(
            f"{stream[:40]!r} can't be a stream's name",
            expected=f"1 to {MAX_STREAM_CHARACTERS} characters, as in run/r0abc",
        )
    batch = [_prepare(draft) for draft in drafts]
    if len(batch) > 1 and len({draft.id for draft in drafts}) < len(batch):
        raise LedgerError("the batch holds one event id more than once", hint="give every event an id of its own")
    return batch


def _prepare(draft: Draft) -> Prepared:
    time = draft.time
    if not identified(draft):
        raise LedgerError(
            f"event {draft.id!r} of type {draft.type!r} at {time.isoformat()} can't be recorded",
            expected="an id and a time in UTC with zone",
        )
    try:
        data = bytes(draft.data)
        _check_json(data)
        encoded = _encode(draft)
        text = encoded.decode()
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise LedgerError(f"event {draft.id} ({draft.type}) is not valid JSON text: {exc}") from exc
    if not data.lstrip().startswith(b"{"):
        raise LedgerError(f"the data of event {draft.id} ({draft.type}) is {data[:20]!r}…", expected="a JSON object")
    if len(encoded) > MAX_EVENT_BYTES:
        raise LedgerError(
            f"event {draft.id} ({draft.type}) has {len(encoded)} bytes",
            expected=f"at most {MAX_EVENT_BYTES}",
            hint="put the large part into the content store and record its blob id",
        )
    return Prepared(draft, text, (time - _EPOCH) // _MICROSECOND)


def identified(draft: Draft) -> bool:
    """Whether an event has what every event must have: an id, and a time in UTC with zone."""
    return bool(draft.id) and draft.time.utcoffset() == _NO_OFFSET


def json_text(name: str) -> str:
    """`name` as a JSON string."""
    return _encode(name).decode()


def body_text(origin_json: str, originseq: int, stream_json: str, version: int, event: str) -> str:
    return (
        f'{{"origin":{origin_json},"originseq":{originseq},"stream":{stream_json},"version":{version},"event":{event}}}'
    )


def link(prevhash: str, body: str) -> bytes:
    """The hash that follows `prevhash`, as 32 bytes."""
    return hashlib.sha256((prevhash + body).encode()).digest()


def parse_body(body: bytes) -> Body:
    """Raises msgspec.DecodeError or UnicodeError when it isn't one."""
    return _decode_body(body)


def unpack(row: Row) -> Recorded:
    """The event of a stored row. Raises LedgerDamaged when body and hash don't belong together."""
    if hashlib.sha256(row.prevhash.encode() + row.body).hexdigest() != row.hash:
        raise damaged(row.position, "body and hash don't belong together")
    try:
        body = _decode_body(row.body)
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise damaged(row.position, f"the body can't be read: {exc}") from exc
    return Recorded(
        position=row.position,
        stream=body.stream,
        version=row.version,
        origin=body.origin,
        originseq=body.originseq,
        prevhash=row.prevhash,
        hash=row.hash,
        event=body.event,
    )


def damaged(position: int, problem: str) -> LedgerDamaged:
    """The error which names the first bad position."""
    return LedgerDamaged(
        f"the ledger is damaged at position {position}: {problem}",
        hint="nothing was changed. Keep the file, restore a backup beside it, and compare with `cavalcade verify`",
        places=(f"position {position}",),
    )


def conflict(stream: StreamId, expected: int, actual: int) -> VersionConflict:
    return VersionConflict(
        f"stream {stream} is at version {actual}, not {expected}",
        hint="somebody else appended first: read what is new, decide again",
    )


def already_recorded(
    stream: StreamId, batch: Sequence[Prepared], found: Sequence[Recorded | None]
) -> list[Recorded] | None:
    """What idempotency answers: None when the batch is wholly new, the recorded events when it is wholly known.

    `found` holds, for each event of the batch, what is recorded under its id. Raises LedgerError when an id is taken by another
    event, VersionConflict when only a part of the batch is recorded.
    """
    known = [recorded for recorded in found if recorded is not None]
    if not known:
        return None
    for prepared, recorded in zip(batch, found, strict=True):
        if recorded is None:
            continue
        if recorded.stream != stream:
            raise LedgerError(
                f"event {prepared.draft.id} is already recorded in stream {recorded.stream}, not {stream}"
            )
        if recorded.event != prepared.draft:
            raise LedgerError(
                f"event {prepared.draft.id} is already recorded at position {recorded.position} with another content",
                hint="an event never changes: record a new one with an id of its own",
            )
    if len(known) < len(batch):
        raise VersionConflict(
            f"{len(known)} of these {len(batch)} events are already recorded in {stream}",
            expected="a batch wholly new or wholly known",
            hint="read the stream and decide again",
        )
    return known
