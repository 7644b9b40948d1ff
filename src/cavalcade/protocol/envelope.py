"""The envelope of every event: CloudEvents 1.0 attributes and Cavalcade's extensions.

A `Draft` is an event before it is recorded; `Recorded` is the same one with its place in the ledger. The ledger reads the
envelope only: `data` stays the bytes it was given. `Sealed` is what travels from one ledger to another.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from cavalcade.kernel.ids import EventId, OriginId, ProjectId, RunId, StreamId, TaskId


class Draft(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event to be appended.

    `type` is `cavalcade.<noun>.<verb-past>.v<n>`; `time` is UTC with zone; `subject` names what the event is about (a path, a
    task); `data` is a JSON object. Idempotency is by `id`.
    """

    id: EventId
    type: str
    time: datetime
    data: msgspec.Raw
    source: str = "cavalcade"
    subject: str = ""
    specversion: str = "1.0"
    datacontenttype: str = "application/json"
    tenant: str = ""
    project: ProjectId = ProjectId("")
    run: RunId = RunId("")
    task: TaskId = TaskId("")
    agent: str = ""
    role: str = ""
    traceid: str = ""
    spanid: str = ""


class Recorded(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A durable event and its place.

    `position` counts from 1 over the whole ledger without gaps; `version` counts from 1 within the stream; `originseq` from 1
    within the origin. `hash` = SHA-256 over `prevhash` (ASCII hex) and the stored body bytes.
    """

    position: int
    stream: StreamId
    version: int
    origin: OriginId
    originseq: int
    prevhash: str
    hash: str
    event: Draft


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """An event as its origin hashed it, to be taken in elsewhere: `hash` follows from the hash before it in the origin's chain and `body`.

    `body` is the exact JSON text of `ledger.chain.Body` that was hashed, never encoded anew.
    """

    hash: str
    body: str
