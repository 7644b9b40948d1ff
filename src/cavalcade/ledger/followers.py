"""Waking those who wait for news. Holds one flag per follower and never an event, so a slow follower costs no memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from cavalcade.protocol.envelope import Recorded

ReadPage = Callable[[int], Awaitable[list[Recorded]]]
"""The next page of events after a position."""


def deliver(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: Any) -> None:
    """Runs `function` in a loop of any thread. A loop that has closed has nobody left who waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


class Followers:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flags: dict[asyncio.AbstractEventLoop, set[asyncio.Event]] = {}
        self.closed = False

    def __bool__(self) -> bool:
        return bool(self._flags)

    def wake(self) -> None:
        """There may be news. Any thread may call this."""
        with self._lock:
            flags = [(loop, tuple(waiting)) for loop, waiting in self._flags.items()]
        for loop, waiting in flags:
            deliver(loop, _set_all, waiting)

    def close(self) -> None:
        """Lets every follower come to its end."""
        self.closed = True
        self.wake()

    async def follow(self, read_page: ReadPage, after: int, started: Callable[[], None]) -> AsyncGenerator[Recorded]:
        """`started` is called once this follower can be woken."""
        loop = asyncio.get_running_loop()
        flag = asyncio.Event()
        with self._lock:
            self._flags.setdefault(loop, set()).add(flag)
        try:
            started()
            while not self.closed:
                # Lowered before the page is read: what is committed after that raises it again, so nothing is missed.
                flag.clear()
                page = await read_page(after)
                for recorded in page:
                    yield recorded
                    after = recorded.position
                if not page and not self.closed:
                    await flag.wait()
        finally:
            with self._lock:
                waiting = self._flags[loop]
                waiting.discard(flag)
                if not waiting:
                    del self._flags[loop]


def _set_all(flags: tuple[asyncio.Event, ...]) -> None:
    for flag in flags:
        flag.set()
