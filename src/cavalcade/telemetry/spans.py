"""Spans as plain data, before any exporter sees them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

Value = str | int | float | bool | tuple[str, ...]
Status = Literal["unset", "ok", "error"]
MOST_NOTES = 128
"""Notes in one span, as many as the OpenTelemetry SDK keeps; what is beyond is counted in `cavalcade.notes_omitted`."""


class Note(NamedTuple):
    """A moment within a span."""

    name: str
    time: datetime
    attributes: Mapping[str, Value]


class Span(NamedTuple):
    """Ids in hexadecimal, 32 and 16 digits; `parent` is empty for a run's own span. `end` is None while it is open.

    `name` is one of few, as traces want it; `label` tells a person which one it is. `position` is that of the event that ended it.
    """

    trace: str
    id: str
    parent: str
    name: str
    label: str
    start: datetime
    end: datetime | None
    status: Status
    message: str
    attributes: Mapping[str, Value]
    notes: tuple[Note, ...]
    position: int


class OpenSpan:
    """A span that has begun; `id` may be set anew until it ends."""

    def __init__(self, trace: str, id: str, parent: str, name: str, label: str, start: datetime) -> None:
        self.trace, self.id, self.parent = trace, id, parent
        self.name, self.label, self.start = name, label, start
        self.attributes: dict[str, Value] = {}
        self.notes: list[Note] = []

    def note(self, name: str, time: datetime, **attributes: Value) -> None:
        if len(self.notes) < MOST_NOTES:
            self.notes.append(Note(name, time, {f"cavalcade.{key}": value for key, value in attributes.items()}))
        else:
            omitted = self.attributes.get("cavalcade.notes_omitted", 0)
            self.attributes["cavalcade.notes_omitted"] = (omitted if isinstance(omitted, int) else 0) + 1

    def seen(self, end: datetime | None, status: Status, message: str, position: int) -> Span:
        """Clocks may go back; a span never ends before it starts."""
        last = None if end is None else max(self.start, end)
        about = (self.trace, self.id, self.parent, self.name, self.label, self.start, last, status, message)
        return Span(*about, dict(self.attributes), tuple(self.notes), position)
