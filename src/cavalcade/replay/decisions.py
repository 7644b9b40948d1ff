"""The rules again: each group of events on record is what today's `decide` gives for the command behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

from cavalcade.content.port import TreeReader
from cavalcade.domain.plan import SealedPlan, unseal
from cavalcade.domain.run import Refusal, decide
from cavalcade.domain.run.steps import PlanOf, Step
from cavalcade.kernel.ids import BlobId
from cavalcade.protocol import events as e
from cavalcade.replay.divergence import Divergence, compared, told
from cavalcade.supervisor.timeline import short_type

_BEFORE_IT = (e.GateJudged, e.DecisionMade)
"""What is recorded along with an event, ahead of it."""


def plans_in(content: TreeReader) -> PlanOf:
    """Looks plans up in a content store, each once. It raises ObjectMissing, msgspec.DecodeError."""

    @cache
    def plan_of(blob: BlobId) -> SealedPlan:
        return unseal(content.read(blob))

    return plan_of


def decided_again(steps: Iterable[Step], first: int) -> Iterator[Divergence]:
    """Where today's rules decide otherwise; `first` is the number of the first step's first event."""
    for step in steps:
        decided = decide(step.state, step.command)
        if isinstance(decided, Refusal):
            what = next(index for index, event in enumerate(step.events) if not isinstance(event, _BEFORE_IT))
            event = step.events[what]
            yield Divergence(
                version=first + what,
                type=short_type(event.TYPE),
                layer="decision",
                recorded=told(event),
                came_out=f"{type(step.command).__name__} is refused: {decided.what}",
            )
        else:
            yield from compared("decision", first, step.events, decided)
        first += len(step.facts)
