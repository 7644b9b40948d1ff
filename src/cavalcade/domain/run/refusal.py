"""What a decider answers: the events that follow from a command, or why it can't be carried out."""

from __future__ import annotations

from cavalcade.kernel.errors import Refused
from cavalcade.protocol.events import Payload
from cavalcade.protocol.plan import Struct


class Refusal(Struct, frozen=True):
    """Why a command can't be carried out in this state. Nothing was recorded."""

    what: str
    expected: str = ""
    hint: str = ""

    def error(self) -> Refused:
        return Refused(self.what, expected=self.expected, hint=self.hint)


Decided = tuple[Payload, ...] | Refusal
