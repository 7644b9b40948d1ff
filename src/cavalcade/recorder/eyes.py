"""The thread that watches: waits until something is touched, lets it settle for a moment, and looks.

A burst (an editor that writes aside and renames, a formatter over a hundred files) is one look when its steps follow each other within
`QUIET_S`; whatever goes on longer is looked at every `LONGEST_S`. A state of a file that lasts longer than that and the time it takes to
read what was touched is never missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from cavalcade.kernel.clock import Clock
from cavalcade.recorder.looking import Gaze, Look
from cavalcade.recorder.watching import EVERYTHING, NOTHING, Touched, Watch

QUIET_S = 0.003
LONGEST_S = 0.012
_SWEEP_S = 2.0
"""Full looks: what inotify can't tell is seen then at the latest."""
_SWEEP_BLIND_S = 0.05
"""Where folders aren't watched, full looks are all there is."""
_SWEEP_SHARE = 20
"""A full look may take one part in this many of the time; a fifth of it where folders aren't watched."""
_LAST_LOOKS = 20
"""Something else may still be writing when the program has ended; its states are not waited for."""


class Eyes:
    """`sink` takes each look that differs, in order; it may block, which makes the next look later, never the program."""

    def __init__(self, gaze: Gaze, watch: Watch, sink: Callable[[Look], None], clock: Clock) -> None:
        self._gaze = gaze
        self._watch = watch
        self._sink = sink
        self._clock = clock
        self._ended = threading.Event()
        self.longest_s = 0.0
        """The longest time from something touched to the end of its look."""

    def end(self) -> None:
        """The program has ended: `run` looks at everything once more and returns."""
        self._ended.set()
        self._watch.wake()

    def run(self) -> None:
        """Blocks until `end`. For a thread of its own."""
        due_s = self._clock.monotonic_s()
        while not self._ended.is_set():
            began_s = self._clock.monotonic_s()
            if began_s >= due_s:
                self._sweep()
                done_s = self._clock.monotonic_s()
                due_s = done_s + self._pause_s(done_s - began_s)
            else:
                self._wait(QUIET_S if self._gaze.unsettled else due_s - began_s)
        self._look(EVERYTHING)
        for _ in range(_LAST_LOOKS):
            if not self._gaze.unsettled:
                break
            self._look(NOTHING)

    def _wait(self, timeout_s: float) -> None:
        """Until something is touched, and looks at it."""
        touched = self._watch.wait(timeout_s)
        if not touched:
            self._look(NOTHING)
            return
        woken_s = self._clock.monotonic_s()
        self._look(touched | self._settled(woken_s))
        self.longest_s = max(self.longest_s, self._clock.monotonic_s() - woken_s)

    def _sweep(self) -> None:
        """Everything, part by part; what is touched meanwhile goes first."""
        for look in self._gaze.sweep():
            if look.changes:
                self._sink(look)
            if self._ended.is_set():
                return
            self._wait(0)

    def _pause_s(self, took_s: float) -> float:
        if self._watch.complete:
            return max(_SWEEP_S, took_s * _SWEEP_SHARE)
        return max(_SWEEP_BLIND_S, took_s * _SWEEP_SHARE / 5)

    def _settled(self, woken_s: float) -> Touched:
        """What else is touched until nothing is for a moment, or it has gone on for too long."""
        touched = NOTHING
        while (left_s := woken_s + LONGEST_S - self._clock.monotonic_s()) > 0:
            more = self._watch.wait(min(QUIET_S, left_s))
            if not more:
                break
            touched |= more
        return touched

    def _look(self, touched: Touched) -> None:
        if touched or self._gaze.unsettled:
            look = self._gaze.look(touched)
            if look.changes:
                self._sink(look)
