"""The ways from a process to the ledger and the content store, and what may go wrong on them.

Every call takes time in both directions. What is cut off waits, and gives up when that takes too long. The ledger and the content store
themselves are sound: what they acknowledged is there, whatever happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cavalcade.content.port import ContentStore
from cavalcade.kernel.errors import Busy, ContentError, LedgerUnwritable
from cavalcade.kernel.ids import CommitId, EventId, OriginId, StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import OriginHead, Verification
from cavalcade.protocol.envelope import Draft, Recorded, Sealed
from cavalcade.testing.crashing import CrashingContent
from cavalcade.testing.memory_content import MemoryContent
from cavalcade.testing.simulate.world import Killed, Process, World

PATIENCE_S = 3.0
"""How long a call waits for what it is cut off from."""
_LOOK_AGAIN_S = 0.2

Heard = Callable[[Recorded, Process], None]


class Network:
    """`cut` holds (process, service) pairs between which nothing passes; services are `ledger` and `bus`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slowness = 1.0
        self.cut: set[tuple[str, str]] = set()
        self.down_until_s: dict[str, float] = {}

    async def hop(self, process: Process, service: str) -> None:
        """One way, to or from a service. Raises Busy when it can't be reached for long."""
        delay_s = self.world.chance.uniform(0.001, 0.02) * self.slowness
        await process.sleep(delay_s)
        waited = 0.0
        while not self.reaches(process, service):
            if waited > PATIENCE_S:
                raise self.world.fault(Busy(f"the {service} can't be reached"))
            waited += _LOOK_AGAIN_S
            await process.sleep(_LOOK_AGAIN_S)

    def reaches(self, process: Process, service: str) -> bool:
        down = self.down_until_s.get(service, 0.0) > self.world.loop.now_s
        return not down and (process.name, service) not in self.cut


class Store:
    """The ledger's machine. `acknowledged` is what clients were told is recorded: position and hash."""

    def __init__(self, world: World, heard: Heard) -> None:
        self.world = world
        self.ledger = MemoryLedger(entropy=world.entropy)
        self.acknowledged: list[tuple[int, str]] = []
        self.losses = 0
        self.full = False
        self.fail_next = ""
        """What becomes of the next append: `before` (nothing is recorded) or `after` (it is, and nobody is told)."""
        self._heard = heard
        self._known = 0
        self._durable: dict[StreamId, list[Recorded]] = {}
        self._news: list[asyncio.Future[None]] = []

    async def append(
        self, process: Process, stream: StreamId, events: Sequence[Draft], expected_version: int | None
    ) -> list[Recorded]:
        if self.full:
            raise self.world.fault(LedgerUnwritable("no space left on the ledger's disk"))
        failing, self.fail_next = self.fail_next, ""
        if failing == "before":
            self.world.covered["append fails before it is durable"] += 1
            raise self.world.fault(LedgerUnwritable("the ledger's disk failed"))
        recorded = await self.ledger.append(stream, events, expected_version=expected_version)
        self._tell(recorded, process)
        if failing == "after":
            self.world.covered["append fails after it is durable"] += 1
            raise self.world.fault(Busy("the connection to the ledger was lost"))
        return recorded

    def catch_up(self, recorded: Sequence[Recorded], process: Process) -> None:
        """With what was appended to the ledger itself."""
        self._tell(recorded, process)

    def stream(self, stream: StreamId, after: int) -> list[Recorded]:
        """What is durable, looked at from outside: it takes no time."""
        return [each for each in self._durable.get(stream, ()) if each.position > after]

    def _tell(self, recorded: Sequence[Recorded], process: Process) -> None:
        for each in recorded:
            if each.position > self._known:
                self._known = each.position
                self._durable.setdefault(each.stream, []).append(each)
                self._heard(each, process)
        waiting, self._news = self._news, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def wait_news(self) -> asyncio.Future[None]:
        future = self.world.loop.create_future()
        self._news.append(future)
        return future

    async def power_loss(self) -> None:
        """Who waits for an answer gets none. What was durable still is."""
        self.losses += 1

    async def lost(self) -> list[str]:
        """What somebody was told is recorded, and isn't where it was."""
        there = {each.position: each.hash for each in await self.ledger.read()}
        gone = [position for position, digest in self.acknowledged if there.get(position) != digest]
        return [f"what is acknowledged stays: position {gone[0]} is gone or another, of {len(gone)}"] if gone else []


class LedgerEnd:
    """A process's client of the ledger. Conforms to `ledger.port.Ledger` in all that runs need."""

    def __init__(self, process: Process, network: Network, store: Store) -> None:
        self._process = process
        self._network = network
        self._store = store

    @property
    def origin(self) -> OriginId:
        return self._store.ledger.origin

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        await self._hop()
        losses = self._store.losses
        recorded = await self._store.append(self._process, stream, events, expected_version)
        await self._hop()
        if losses != self._store.losses:
            raise self._process.world.fault(Busy("the ledger went away before it answered"))
        self._store.acknowledged.extend((each.position, each.hash) for each in recorded)
        return recorded

    async def _hop(self) -> None:
        await self._network.hop(self._process, "ledger")

    async def read(self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None) -> list[Recorded]:
        await self._hop()
        found = await self._store.ledger.read(stream=stream, after=after, limit=limit)
        await self._hop()
        return found

    async def version(self, stream: StreamId) -> int:
        await self._hop()
        return await self._store.ledger.version(stream)

    async def find(self, event: EventId) -> Recorded | None:
        await self._hop()
        return await self._store.ledger.find(event)

    async def streams(self, prefix: str = "") -> list[StreamId]:
        await self._hop()
        return await self._store.ledger.streams(prefix)

    async def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        while True:
            news = self._store.wait_news()
            page = await self.read(stream=stream, after=after)
            for recorded in page:
                yield recorded
                after = recorded.position
            if not page:
                await news

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        await self._hop()
        return await self._store.ledger.at(moment, stream=stream)

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        await self._hop()
        return await self._store.ledger.heads()

    async def sealed(self, origin: OriginId, *, after: int = 0, limit: int) -> list[Sealed]:
        await self._hop()
        return await self._store.ledger.sealed(origin, after=after, limit=limit)

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        await self._hop()
        return await self._store.ledger.ingest(origin, events)

    async def verify(self, *, keys: Collection[str] = ()) -> Verification:
        await self._hop()
        return await self._store.ledger.verify(keys=keys)

    async def aclose(self) -> None:
        """The ledger's machine outlives its clients."""


class ContentDisk:
    """The content store that all processes share, and its disk. `dying` is the share of writes around which the writer dies."""

    def __init__(self, world: World, published: Callable[[Path, str, CommitId], None]) -> None:
        self.world = world
        self.store = MemoryContent(published)
        self.full = False
        self.dying = 0.0

    def end(self, process: Process) -> ContentStore:
        """As a process sees it. It is told before each write and after it."""

        def crossed() -> None:
            process.check()
            if self.full:
                self.world.covered["content store is full"] += 1
                raise self.world.fault(ContentError("no space left on the content store's disk"))
            if self.dying and self.world.chance.random() < self.dying:
                self.world.covered["crash at a content write"] += 1
                self.world.kill(process, "at a content write")
                raise Killed

        return CrashingContent(self.store, crossed)
