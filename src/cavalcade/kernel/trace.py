"""Trace and span ids (W3C Trace Context): derived from what they stand for, so that nobody has to hand them on.

The same run has the same trace in every process and on every machine, and a run that is resumed goes on in the same spans.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cavalcade.kernel.ids import RunId


@lru_cache(maxsize=1024)
def trace_id(run: RunId) -> str:
    """32 hexadecimal digits: a run is a trace."""
    return hashlib.sha256(f"cavalcade trace\0{run}".encode()).hexdigest()[:32]


def span_id(run: RunId, *parts: str | int) -> str:
    """16 hexadecimal digits for a part of a run, named by its kind and numbers; without parts, the run's own span."""
    return hashlib.sha256("\0".join(("cavalcade span", run, *map(str, parts))).encode()).hexdigest()[:16]
