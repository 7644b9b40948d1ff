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

    async def renew(self, lease_s: float) -> bool:
        """The supervisor watches over what it offered for another `lease_s` seconds, from when a worker hears of it.

        False when the last lease had run out before: work under it has stopped or will, and no renewal brings it back.
        """
        ...

    def supervised_until_s(self, job: Job) -> float:
        """When the lease on a claimed job runs out, by the monotonic clock of who claimed it; minus infinity before the first."""
        ...
