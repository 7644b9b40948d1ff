"""Time as an argument: nothing below the edges reads a clock of its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment, in UTC with zone, to the microsecond."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, never going back: for durations only."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()
