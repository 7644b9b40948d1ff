"""The bus as a fleet has it: each supervisor has a queue, every worker serves all of them, and delivery is at least once.

A job that nobody finishes in time is delivered again. Jobs and outcomes may come twice and out of order; none is lost for ever while
the broker lives. When it dies all queues are gone, and whoever is connected gets an error.
"""

from __future__ import annotations

import asyncio
import math

from cavalcade.bus.port import Outcome
from cavalcade.kernel.errors import Busy
from cavalcade.protocol.job import Job
from cavalcade.testing.simulate.network import Network
from cavalcade.testing.simulate.world import Process, World

REDELIVERY_S = 5.0
"""How long a job may be under way before it is given to somebody else."""


class _Entry:
    """One offered job. `deliveries` counts how often it was handed out."""

    def __init__(self, queue: BusEnd, job: Job) -> None:
        self.queue = queue
        self.job = job
        self.deliveries = 0
        self.finished = False


class Broker:
    """`twice` and `shuffled` are the shares of deliveries that come twice and out of order."""

    def __init__(self, world: World, network: Network) -> None:
        self.world = world
        self.network = network
        self.twice = 0.0
        self.shuffled = 0.0
        self.lives = 0
        self.ends: list[BusEnd] = []
        self._waiting: list[_Entry] = []
        self._offered: dict[tuple[int, str], _Entry] = {}
        self._wanting: list[asyncio.Future[None]] = []

    def restart(self) -> None:
        self.lives += 1
        self.clear()
        for end in self.ends:
            end.deliver(None)

    def clear(self) -> None:
        self._waiting.clear()
        for entry in self._offered.values():
            entry.finished = True
        self._offered.clear()
        self._wake()

    def offer(self, queue: BusEnd, job: Job) -> bool:
        if (queue.number, job.key) in self._offered:
            return False
        entry = self._offered[queue.number, job.key] = _Entry(queue, job)
        self._put(entry)
        return True

    def _put(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        self._wake()

    def _wake(self) -> None:
        wanting, self._wanting = self._wanting, []
        for future in wanting:
            if not future.done():
                future.set_result(None)

    def wait_job(self) -> asyncio.Future[None]:
        future = self.world.loop.create_future()
        self._wanting.append(future)
        return future

    def take(self) -> _Entry | None:
        if not self._waiting:
            return None
        place = 0
        if len(self._waiting) > 1 and self.world.chance.random() < self.shuffled:
            place = self.world.chance.randrange(len(self._waiting))
            if place:
                self.world.covered["job out of order"] += 1
        entry = self._waiting.pop(place)
        if entry.finished or entry.queue.lease_until_s < self.world.loop.now_s:
            return self.take()  # done, or nobody watches over it any more
        entry.deliveries += 1
        self.world.loop.call_later(REDELIVERY_S, self._again, entry, self.lives)
        if self.world.chance.random() < self.twice:
            self.world.covered["job delivered twice"] += 1
            self.world.loop.call_later(self.world.chance.uniform(0.0, 4.0), self._put_copy, entry)
        return entry

    def _again(self, entry: _Entry, life: int) -> None:
        if not entry.finished and life == self.lives and entry not in self._waiting:
            self.world.covered["job delivered again"] += 1
            self._put(entry)

    def _put_copy(self, entry: _Entry) -> None:
        """Whether or not it is finished by now."""
        copy = _Entry(entry.queue, entry.job)
        copy.deliveries = 1
        self._put(copy)

    def renew(self, queue: BusEnd, lease_s: float) -> bool:
        now_s = self.world.loop.now_s
        if -math.inf < queue.lease_until_s < now_s:
            self.world.covered["supervisor silent for too long"] += 1
            return False
        queue.lease_until_s = now_s + lease_s
        for end in self.ends:
            if end.works_for(queue):
                delay_s = self.world.chance.uniform(0.001, 0.02)
                self.world.loop.call_later(delay_s, end.hear, queue, lease_s, self.lives)
        return True

    def finish(self, entry: _Entry, outcome: Outcome) -> None:
        if not entry.finished:
            entry.finished = True
            known = self._offered.get((entry.queue.number, entry.job.key))
            if known is entry:
                del self._offered[entry.queue.number, entry.job.key]
        self._send(entry.queue, outcome)
        if self.world.chance.random() < self.twice:
            self.world.covered["outcome delivered twice"] += 1
            self._send(entry.queue, outcome)

    def _send(self, queue: BusEnd, outcome: Outcome) -> None:
        delay_s = 0.0
        if self.world.chance.random() < self.shuffled:
            self.world.covered["outcome late"] += 1
            delay_s = self.world.chance.uniform(0.0, 2.0)
        self.world.loop.call_later(delay_s, queue.deliver, outcome)


class BusEnd:
    """A process's client. Conforms to `bus.port.Bus`."""

    def __init__(self, process: Process, broker: Broker) -> None:
        broker.ends.append(self)
        self.number = len(broker.ends)
        self._process = process
        self._broker = broker
        self._life = broker.lives
        self._entries: dict[str, _Entry] = {}
        self._heard_s: dict[int, float] = {}
        """When the lease of each queue runs out, as far as this process knows."""
        self.lease_until_s = -math.inf
        self._outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()

    async def offer(self, job: Job) -> bool:
        await self._hop()
        offered = self._broker.offer(self, job)
        if offered:
            self._process.say(f"offers {_name(job)}")
        return offered

    async def _hop(self) -> None:
        await self._broker.network.hop(self._process, "bus")
        if self._life != self._broker.lives:
            raise self._broker.world.fault(Busy("the bus went away"))

    async def claim(self) -> Job:
        await self._hop()
        while (entry := self._broker.take()) is None:
            await self._broker.wait_job()
            await self._hop()
        self._process.check()
        self._process.job = entry.job
        self._entries[entry.job.key] = entry
        self._heard_s[entry.queue.number] = entry.queue.lease_until_s
        again = f" (delivery {entry.deliveries})" if entry.deliveries > 1 else ""
        self._process.say(f"claims {_name(entry.job)}{again}")
        return entry.job

    async def finish(self, outcome: Outcome) -> None:
        await self._hop()
        said = "" if outcome.error is None else f": {type(outcome.error).__name__}: {outcome.error.args[:1]}"
        self._process.say(f"ends {_name(outcome.job)}{said}")
        self._broker.finish(self._entries.pop(outcome.job.key), outcome)

    async def outcome(self) -> Outcome:
        outcome = await self._outcomes.get()
        await self._hop()
        assert outcome is not None  # only a broker that is gone says nothing, and then the hop fails
        return outcome

    async def renew(self, lease_s: float) -> bool:
        await self._hop()
        return self._broker.renew(self, lease_s)

    def supervised_until_s(self, job: Job) -> float:
        entry = self._entries.get(job.key)
        return -math.inf if entry is None else self._heard_s.get(entry.queue.number, -math.inf)

    def hear(self, queue: BusEnd, lease_s: float, life: int) -> None:
        """A renewal, unless it is lost on its way."""
        if life == self._life and self._broker.network.reaches(self._process, "bus"):
            self._heard_s[queue.number] = self._process.monotonic_s() + lease_s

    def works_for(self, queue: BusEnd) -> bool:
        return any(entry.queue is queue for entry in self._entries.values())

    def deliver(self, outcome: Outcome | None) -> None:
        self._outcomes.put_nowait(outcome)


def _name(job: Job) -> str:
    return f"{job.kind} {job.task} {job.attempt}" if job.task else f"{job.kind} {job.round}"
