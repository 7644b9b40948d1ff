"""A project's own stream: what concerns no single run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cavalcade.domain.run.decide import Refusal
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import VersionConflict
from cavalcade.kernel.ids import ProjectId, new_event_id, project_stream
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.events import Payload, encode

_TRIES = 50
"""Conflicts in a row before giving up: each means that somebody else made progress."""
S = TypeVar("S")


class ProjectStream:
    """Reads and appends. Two of them on one ledger are safe: appends are checked against the stream's version."""

    def __init__(self, ledger: Ledger, clock: Clock, entropy: Entropy) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy

    async def history(self, project: ProjectId) -> list[Recorded]:
        """Oldest first; empty for a project of which nothing but runs is on record."""
        return await self._ledger.read(stream=project_stream(project))

    async def record(
        self,
        project: ProjectId,
        fold: Callable[[list[Recorded]], S],
        decide: Callable[[S], tuple[Payload, ...] | Refusal],
    ) -> list[Recorded]:
        """Decides on the folded stream and appends. Raises Refused when the rules forbid it, LedgerError when it can't be recorded."""
        for _ in range(_TRIES):
            history = await self.history(project)
            decided = decide(fold(history))
            if isinstance(decided, Refusal):
                raise decided.error()
            if not decided:
                return []
            drafts = [self._draft(project, payload) for payload in decided]
            version = history[-1].version if history else 0
            try:
                return await self._ledger.append(project_stream(project), drafts, expected_version=version)
            except VersionConflict:
                continue
        raise VersionConflict(f"project {project} kept changing while an event was to be recorded {_TRIES} times")

    def _draft(self, project: ProjectId, payload: Payload) -> Draft:
        return Draft(
            id=new_event_id(self._clock, self._entropy),
            type=payload.TYPE,
            time=self._clock.now(),
            data=encode(payload),
            project=project,
            role="supervisor",
        )
