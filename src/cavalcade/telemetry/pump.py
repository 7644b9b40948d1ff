"""One thread for each channel, which follows the record at its own pace.

The pump asks for events by position when it has time for them. Nothing waits for it and nothing is queued for it, so a channel that is
slow or dead costs the run nothing: neither time nor memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable

from cavalcade.kernel.errors import CavalcadeError
from cavalcade.protocol.envelope import Recorded
from cavalcade.telemetry.channel import Channel, ChannelLost

Source = Callable[[], AsyncIterator[Recorded]]
"""Follows the record from where the channel begins; called once, in the pump's own event loop."""
_GRACE_S = 0.2
"""For giving up: a pump that blocks even then is left behind, and ends with its process."""


class Pump:
    """`position` is that of the last event sent; `problem` why no more are; `complete` whether all that was to leave has left."""

    def __init__(self, channel: Channel, source: Source, *, after: int) -> None:
        self.channel = channel
        self.position = after
        self.problem = ""
        self.complete = False
        self._source = source
        self._last: int | None = None
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"side-channel-{channel.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def finish(self, last: int) -> None:
        """Nothing beyond position `last` is to be sent: the pump ends when it is there and all is taken."""
        self._in_loop(self._end_at, last)

    def wait_ended(self, timeout_s: float) -> bool:
        return self._ended.wait(timeout_s)

    def abandon(self) -> None:
        """Ends the pump where it stands."""
        self.channel.interrupt()
        self._in_loop(self._task.cancel)
        self._ended.wait(_GRACE_S)

    def _in_loop(self, function: Callable[..., object], *arguments: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: the pump has ended by itself
            self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._ended.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._following = asyncio.create_task(self._follow())
        self._ready.set()
        try:
            await asyncio.wait({self._following})
            if not self._following.cancelled():
                self._following.result()
            await self.channel.flush()
            self.complete = True
        except (ChannelLost, CavalcadeError) as lost:
            self.problem = str(lost)
        except asyncio.CancelledError:  # out of time
            self.problem = self.channel.trouble() or "nobody takes them"
        finally:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            await self.channel.aclose()

    async def _follow(self) -> None:
        await self.channel.open()
        async for recorded in self._source():
            await self.channel.send(recorded)
            self.position = recorded.position
            if self._last is not None and self.position >= self._last:
                break

    def _end_at(self, last: int) -> None:
        self._last = last
        if self.position >= last:
            self._following.cancel()
