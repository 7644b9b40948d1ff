"""A sandbox of which every command is watched in a thread of its own, and what comes out of that watch."""

from __future__ import annotations

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox.port import Command, Limits, Result, Told
from cavalcade.sandbox.watch import Line, Outcome


class Watched(ABC):
    """Runs `_run` off the event loop; when the caller is cancelled the command is killed before the cancellation goes on."""

    tool: str
    """What the sandbox is made with, as errors call it."""

    @abstractmethod
    def _run(self, command: Command, limits: Limits, line: Line) -> Outcome:
        """In a thread of its own, from first to last."""

    async def run(self, command: Command, limits: Limits, *, told: Told | None = None) -> Result:
        cancel = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        executor = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        loop = asyncio.get_running_loop()
        line = Line(cancel, partial(loop.call_soon_threadsafe, told) if told else None)
        done = loop.run_in_executor(executor, self._run, command, limits, line)
        try:
            outcome = await asyncio.shield(done)
        except asyncio.CancelledError:
            os.eventfd_write(cancel, 1)
            await _settled(done)
            raise
        finally:
            executor.shutdown(wait=False)
            os.close(cancel)
        return self._result(outcome)

    def _result(self, outcome: Outcome) -> Result:
        status, hit = outcome.status, outcome.hit
        if status is None and not hit:
            text = outcome.stderr.decode(errors="replace").strip()
            raise SandboxUnavailable(f"the sandbox could not be set up: {text or 'it ended without a report'}")
        number = status - 128 if status is not None and 128 < status < 128 + signal.NSIG else 0
        if number in (signal.SIGXCPU, signal.SIGXFSZ) and not hit:
            hit = "cpu" if number == signal.SIGXCPU else "file_size"
        return Result(
            exit_code=None if hit or number else status,
            signal=int(signal.SIGKILL) if hit and not number else number,
            hit=hit,
            stdout=outcome.stdout,
            stderr=outcome.stderr,
            duration_s=outcome.duration_s,
            peak_rss_bytes=outcome.peak_rss_bytes,
            met=outcome.met,
        )


async def _settled(done: asyncio.Future[Outcome]) -> None:
    """Waits for the end whatever it is, also when cancelled again meanwhile."""
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError:
            continue
    done.exception()
