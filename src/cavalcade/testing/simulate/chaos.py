"""Faults, drawn from the seed. Each seed has some kinds of faults and not others, so that every kind is also met alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cavalcade.domain.run.state import CLOSED
from cavalcade.kernel.ids import RunId
from cavalcade.testing.simulate.actors import Parts, drives
from cavalcade.testing.simulate.world import Process

FAULTS_S = (2.0, 12.0)
"""How long the world is against everybody, at the least and at the most."""
_PAUSES_S = ((0.02, 0.3), (0.1, 1.2), (0.5, 3.0))
"""Between two faults, at the least and at the most, in seeds of different haste."""


class Chaos:
    """`phase` tells where a run stands by the record, for the count of what was hit."""

    def __init__(self, parts: Parts, runs: list[RunId], phase: Callable[[RunId], str]) -> None:
        self._parts = parts
        self._world = parts.world
        self._chance = parts.world.chance
        self._runs = runs
        self._phase = phase
        known: dict[str, Callable[[], None] | Callable[[], Awaitable[None]]] = {
            "crash": self._crash,
            "pause": self._pause,
            "cut": self._cut,
            "slow": self._slow,
            "ledger full": self._ledger_full,
            "append fails": self._append_fails,
            "ledger power loss": self._power_loss,
            "content full": self._content_full,
            "bus restart": self._bus_restart,
            "clock jump": self._clock_jump,
            "second supervisor": self._second_supervisor,
        }
        share = self._chance.choice((0.15, 0.3, 0.6))
        self._kinds = [fault for fault in known.values() if self._chance.random() < share]
        self._pause_s = self._chance.choice(_PAUSES_S)
        self._begin()

    def _begin(self) -> None:
        """What goes on all the time in this seed."""
        broker = self._parts.broker
        broker.twice = self._chance.choice((0.0, 0.1, 0.3, 0.6))
        broker.shuffled = self._chance.choice((0.0, 0.0, 0.1, 0.5))
        self._parts.disk.dying = self._chance.choice((0.0, 0.0, 0.0, 0.01, 0.04))

    async def rage(self) -> None:
        """Until it is enough; afterwards everything works again and stays so."""
        end_s = self._world.loop.now_s + self._chance.uniform(*FAULTS_S)
        while self._kinds and self._world.loop.now_s < end_s and not self._all_ended():
            await self._sleep(*self._pause_s)
            result = self._chance.choice(self._kinds)()
            if result is not None:
                await result
        self._calm()

    def _all_ended(self) -> bool:
        return all(self._phase(run) in CLOSED for run in self._runs)

    def _calm(self) -> None:
        network = self._parts.network
        network.cut.clear()
        network.down_until_s.clear()
        network.slowness = 1.0
        self._parts.store.full = self._parts.disk.full = False
        self._parts.store.fail_next = ""
        self._parts.disk.dying = self._parts.broker.twice = self._parts.broker.shuffled = 0.0
        for process in self._world.processes.values():
            process.paused_until_s = 0.0
        self._world.calm = True
        self._world.say("chaos", "is over")

    async def _sleep(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self._chance.uniform(least_s, most_s))

    def _hit(self, what: str, detail: str = "") -> None:
        self._world.covered[what] += 1
        for run in self._runs:
            self._world.covered[f"{what} while {self._phase(run)}"] += 1
        self._world.say("chaos", f"{what} {detail}".rstrip())

    def _victim(self) -> Process:
        names = sorted(name for name, process in self._world.processes.items() if process.alive)
        return (
            self._world.processes[self._chance.choice(names)] if names else next(iter(self._world.processes.values()))
        )

    def _crash(self) -> None:
        victim = self._victim()
        self._hit(f"crash of a {victim.kind}", victim.name)
        self._world.kill(victim, "by chance")

    def _pause(self) -> None:
        """The whole process stands still, and then goes on as if nothing had been."""
        victim = self._victim()
        seconds = self._chance.choice((0.5, 3.0, 8.0))
        self._hit("pause", f"of {victim.name} for {seconds} s")
        victim.paused_until_s = self._world.loop.now_s + seconds

    def _cut(self) -> None:
        service = self._chance.choice(("ledger", "bus"))
        pair = self._victim().name, service
        self._parts.network.cut.add(pair)
        self._hit(f"cut off from the {service}", pair[0])
        self._world.loop.call_later(self._chance.uniform(0.2, 6.0), self._parts.network.cut.discard, pair)

    def _slow(self) -> None:
        self._parts.network.slowness = self._chance.choice((5.0, 40.0))
        self._hit("delays", f"times {self._parts.network.slowness}")
        self._world.loop.call_later(self._chance.uniform(0.5, 3.0), setattr, self._parts.network, "slowness", 1.0)

    def _ledger_full(self) -> None:
        self._parts.store.full = True
        self._hit("ledger is full")
        self._world.loop.call_later(self._chance.uniform(0.2, 2.0), setattr, self._parts.store, "full", False)

    def _append_fails(self) -> None:
        self._parts.store.fail_next = self._chance.choice(("before", "after"))

    async def _power_loss(self) -> None:
        self._hit("ledger power loss")
        self._parts.network.down_until_s["ledger"] = self._world.loop.now_s + self._chance.uniform(0.1, 2.0)
        await self._parts.store.power_loss()
        for text in await self._parts.store.lost():
            self._world.violated(text)

    def _content_full(self) -> None:
        self._parts.disk.full = True
        self._world.say("chaos", "content store full")
        self._world.loop.call_later(self._chance.uniform(0.2, 2.0), setattr, self._parts.disk, "full", False)

    def _bus_restart(self) -> None:
        self._hit("bus restart")
        self._parts.broker.restart()

    def _clock_jump(self) -> None:
        victim = self._victim()
        seconds = self._chance.choice((-86400.0, -30.0, -1.0, 1.0, 30.0, 86400.0))
        self._hit("clock jump", f"of {victim.name} by {seconds} s")
        victim.skew_s += seconds

    def _second_supervisor(self) -> None:
        run = self._chance.choice(self._runs)
        name = f"supervisor-{self._runs.index(run) + 1}b"
        if name not in self._world.processes:
            self._hit("second supervisor", f"for {run}")
            self._world.start(name, drives(self._parts, run))
