"""Filling the pool in the background, in a process of its own that gets only what nobody else wants of the machine.

`python -m cavalcade.sandbox.refilling`: the order stands in its first line of input. It looks again and again for what is missing, until
its input ends: that is when the process that started it ends it, or has died. It may be killed at any time.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from cavalcade.content.git import GitContentStore
from cavalcade.domain.pool import Bounds
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.errors import ContentError
from cavalcade.kernel.ids import ProjectId, TreeId
from cavalcade.sandbox.pooled import PooledWorkspaces
from cavalcade.sandbox.workspaces import SOURCES, WHOLE

_PAUSE_S = 0.5
_LAYOUTS = ((WHOLE, 2), (SOURCES, 1))
"""What a run with tests needs: the tree before and the tree after, and one for the resolvers."""


class Order(msgspec.Struct, frozen=True):
    """Keep workspaces of `project` ready at `tree`; `content` is its store's folder."""

    pool: str
    content: str
    project: ProjectId
    tree: TreeId
    bounds: Bounds


@contextmanager
def refilling(order: Order) -> Generator[None]:
    """Fills while the body runs; nothing more is begun when it is left. Without processes to spare nothing is filled."""
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for whoever started it
        )
    except OSError:
        yield
        return
    try:
        with suppress(OSError):  # where the kernel knows no such class it competes like any other
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
        yield
    finally:
        process.kill()
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        # It does nothing more; that it is gone may take the processor a while, in its class.
        threading.Thread(target=process.wait, daemon=True).start()


async def fill(order: Order, pause_s: float = _PAUSE_S) -> None:
    """For ever. Raises ContentError, OSError when something can't be laid out."""
    content = GitContentStore(Path(order.content))
    pool = PooledWorkspaces(Path(order.pool), order.project, order.bounds, SystemClock(), SystemEntropy())
    while True:
        for layout, count in _LAYOUTS:
            await pool.refill(content, order.tree, layout, count)
        await asyncio.sleep(pause_s)


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_input, daemon=True).start()
    with suppress(
        ContentError, OSError
    ):  # no room, or the content is gone: then nothing is ready, and whoever asks is told why
        asyncio.run(fill(order))


if __name__ == "__main__":
    main()
