"""Whether every object that the record names is in the content stores and can be read, event by event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from cavalcade.content.port import ContentStore
from cavalcade.kernel.errors import ObjectMissing
from cavalcade.kernel.ids import BlobId, ProjectId
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import PlanProposed, decode
from cavalcade.protocol.named import objects_named
from cavalcade.supervisor.inventory import named_by_plans

_PAGE = 500


class Lacking(NamedTuple):
    """An object that can't be read, and the first event that needs it."""

    event: Recorded
    error: ObjectMissing


class Checked(NamedTuple):
    """`objects` were read. `lacking` are those that can't be; `elsewhere` counts those that only events of other installations need."""

    events: int
    objects: int
    lacking: tuple[Lacking, ...]
    elsewhere: int


async def check_content(ledger: Ledger, content_of: Callable[[ProjectId], ContentStore]) -> Checked:
    """One walk over the record; of what was read only the names are kept."""
    seen: dict[ProjectId, set[str]] = {}
    lacking: list[Lacking] = []
    events = elsewhere = position = 0
    while page := await ledger.read(after=position, limit=_PAGE):
        position = page[-1].position
        for recorded in page:
            events += 1
            project = recorded.event.project
            if not project:
                continue
            known = seen.setdefault(project, set())
            errors = await asyncio.to_thread(_errors, content_of(project), recorded, known)
            if recorded.origin == ledger.origin:
                lacking += [Lacking(recorded, error) for error in errors]
            else:
                elsewhere += len(errors)
    return Checked(events, sum(map(len, seen.values())), tuple(lacking), elsewhere)


def _errors(content: ContentStore, recorded: Recorded, seen: set[str]) -> list[ObjectMissing]:
    payload = decode(recorded.event)
    errors = content.unreadable(objects_named(payload), seen)
    if isinstance(payload, PlanProposed) and not errors:
        errors = content.unreadable(named_by_plans(lambda plan: content.read(BlobId(plan)), [payload.plan]), seen)
    return errors
