"""The dead-man's switch: a worker goes on only while somebody watches over it.

The supervisor renews a lease on the bus. When it is silent for longer (its task died, its loop is stuck, its process was stopped, the
network is down), a worker stops at its next step, nothing of the step is recorded, and what runs in a sandbox is killed at the end of
the lease: by a thread, since a loop that is stuck can't do it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from cavalcade.agents.port import Record
from cavalcade.domain.run import Command, RunState
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import Unsupervised
from cavalcade.kernel.ids import RunId
from cavalcade.protocol.envelope import Recorded

_LOOK_S = 0.05


class Supervision:
    """What a worker knows of a lease, which runs `until_s`. Once it has run out it stays so, whatever is heard later.

    Any thread may ask.
    """

    def __init__(self, until_s: Callable[[], float], clock: Clock) -> None:
        self._until_s = until_s
        self._clock = clock
        self._lapsed = threading.Event()

    @property
    def lapsed(self) -> bool:
        if not self._lapsed.is_set() and self._clock.monotonic_s() > self._until_s():
            self._lapsed.set()
        return self._lapsed.is_set()

    def check(self) -> None:
        """Raises Unsupervised."""
        if self.lapsed:
            raise left_alone()


def left_alone() -> Unsupervised:
    return Unsupervised(
        "the supervisor was silent for longer than its lease: the worker has stopped",
        hint="find out what held it up, then go on with `cavalcade resume`",
    )


class SupervisedRecord:
    """A record that nothing is added to by a worker that was left alone."""

    def __init__(self, record: Record, supervision: Supervision) -> None:
        self._record = record
        self._supervision = supervision

    async def load(self, run: RunId) -> RunState:
        return await self._record.load(run)

    async def execute(self, run: RunId, command: Command) -> RunState:
        """Raises Unsupervised, and what the record raises."""
        self._supervision.check()
        return await self._record.execute(run, command)

    async def history(self, run: RunId) -> Sequence[Recorded]:
        return await self._record.history(run)


class DeadMan:
    """Calls `kill` once, when the lease has run out."""

    def __init__(self, supervision: Supervision, kill: Callable[[], object]) -> None:
        self._supervision = supervision
        self._kill = kill
        self._over = threading.Event()

    def look(self) -> bool:
        """Whether there is anything left to look at."""
        if not self._supervision.lapsed:
            return True
        self._kill()
        return False

    @contextmanager
    def watching(self) -> Generator[None]:
        """While this lasts a thread looks."""
        thread = threading.Thread(target=self._watch, name="dead-man", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S) and self.look():
            pass
