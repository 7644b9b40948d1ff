"""One row of the benchmark table."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """`ours` and `peer` are figures with their units, `ratio` the one that `target` is about, `ok` whether it is met."""

    name: str
    ours: str
    peer: str
    ratio: float
    target: str
    ok: bool

    def __str__(self) -> str:
        verdict = "ok" if self.ok else "MISSED"
        return f"{self.name:<78} {self.ours:>14} {self.peer:>26} {self.ratio:7.2f}  {self.target:<8} {verdict}"
