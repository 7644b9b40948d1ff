"""Many seeds, and what to say of them: which failed, how to see one again, and what all of them went through."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from cavalcade.testing.simulate.simulation import Verdict, simulate

_COLLECT_EVERY = 20
"""Seeds between two collections of garbage: none happens within a seed."""


class Tally(NamedTuple):
    """`covered` counts what happened of each kind, `ended` the runs by how they ended."""

    seeds: int
    events: int
    virtual_s: float
    covered: Counter[str]
    ended: Counter[str]
    failures: tuple[Verdict, ...]


def verdicts(seeds: Iterable[int], run: Callable[[int], Verdict] = simulate) -> Iterator[Verdict]:
    for number, seed in enumerate(seeds, start=1):
        yield run(seed)
        if number % _COLLECT_EVERY == 0:
            gc.collect()


def tally(found: Iterable[Verdict]) -> Tally:
    seeds, events, virtual_s = 0, 0, 0.0
    covered, ended = Counter[str](), Counter[str]()
    failures: list[Verdict] = []
    for verdict in found:
        seeds, events, virtual_s = seeds + 1, events + verdict.events, virtual_s + verdict.virtual_s
        covered.update(verdict.covered)
        ended.update(ending.phase for ending in verdict.endings)
        if verdict.violations:
            failures.append(verdict)
    return Tally(seeds, events, virtual_s, covered, ended, tuple(failures))


def command_for(seed: int | str, bug: str = "") -> str:
    """Shows a seed again, exactly."""
    return f"make simulate SEEDS=1 FIRST={seed} TRACE=1" + (f' ARGS="--bug {bug}"' if bug else "")


def trace(verdict: Verdict, last: int | None = None) -> str:
    """What happened, line by line: virtual time, who, what. `last` leaves out all but the end."""
    lines = verdict.lines if last is None else verdict.lines[-last:]
    left_out = len(verdict.lines) - len(lines)
    return "\n".join([*([f"{'':12}... {left_out} lines before"] if left_out else []), *map(str, lines)])


def failure_text(verdict: Verdict, *, bug: str = "", last: int = 40) -> str:
    wrong = "\n".join(f"  {violation}" for violation in verdict.violations[:5])
    return f"seed {verdict.seed} failed:\n{wrong}\n{trace(verdict, last)}\nagain, from its start: {command_for(verdict.seed, bug)}"


def summary(told: Tally) -> str:
    """How much was simulated, what happened of each kind, and how runs ended."""
    rows = [f"{told.seeds} seeds, {told.events} events, {told.virtual_s / 3600:.1f} hours of virtual time"]
    rows.append("runs: " + ", ".join(f"{count} {phase}" for phase, count in told.ended.most_common()))
    kinds = sorted((name, count) for name, count in told.covered.items() if " while " not in name)
    rows += [f"  {count:8} {name}" for name, count in kinds if not name.startswith("recorded ")]
    rows.append(f"{len(told.failures)} failed" if told.failures else "none failed")
    return "\n".join(rows)
