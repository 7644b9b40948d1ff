"""The embedded bus: queues of one event loop."""

from __future__ import annotations

import asyncio
import math

from cavalcade.bus.port import Outcome
from cavalcade.kernel.clock import Clock
from cavalcade.protocol.job import Job


class MemoryBus:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self._ended: asyncio.Queue[Outcome] = asyncio.Queue()
        self._keys: set[str] = set()
        self.until_s = -math.inf
        """As `supervised_until_s` for every job: there is one supervisor. Any thread may look."""

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

    async def renew(self, lease_s: float) -> bool:
        now_s = self._clock.monotonic_s()
        if -math.inf < self.until_s < now_s:
            return False
        self.until_s = now_s + lease_s
        return True

    def supervised_until_s(self, job: Job) -> float:
        del job
        return self.until_s
