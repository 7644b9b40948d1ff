"""What an agent is given: the record of its run, the content store, the approved plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from cavalcade.content.port import ContentStore
from cavalcade.domain.plan import SealedPlan, unseal
from cavalcade.domain.run import Command, RunState
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import RunId
from cavalcade.protocol.envelope import Recorded


class Record(Protocol):
    """The one way to read and change a run; the supervisor decides what comes of it."""

    async def load(self, run: RunId) -> RunState: ...

    async def execute(self, run: RunId, command: Command) -> RunState:
        """Raises Refused when the rules forbid it."""
        ...

    async def history(self, run: RunId) -> Sequence[Recorded]: ...


def approved_plan(content: ContentStore, state: RunState) -> SealedPlan:
    """The plan that a person approved, read again and hashed again. Raises Refused when the bytes are not those."""
    if state.plan is None or not state.approved_hash:
        raise Refused("no plan is approved", hint="approve the plan first")
    try:
        sealed = unseal(content.read(state.plan))
    except msgspec.DecodeError as exc:
        raise Refused(f"the kept plan {state.plan} can't be read", hint="abort the run and start it again") from exc
    if sealed.hash != state.approved_hash:
        raise Refused(
            f"the kept plan has the hash {sealed.hash[:12]}, approved was {state.approved_hash[:12]}",
            hint="the data folder was changed by something else; abort the run and start it again",
        )
    return sealed
