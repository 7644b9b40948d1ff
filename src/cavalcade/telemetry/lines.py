"""An event as one line: CloudEvents 1.0 in its JSON format, with Cavalcade's extension attributes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from cavalcade.protocol.envelope import Recorded

DROPPED = "cavalcade.events.dropped.v1"
"""Type of the mark that stands where lines were given up. It is no event: it has no `position`."""
_RUNS = 16
"""Runs that a mark names."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Attributes that are empty are left out, as CloudEvents wants it; `specversion` never is."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str = ""
    time: datetime
    datacontenttype: str
    traceid: str = ""
    spanid: str = ""
    tenant: str = ""
    project: str = ""
    run: str = ""
    task: str = ""
    agent: str = ""
    role: str = ""
    position: int
    stream: str
    version: int
    origin: str
    originseq: int
    prevhash: str
    hash: str
    data: msgspec.Raw


class Dropped(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`count` events with positions from `first` to `last`; `runs` are those they belong to, the first few."""

    count: int
    first: int
    last: int
    runs: tuple[str, ...] = ()
    recover: str = ""


class _Known(msgspec.Struct):
    """What is read of a line that is given up."""

    position: int = 0
    run: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


def line_of(recorded: Recorded) -> bytes:
    """One line with its line feed."""
    event = recorded.event
    line = _Line(
        specversion=event.specversion,
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=event.time,
        datacontenttype=event.datacontenttype,
        traceid=event.traceid,
        spanid=event.spanid,
        tenant=event.tenant,
        project=event.project,
        run=event.run,
        task=event.task,
        agent=event.agent,
        role=event.role,
        position=recorded.position,
        stream=recorded.stream,
        version=recorded.version,
        origin=recorded.origin,
        originseq=recorded.originseq,
        prevhash=recorded.prevhash,
        hash=recorded.hash,
        data=event.data,
    )
    return msgspec.json.encode(line) + b"\n"


def dropped_line(lines: bytes) -> bytes:
    """The mark in place of whole lines that are given up; marks among them are added up."""
    counted, positions, runs = 0, list[int](), dict[str, None]()
    for line in lines.splitlines():
        known = msgspec.json.decode(line, type=_Known)
        if known.type == DROPPED:
            before = msgspec.json.decode(known.data, type=Dropped)
            counted += before.count
            positions += [before.first, before.last]
            runs |= dict.fromkeys(before.runs)
        else:
            counted += 1
            positions.append(known.position)
            runs[known.run] = None
    named = tuple(run for run in runs if run)[:_RUNS]
    recover = "; ".join(f"cavalcade log {run} --json" for run in named)
    mark = Dropped(count=counted, first=min(positions), last=max(positions), runs=named, recover=recover)
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"dropped-{mark.first}-{mark.last}",
        "source": "cavalcade",
        "type": DROPPED,
        "datacontenttype": "application/json",
        "data": mark,
    }
    return msgspec.json.encode(document) + b"\n"
