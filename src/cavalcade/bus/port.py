"""What other rooms may ask of a bus. It carries work and holds no truth: whatever is lost here is offered again from the ledger."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cavalcade.protocol.job import Job


class Outcome(NamedTuple):
    """How a job ended. `error` is None when it was carried out."""

    job: Job
    error: Exception | None


class Bus(Protocol):
    async def offer(self, job: Job) -> bool:
        """Puts a job into the work queue; False when one with the same key is already waiting or under way."""
        ...

    async def claim(self) -> Job:
        """Waits for a job; it is this caller's alone until `finish`."""
        ...

    async def finish(self, outcome: Outcome) -> None:
        """Ends a claimed job and tells whoever waits in `outcome`."""
        ...

    async def outcome(self) -> Outcome:
        """Waits for the next job to end."""
        ...
