"""A ledger that takes secrets out of what is appended, before the store behind it sees a byte.

Why here, around the port, and not inside each store: this is the one place that knows of every append whatever the store, a third
store included; what is configured changes with the project and is nothing a store should know; and a store can be measured and tested
for what it is. It can't be bypassed: `cli.compose.System` wraps whatever it is given and hands out nothing else, and a test
(`tests/unit/test_ledger_redacting.py`) finds every other place of the program that would open a store.

What another ledger sealed (`ingest`) is taken in as it is: its hash is over its bytes, and its origin has redacted it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.kernel.redaction import Redactor
from cavalcade.ledger.port import Ledger, OriginHead, Verification
from cavalcade.protocol.envelope import Draft, Recorded, Sealed


class RedactingLedger:
    """Conforms to `ledger.port.Ledger` as the one behind it does.

    An append repeated becomes the same redacted events, so it is as idempotent as before. `learn` lets what is appended from
    then on be searched for more; it belongs before the first append of a project.
    """

    def __init__(self, behind: Ledger, redactor: Redactor) -> None:
        self._behind = behind
        self.redactor = redactor

    def learn(self, configured: Mapping[str, str]) -> None:
        """More variables that may hold secrets, such as those of a project's `.env`."""
        self.redactor = self.redactor.also(configured)

    @property
    def origin(self) -> OriginId:
        return self._behind.origin

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        redacted = [redacted_draft(draft, self.redactor) for draft in events]
        return await self._behind.append(stream, redacted, expected_version=expected_version)

    async def read(self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None) -> list[Recorded]:
        return await self._behind.read(stream=stream, after=after, limit=limit)

    async def version(self, stream: StreamId) -> int:
        return await self._behind.version(stream)

    async def find(self, event: EventId) -> Recorded | None:
        return await self._behind.find(event)

    async def streams(self, prefix: str = "") -> list[StreamId]:
        return await self._behind.streams(prefix)

    def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        return self._behind.follow(stream=stream, after=after)

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        return await self._behind.at(moment, stream=stream)

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        return await self._behind.heads()

    async def sealed(self, origin: OriginId, *, after: int = 0, limit: int) -> list[Sealed]:
        return await self._behind.sealed(origin, after=after, limit=limit)

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        return await self._behind.ingest(origin, events)

    async def verify(self, *, keys: Collection[str] = ()) -> Verification:
        return await self._behind.verify(keys=keys)

    async def aclose(self) -> None:
        await self._behind.aclose()


def redacted_draft(draft: Draft, redactor: Redactor) -> Draft:
    """The same draft when it holds no secret. Of the envelope, what people or programs put in words: subject, agent, role."""
    changes: dict[str, str | msgspec.Raw] = {}
    try:
        data = bytes(draft.data).decode()
    except UnicodeDecodeError:
        return draft  # no JSON: the store refuses it
    if (found := redactor.redact(data)).kinds:
        changes["data"] = msgspec.Raw(found.text.encode())
    for name in ("subject", "agent", "role"):
        value: str = getattr(draft, name)
        if value and (found := redactor.redact(value)).kinds:
            changes[name] = found.text
    return msgspec.structs.replace(draft, **changes) if changes else draft
