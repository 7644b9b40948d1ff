"""A ledger that lives as long as its process: the same rules and the same hashes as the one on disk, without the disk."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import LedgerError
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.followers import Followers
from cavalcade.ledger.port import Verification
from cavalcade.protocol.envelope import Draft, Recorded

PAGE = 256


class MemoryLedger:
    """Conforms to `ledger.port.Ledger`; any thread and event loop may use it. `origin` is drawn from `entropy`."""

    def __init__(self, *, entropy: Entropy) -> None:
        self.origin = OriginId("o" + entropy.bytes(10).hex())
        self._lock = threading.Lock()
        self._followers = Followers()
        self._origin_json = chain.json_text(self.origin)
        self._head = chain.GENESIS
        self._rows: list[chain.Row] = []
        self._recorded: list[Recorded] = []
        self._times: list[int] = []
        self._by_id: dict[EventId, Recorded] = {}
        self._by_stream: dict[StreamId, list[Recorded]] = {}

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        batch = chain.prepare(stream, events)
        with self._lock:
            self._check_open()
            known = chain.already_recorded(stream, batch, [self._by_id.get(draft.id) for draft in events])
            if known is not None:
                return known
            version = len(self._by_stream.get(stream, ()))
            if expected_version is not None and expected_version != version:
                raise chain.conflict(stream, expected_version, version)
            recorded = [self._record(stream, prepared) for prepared in batch]
        self._followers.wake()
        return recorded

    async def read(self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None) -> list[Recorded]:
        self._check_open()
        return self._page(stream, after, limit)

    async def version(self, stream: StreamId) -> int:
        self._check_open()
        return len(self._by_stream.get(stream, ()))

    async def find(self, event: EventId) -> Recorded | None:
        self._check_open()
        return self._by_id.get(event)

    async def streams(self, prefix: str = "") -> list[StreamId]:
        self._check_open()
        with self._lock:
            return [stream for stream in self._by_stream if stream.startswith(prefix)]

    def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        async def read_page(position: int) -> list[Recorded]:
            return self._page(stream, position, PAGE)

        return self._followers.follow(read_page, after, self._check_open)

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        self._check_open()
        limit_us = chain.microseconds(moment)
        events = self._recorded if stream is None else self._by_stream.get(stream, [])
        for recorded in reversed(events):
            if self._times[recorded.position - 1] <= limit_us:
                return recorded.position
        return 0

    async def verify(self) -> Verification:
        self._check_open()
        check = chain.ChainCheck()
        for row in tuple(self._rows):
            if problem := check.problem(row.position, row.hash, row.body):
                return Verification(check.position, check.bad_position, problem, check.head)
        return Verification(check.position, None, "", check.head)

    async def aclose(self) -> None:
        self._followers.close()

    def _check_open(self) -> None:
        if self._followers.closed:
            raise LedgerError("this ledger is closed")

    def _record(self, stream: StreamId, prepared: chain.Prepared) -> Recorded:
        in_stream = self._by_stream.setdefault(stream, [])
        position, version = len(self._recorded) + 1, len(in_stream) + 1
        body = chain.body_text(self._origin_json, position, chain.json_text(stream), version, prepared.text)
        digest = chain.link(self._head, body).hex()
        row = chain.Row(position, self._head, digest, body.encode())
        recorded = chain.unpack(row)
        self._rows.append(row)
        self._times.append(prepared.time_us)
        self._recorded.append(recorded)
        self._by_id[recorded.event.id] = recorded
        in_stream.append(recorded)
        self._head = digest
        return recorded

    def _page(self, stream: StreamId | None, after: int, limit: int | None) -> list[Recorded]:
        if stream is None:
            start = max(after, 0)
            return self._recorded[start:] if limit is None else self._recorded[start : start + max(limit, 0)]
        events = self._by_stream.get(stream, [])
        start = _first_after(events, after)
        return events[start:] if limit is None else events[start : start + max(limit, 0)]


def _first_after(events: list[Recorded], position: int) -> int:
    """Index of the first event beyond a position, by bisection."""
    low, high = 0, len(events)
    while low < high:
        middle = (low + high) // 2
        if events[middle].position > position:
            high = middle
        else:
            low = middle + 1
    return low
