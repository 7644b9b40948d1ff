"""A ledger around another one: whoever changes one thing about a ledger says only that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime

from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger.port import Ledger, OriginHead, Verification
from cavalcade.protocol.envelope import Draft, Recorded, Sealed


class LedgerAround:
    """Conforms to `ledger.port.Ledger` as the one behind it does, to which everything is handed on."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @property
    def origin(self) -> OriginId:
        return self._ledger.origin

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        return await self._ledger.append(stream, events, expected_version=expected_version)

    async def read(self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None) -> list[Recorded]:
        return await self._ledger.read(stream=stream, after=after, limit=limit)

    async def version(self, stream: StreamId) -> int:
        return await self._ledger.version(stream)

    async def find(self, event: EventId) -> Recorded | None:
        return await self._ledger.find(event)

    async def streams(self, prefix: str = "") -> list[StreamId]:
        return await self._ledger.streams(prefix)

    def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        return self._ledger.follow(stream=stream, after=after)

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        return await self._ledger.at(moment, stream=stream)

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        return await self._ledger.heads()

    async def sealed(self, origin: OriginId, *, after: int = 0, limit: int) -> list[Sealed]:
        return await self._ledger.sealed(origin, after=after, limit=limit)

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        return await self._ledger.ingest(origin, events)

    async def verify(self, *, keys: Collection[str] = ()) -> Verification:
        return await self._ledger.verify(keys=keys)

    async def aclose(self) -> None:
        await self._ledger.aclose()
