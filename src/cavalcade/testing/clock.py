"""Time and randomness that a test holds in its hand: nothing passes and nothing is drawn but by its will."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

START = datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until told otherwise.

    `tick_s` lets every reading of `now` pass that much time, so that moments differ without anybody advancing the clock.
    """

    def __init__(self, start: datetime = START, *, tick_s: float = 0.0) -> None:
        self._now = start
        self._monotonic_s = 0.0
        self._tick_s = tick_s

    def now(self) -> datetime:
        if self._tick_s:
            self.advance(self._tick_s)
        return self._now

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Time passes, on the wall and for durations. Raises ValueError below 0: use `jump`."""
        if seconds < 0:
            raise ValueError(f"time can't pass by {seconds} s; jump() sets the wall clock back")
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock, forwards or back; durations don't notice."""
        self._now += timedelta(seconds=seconds)


class SeededEntropy:
    """The same seed, the same bytes, in the same order."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)
