"""What a record says must be in the content stores: for each project, the objects that its events name and where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from cavalcade.domain.plan import unseal
from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import BlobId, OriginId, ProjectId
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import PlanProposed, decode
from cavalcade.protocol.named import objects_named


@dataclass
class Named:
    """`repository` is the folder that the project's first event tells of; `own` the objects that the chain's owner names, `others`
    those that other origins do; `plans` the plans among them, which name objects in turn."""

    repository: str = ""
    own: set[str] = field(default_factory=set[str])
    others: set[str] = field(default_factory=set[str])
    plans: set[BlobId] = field(default_factory=set[BlobId])

    def all(self) -> set[str]:
        return self.own | self.others


class Inventory:
    """`owner` is the origin whose content is at hand; that of others may not have come along with their events."""

    def __init__(self, owner: OriginId) -> None:
        self.projects: dict[ProjectId, Named] = {}
        self._owner = owner

    def add(self, origin: OriginId, event: Draft) -> None:
        """Raises LedgerDamaged for an event of a project that this version can't read."""
        if not event.project:
            return
        payload = decode(event)
        named = self.projects.setdefault(event.project, Named())
        named.repository = named.repository or getattr(payload, "repository", "")
        (named.own if origin == self._owner else named.others).update(objects_named(payload))
        if isinstance(payload, PlanProposed):
            named.plans.add(payload.plan)


def named_by_plans(read: Callable[[str], bytes], plans: Iterable[BlobId]) -> set[str]:
    """Raises ObjectMissing, LedgerDamaged."""
    found: set[str] = set()
    for plan in plans:
        try:
            found |= objects_named(unseal(read(plan)).plan)
        except msgspec.DecodeError as exc:
            raise LedgerDamaged(f"the plan {plan} can't be read: {exc}") from exc
    return found
