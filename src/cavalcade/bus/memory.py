"""The embedded bus: queues of one event loop."""

from __future__ import annotations

import asyncio

from cavalcade.bus.port import Outcome
from cavalcade.protocol.job import Job


class MemoryBus:
    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._ended: asyncio.Queue[Outcome] = asyncio.Queue()
        self._keys: set[str] = set()

    async def offer(self, job: Job) -> bool:
        if job.key in self._keys:
            return False
        self._keys.add(job.key)
        await self._waiting.put(job)
        return True

    async def claim(self) -> Job:
        return await self._waiting.get()

    async def finish(self, outcome: Outcome) -> None:
        self._keys.discard(outcome.job.key)
        await self._ended.put(outcome)

    async def outcome(self) -> Outcome:
        return await self._ended.get()
