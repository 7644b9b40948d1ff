"""An event loop without an outside: no sockets, no threads, and time that passes only when nothing is left to be done now.

The same coroutines, in the same order, at the same virtual time, each time it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(Exception):
    """Nothing will ever happen again, or what happens never ends."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """`limit` bounds the rounds, of which each runs what is ready: who waits without waiting is found out."""

    def __init__(self, *, limit: int = 200_000) -> None:
        super().__init__()
        self._selector = _Waiting(self)
        self._clock_resolution = 1e-9
        self.now_s = 0.0
        self.rounds = 0
        self.limit = limit

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # noqa: ARG002
        """At once, in place: there is no other thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - carried over to who waits for it, as an executor does
            future.set_exception(error)
        return future

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a system call."""


class _Waiting:
    """What `BaseEventLoop` asks for events, and how long to wait for them: here time passes."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        self._loop.rounds += 1
        if self._loop.rounds > self._loop.limit:
            raise Stuck(f"still busy after {self._loop.limit} rounds")
        if timeout is None:
            raise Stuck("everybody waits and nothing is under way")
        self._loop.now_s += timeout
        return []
