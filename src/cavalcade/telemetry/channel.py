"""What the pump asks of a channel."""

from __future__ import annotations

from typing import Protocol

from cavalcade.protocol.envelope import Recorded

LINES_AGAIN = "cavalcade log RUN --json"
SPANS_AGAIN = "cavalcade trace RUN --export PATH"


class ChannelLost(Exception):
    """Nothing more can leave by this channel; the text says why."""


class Channel(Protocol):
    """Lives in the event loop of its own pump, and may block that: nobody else runs there."""

    name: str
    again: str
    """The command that tells once more what did not get out."""

    async def open(self) -> None: ...

    async def send(self, recorded: Recorded) -> None:
        """Returns when the event is where the channel promises to keep it, however long that takes. Raises ChannelLost.

        When it is cancelled the event may have left in part.
        """
        ...

    async def flush(self) -> None:
        """Returns when whoever listens now has taken what was sent. Raises ChannelLost."""
        ...

    def trouble(self) -> str:
        """Why nothing leaves at this moment; empty when nothing is known to be wrong."""
        ...

    def interrupt(self) -> None:
        """Any thread: what blocks should end soon."""
        ...

    async def aclose(self) -> None: ...
