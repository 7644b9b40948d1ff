"""A unit of work offered to workers."""

from __future__ import annotations

from typing import Literal

from cavalcade.kernel.ids import RunId, TaskId
from cavalcade.protocol.plan import Struct

JobKind = Literal["plan", "task", "verify", "explore"]


class Job(Struct, frozen=True):
    """`round` counts plans for `plan` jobs, `attempt` tries of a task for the others."""

    kind: JobKind
    run: RunId
    task: TaskId = TaskId("")
    attempt: int = 0
    round: int = 0

    @property
    def key(self) -> str:
        """Same key, same work."""
        return f"{self.run}/{self.kind}/{self.task}/{self.attempt}/{self.round}"
