"""All that a simulation consists of: chance, time, processes, and what was said about them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar, cast

from cavalcade.kernel.errors import CavalcadeError
from cavalcade.protocol.job import Job
from cavalcade.testing.clock import START, SeededEntropy
from cavalcade.testing.simulate.loop import SimulatedLoop

E = TypeVar("E", bound=CavalcadeError)


class Killed(BaseException):
    """The process of whoever gets this is gone. No `except Exception` hears of it, and nothing that it still does has an effect."""


class Line(NamedTuple):
    """One thing that happened: virtual time, who, what."""

    at_s: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.at_s:10.4f}  {self.who:<12} {self.what}"


_running: ContextVar[Process | None] = ContextVar("process", default=None)


class Process:
    """Code that lives and dies together. Whatever it does to the outside goes through `hop` or `check`."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.skew_s = 0.0
        self.paused_until_s = 0.0
        self.job: Job | None = None
        """What a worker has claimed."""
        self.tasks: dict[asyncio.Task[Any], None] = {}

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    def now(self) -> datetime:
        """Its wall clock. A process is its own `Clock`."""
        return START + timedelta(seconds=self.world.loop.now_s + self.skew_s)

    def monotonic_s(self) -> float:
        return self.world.loop.now_s

    def check(self) -> None:
        if not self.alive:
            raise Killed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if (left := self.paused_until_s - self.world.loop.now_s) > 0:
            await self.sleep(left)
        self.check()

    def say(self, what: str) -> None:
        self.world.say(self.name, what)


Main = Callable[[Process], Awaitable[None]]


class World:
    """`covered` counts what happened of each kind, `violations` what must not have; the first ends a simulation. `calm`
    is when the faults are over."""

    def __init__(self, seed: int | str) -> None:
        self.loop = SimulatedLoop()
        self.chance = random.Random(f"cavalcade {seed}")
        self.entropy = SeededEntropy(self.chance.getrandbits(64))
        self.lines: list[Line] = []
        self.covered: Counter[str] = Counter()
        self.violations: list[str] = []
        self.processes: dict[str, Process] = {}
        self.mains: dict[str, Main] = {}
        self.calm = False
        self.over = False
        self.ended = self.loop.create_future()
        self._injected: list[CavalcadeError] = []
        self.loop.set_task_factory(cast("Any", self._new_task))
        self.loop.set_exception_handler(self._unheard)

    def say(self, who: str, what: str) -> None:
        self.lines.append(Line(self.loop.now_s, who, what))

    def digest(self) -> str:
        """Of everything that was said: two simulations with the same one were the same."""
        return hashlib.sha256("\n".join(map(str, self.lines)).encode()).hexdigest()

    def violated(self, what: str) -> None:
        self.violations.append(what)
        self.say("!", what)
        if not self.over and not self.ended.done():
            self.ended.set_result(None)

    def fault(self, error: E) -> E:
        """An error that the simulation makes: whoever gives up for it had a reason."""
        self._injected.append(error)
        return error

    def is_fault(self, error: BaseException) -> bool:
        return any(error is known for known in self._injected)

    def close(self) -> None:
        """The end of everybody. What the dying still say counts no more."""
        lines, violations, self.over = list(self.lines), list(self.violations), True
        for process in self.processes.values():
            process.alive = False
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self.lines, self.violations = lines, violations

    def start(self, name: str, main: Main) -> Process:
        process = self.processes[name] = Process(self, name)
        self.mains[name] = main
        context = copy_context()
        context.run(_running.set, process)
        self.loop.create_task(self._live(process, main), context=context)
        return process

    def kill(self, process: Process, why: str) -> None:
        """At once, in the middle of whatever it does; somebody starts it again later."""
        if process.alive:
            process.say(f"killed {why}")
            self._bury(process)

    def _bury(self, process: Process) -> None:
        process.alive = False
        for task in list(process.tasks):
            task.cancel()
        self.loop.call_later(self.chance.uniform(0.05, 2.0), self._again, process.name)

    def _again(self, name: str) -> None:
        if not self.processes[name].alive:
            self.say(name, "starts again")
            self.start(name, self.mains[name])

    async def _live(self, process: Process, main: Main) -> None:
        try:
            await main(process)
        except CavalcadeError as error:
            process.check()
            process.say(f"gives up: {type(error).__name__}: {error.what}")
            if not self.is_fault(error):
                self.violated(
                    f"{process.name} gave up though nothing was wrong outside: {type(error).__name__}: {error.what}"
                )
            self._bury(process)
        except Exception as error:  # noqa: BLE001 - told as what it is: a mistake of the product
            process.check()
            self.violated(f"{process.name} broke: {error!r}")
            self._bury(process)

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        process = context.get(_running) if context is not None else _running.get()
        task = asyncio.Task(coroutine, loop=loop, context=context)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(lambda done: process.tasks.pop(done, None))
            if not process.alive:
                task.cancel()
        return task

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002
        """An error that nobody waited for: of the dead, or one that the simulation made, else a mistake."""
        error = context.get("exception")
        if self.over or isinstance(error, Killed) or (isinstance(error, CavalcadeError) and self.is_fault(error)):
            return
        self.violated(f"nobody heard of {error!r}: {context.get('message')}")
