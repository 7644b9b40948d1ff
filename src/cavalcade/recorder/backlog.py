"""Between those who see and the one who keeps: bounded, in the order of what happened.

Who looks waits when it is full, so that looks get rarer; output never waits for room, since the program would wait with it: what finds
no room is counted and lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from cavalcade.recorder.looking import Look
from cavalcade.recorder.port import Said

Channel = Literal["terminal", "stdout", "stderr"]


class Written(NamedTuple):
    """What the program wrote at once."""

    at: datetime
    channel: Channel
    data: bytes


Item = Look | Written | Said
_MOST_BYTES = 64 << 20
_OUTPUT_BYTES = 16 << 20


class Backlog:
    """Put from any thread, taken on the event loop that it was made on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._room = threading.Condition()
        self._items: list[Item] = []
        self._bytes = 0
        self._output_bytes = 0
        self._closed = False
        self.lost_looks = 0
        self.lost_bytes = 0
        """Of output, for which there was no room."""

    def put(self, item: Look | Said) -> None:
        """Waits for room. Nothing is taken any more after `close`."""
        with self._room:
            self._room.wait_for(lambda: self._bytes < _MOST_BYTES or self._closed)
            if self._closed:
                self.lost_looks += isinstance(item, Look)
                return
            self._items.append(item)
            self._bytes += item.size_bytes if isinstance(item, Look) else 0
        self._tell()

    def put_output(self, written: Written) -> None:
        with self._room:
            if self._closed or self._output_bytes + len(written.data) > _OUTPUT_BYTES:
                self.lost_bytes += len(written.data)
                return
            self._items.append(written)
            self._output_bytes += len(written.data)
        self._tell()

    @property
    def empty(self) -> bool:
        with self._room:
            return not self._items

    async def take(self, timeout_s: float) -> Sequence[Item]:
        """Everything there is; waits for something until the timeout."""
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return ()
        self._news.clear()
        with self._room:
            items, self._items = self._items, []
            self._bytes = self._output_bytes = 0
            self._room.notify_all()
        return items

    def wake(self) -> None:
        """Ends a `take` that waits."""
        self._news.set()

    def close(self) -> None:
        """Nobody takes any more: who waits for room goes on, and what is put is dropped."""
        with self._room:
            self._closed = True
            self.lost_looks += sum(isinstance(item, Look) for item in self._items)
            self._items.clear()
            self._room.notify_all()

    def _tell(self) -> None:
        self._loop.call_soon_threadsafe(self._news.set)
