"""A ledger that lives as long as its process: the same rules and the same hashes as the one on disk, without the disk."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime

from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import LedgerError
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.chain_check import ChainCheck
from cavalcade.ledger.followers import Followers
from cavalcade.ledger.port import OriginHead, Verification
from cavalcade.ledger.sealing import NOTHING, Link, accept
from cavalcade.protocol.envelope import Draft, Recorded, Sealed

PAGE = 256


class MemoryLedger:
    """Conforms to `ledger.port.Ledger`; any thread and event loop may use it. `origin` is drawn from `entropy`."""

    def __init__(self, *, entropy: Entropy) -> None:
        self.origin = OriginId("o" + entropy.bytes(10).hex())
        self._lock = threading.Lock()
        self._followers = Followers()
        self._origin_json = chain.json_text(self.origin)
        self._rows: list[chain.Row] = []
        self._origins: dict[OriginId, _Chain] = {}
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

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        self._check_open()
        with self._lock:
            return {origin: held.head for origin, held in self._origins.items()}

    async def sealed(self, origin: OriginId, *, after: int = 0, limit: int) -> list[Sealed]:
        self._check_open()
        rows = self._origins[origin].rows if origin in self._origins else []
        start = max(after, 0)
        return [Sealed(hash=row.hash, body=row.body.decode()) for row in rows[start : start + max(limit, 0)]]

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        with self._lock:
            self._check_open()
            held = self._origins.get(origin) or _Chain(self._by_id)
            for link in accept(origin, events, own=self.origin, held=held):
                self._take_in(link)
            head = self._origins[origin].head if origin in self._origins else NOTHING
        self._followers.wake()
        return head

    async def verify(self, *, keys: Collection[str] = ()) -> Verification:
        self._check_open()
        check = ChainCheck(self.origin, keys)
        for row in tuple(self._rows):
            if problem := check.problem(row.position, row.version, row.hash, row.body):
                return check.found(problem)
        return check.found(check.unsigned(), position=0)

    async def aclose(self) -> None:
        self._followers.close()

    def _check_open(self) -> None:
        if self._followers.closed:
            raise LedgerError("this ledger is closed")

    def _record(self, stream: StreamId, prepared: chain.Prepared) -> Recorded:
        version = len(self._by_stream.get(stream, ())) + 1
        seq, prevhash = self._origins[self.origin].head if self.origin in self._origins else NOTHING
        body = chain.body_text(self._origin_json, seq + 1, chain.json_text(stream), version, prepared.text)
        digest = chain.link(prevhash, body).hex()
        return self._keep(
            self.origin, chain.Row(len(self._rows) + 1, version, prevhash, digest, body.encode()), prepared.time_us
        )

    def _take_in(self, link: Link) -> None:
        stream = link.body.stream
        version = len(self._by_stream.get(stream, ())) + 1
        row = chain.Row(len(self._rows) + 1, version, link.prevhash, link.hash, link.text.encode())
        self._keep(link.body.origin, row, link.time_us)
        held = self._origins[link.body.origin]
        held.versions[stream] = link.body.version
        held.signer = link.signer or held.signer

    def _keep(self, origin: OriginId, row: chain.Row, time_us: int) -> Recorded:
        recorded = chain.unpack(row)
        self._rows.append(row)
        self._times.append(time_us)
        self._recorded.append(recorded)
        self._by_id[recorded.event.id] = recorded
        self._by_stream.setdefault(recorded.stream, []).append(recorded)
        self._origins.setdefault(origin, _Chain(self._by_id)).rows.append(row)
        return recorded

    def _page(self, stream: StreamId | None, after: int, limit: int | None) -> list[Recorded]:
        if stream is None:
            start = max(after, 0)
            return self._recorded[start:] if limit is None else self._recorded[start : start + max(limit, 0)]
        events = self._by_stream.get(stream, [])
        start = _first_after(events, after)
        return events[start:] if limit is None else events[start : start + max(limit, 0)]


class _Chain:
    """One origin's events. Conforms to `sealing.Held`."""

    def __init__(self, by_id: Mapping[EventId, Recorded]) -> None:
        self.rows: list[chain.Row] = []
        self.versions: dict[StreamId, int] = {}
        self.signer = ""
        self._by_id = by_id

    @property
    def head(self) -> OriginHead:
        return OriginHead(len(self.rows), self.rows[-1].hash) if self.rows else NOTHING

    def hash_at(self, seq: int) -> str:
        return self.rows[seq - 1].hash

    def version_in(self, stream: StreamId) -> int:
        return self.versions.get(stream, 0)

    def holds(self, event: EventId) -> bool:
        return event in self._by_id


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
