"""Identifiers. Each is a `NewType`, so that a run's id can't be passed where a task's is meant."""

from __future__ import annotations

from typing import NewType

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy

EventId = NewType("EventId", str)
"""UUIDv7 text: unique everywhere, sorts by time."""
RunId = NewType("RunId", str)
"""`r` and 12 characters of Crockford base 32, time first: short enough to type."""
TaskId = NewType("TaskId", str)
"""Unique within its plan: `t1`, `t2`, ..."""
ProjectId = NewType("ProjectId", str)
OriginId = NewType("OriginId", str)
"""One installation that writes to a ledger; owner of one hash chain."""
StreamId = NewType("StreamId", str)
"""`run/<id>`, `project/<id>`, `node/<id>`, `tenant/<id>`."""
BlobId = NewType("BlobId", str)
TreeId = NewType("TreeId", str)
CommitId = NewType("CommitId", str)
"""Git object names, 40 hexadecimal digits."""

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def run_stream(run: RunId) -> StreamId:
    return StreamId(f"run/{run}")


def project_stream(project: ProjectId) -> StreamId:
    return StreamId(f"project/{project}")


def node_stream(origin: OriginId) -> StreamId:
    return StreamId(f"node/{origin}")


def new_event_id(clock: Clock, entropy: Entropy) -> EventId:
    """A UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits."""
    millis = f"{int(clock.now().timestamp() * 1000) & _48_BITS:012x}"
    random = entropy.bytes(10).hex()
    variant = "89ab"[int(random[4], 16) & 3]
    return EventId(f"{millis[:8]}-{millis[8:]}-7{random[:3]}-{variant}{random[5:8]}-{random[8:]}")


_48_BITS = (1 << 48) - 1


def new_run_id(clock: Clock, entropy: Entropy) -> RunId:
    """Sorts by the second it was made in; 25 random bits keep two of the same second apart."""
    value = (int(clock.now().timestamp()) & (1 << 35) - 1) << 25 | int.from_bytes(entropy.bytes(4), "big") >> 7
    digits = ""
    for _ in range(12):
        value, digit = divmod(value, 32)
        digits = _BASE32[digit] + digits
    return RunId("r" + digits)
