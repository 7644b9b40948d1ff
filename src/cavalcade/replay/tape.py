"""A ledger that already knows what comes next: it compares what a run wants to record with what it recorded then.

What is recorded stays what is on record, with its ids and times, so that all that follows from them (commits, the order of the merge
queue) is the same again. Who comes too early waits until the record has come to where it speaks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, NamedTuple

from cavalcade.domain.run import Command
from cavalcade.domain.run.steps import Step
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import VersionConflict
from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.events import decode
from cavalcade.replay.divergence import Divergence, compared, told
from cavalcade.supervisor.timeline import short_type

_BY_PEOPLE = (e.RunRequested, e.RunForked, e.PlanApproved, e.FeedbackInjected, e.RunAborted, e.RunHalted, e.RunResumed)

_TELLS_ONLY = (e.GateJudged, e.DecisionMade)
"""No rule depends on these: what follows from them is on record beside them."""

Lane = tuple[Literal["person", "run", "task"], str]
"""Who speaks: a person, the run's own work, or what is done for one task. In a lane, things come one after the other."""


class Group(NamedTuple):
    """What one command led to. `first` is the number of its first event in the run."""

    first: int
    command: Command
    recorded: tuple[Recorded, ...]
    payloads: tuple[e.Payload, ...]

    @property
    def lane(self) -> Lane:
        return lane_of(self.payloads[0])


def lane_of(payload: e.Payload) -> Lane:
    if isinstance(payload, _BY_PEOPLE):
        return ("person", "")
    task: str = getattr(payload, "task", "")
    return ("task", task) if task else ("run", "")


def groups_of(steps: Sequence[Step], own: Sequence[Recorded], shared: int) -> list[Group]:
    """The run's own events by the commands behind them; `shared` events of its parent come before."""
    groups: list[Group] = []
    start = 0
    for step in steps:
        end = start + len(step.facts)
        groups.append(Group(shared + start + 1, step.command, tuple(own[start:end]), step.events))
        start = end
    return groups


class Tape(MemoryLedger):
    """`stream` is the run's; other streams are recorded as they come."""

    def __init__(self, stream: StreamId, groups: Sequence[Group], *, entropy: Entropy) -> None:
        super().__init__(entropy=entropy)
        self._stream = stream
        self._groups = groups
        self._moved = asyncio.Event()
        self.played = 0
        self.left = False
        """Whether something else came out that all the rest stands on: then it says nothing any more."""
        self.divergences: list[Divergence] = []
        self.same: list[e.Payload] = []
        """Events that came out as they are on record."""

    @property
    def due(self) -> Group | None:
        """What comes next; None at the end of the record, and where the run took another course."""
        return self._groups[self.played] if self.played < len(self._groups) and not self.left else None

    async def moved(self, played: int) -> None:
        """Returns as soon as the record stands somewhere else than after `played` groups."""
        while self.played == played:
            await self._moved.wait()

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        """The recorded events in place of these. Waits, for ever if need be, until it is their lane's turn."""
        if stream != self._stream:
            return await super().append(stream, events, expected_version=expected_version)
        payloads = tuple(decode(event) for event in events)
        lane = lane_of(payloads[0])
        while (group := self.due) is None or group.lane != lane:
            await self.moved(self.played)
        version = await self.version(stream)
        if expected_version is not None and expected_version != version:
            raise VersionConflict(f"{stream} is at {version}", expected=f"{expected_version}")
        found = list(compared("effect", group.first, group.payloads, payloads))
        self.divergences += found
        alike = [type(payload) for payload in payloads] == [type(payload) for payload in group.payloads]
        self.left = not alike or any(
            not isinstance(group.payloads[each.version - group.first], _TELLS_ONLY) for each in found
        )
        diverged = {each.version for each in found}
        self.same += [payload for number, payload in enumerate(group.payloads, group.first) if number not in diverged]
        return await self._play(group)

    def leave(self, group: Group, came_out: str) -> None:
        """Something else came of the work than the group that was due."""
        event = group.payloads[0]
        self.divergences.append(
            Divergence(
                version=group.first,
                type=short_type(event.TYPE),
                layer="effect",
                recorded=told(event),
                came_out=came_out,
            )
        )
        self.left = True

    async def answer(self) -> None:
        """What is due is taken from the record, since it came from outside."""
        group = self.due
        assert group is not None  # at the end nothing is asked
        self.same += group.payloads
        await self._play(group)

    async def _play(self, group: Group) -> list[Recorded]:
        recorded = await super().append(self._stream, [recorded.event for recorded in group.recorded])
        self.played += 1
        self._moved.set()
        self._moved = asyncio.Event()
        return recorded
