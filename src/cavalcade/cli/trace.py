"""`trace`: a run as spans, for people as bars over its time, for tools as OTLP JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.errors import UsageError
from cavalcade.supervisor.timeline import count, duration
from cavalcade.telemetry.otlp_json import otlp_line
from cavalcade.telemetry.spans import Span
from cavalcade.telemetry.tracing import spans

_BAR = (10, 60)
"""Columns of the time axis, at least and at most."""
_LABEL = 44
"""Columns of the longest label."""
_REST = 14
"""Columns for the mark before a line and the time behind it."""
_BATCH = 512
_STYLES = {"ok": "green", "error": "red", "unset": "cyan"}
_MARKS = {"ok": " ", "error": "!", "unset": " "}


class Line(NamedTuple):
    depth: int
    span: Span


async def trace(system: System, terminal: Terminal, text: str, into: Path | None, *, everything: bool) -> int:
    """Without `everything`, edits and gates are left out where they went well."""
    run = choose_run(text, await system.runs.list())
    found = spans(await system.runs.history(run))
    if into is not None:
        _export([span for span in found if span.end is not None], into)
        terminal.say(f"wrote {count(len(found), 'span')} to {into}")
    terminal.document([_document(span) for span in sorted(found, key=lambda span: (span.start, span.parent != ""))])
    lines = list(waterfall(found))
    shown = [line for line in lines if everything or not _minor(line.span)]
    terminal.data(*bars(shown, system.clock.now(), terminal.columns))
    if len(shown) < len(lines):
        terminal.say(
            f"{count(len(lines) - len(shown), 'span')} of edits and gates that went well left out: cavalcade trace {run} --all"
        )
    return DONE


def _minor(span: Span) -> bool:
    return span.label.startswith(("edit ", "gate ")) and span.status != "error"


def waterfall(found: Sequence[Span]) -> Iterator[Line]:
    """Each span below its parent, those of one parent in the order of their beginning."""
    known = {span.id for span in found}
    below: dict[str, list[Span]] = {}
    for span in sorted(found, key=lambda span: span.start):
        below.setdefault(span.parent if span.parent in known else "", []).append(span)
    waiting = [Line(0, span) for span in reversed(below.get("", []))]
    while waiting:
        line = waiting.pop()
        yield line
        waiting += [Line(line.depth + 1, span) for span in reversed(below.get(line.span.id, []))]


def bars(lines: Sequence[Line], now: datetime, columns: int) -> list[Text]:
    """One line for each span: label, bar, how long it took, what went wrong. What is open lasts until now."""
    if not lines:
        return []
    first = min(line.span.start for line in lines)
    last = max(line.span.end or now for line in lines)
    labels = ["  " * line.depth + line.span.label for line in lines]
    label_columns = min(max(map(len, labels)), _LABEL)
    axis = _Axis(
        first, max((last - first).total_seconds(), 1e-6), max(_BAR[0], min(_BAR[1], columns - label_columns - _REST))
    )
    return [
        _bar(line.span, _shortened(label, label_columns), axis, now) for line, label in zip(lines, labels, strict=True)
    ]


class _Axis(NamedTuple):
    first: datetime
    total_s: float
    columns: int


def _shortened(label: str, columns: int) -> str:
    return label.ljust(columns) if len(label) <= columns else label[: columns - 1] + "…"


def _bar(span: Span, label: str, axis: _Axis, now: datetime) -> Text:
    lasted_s = max(((span.end or now) - span.start).total_seconds(), 0.0)
    left = min(int((span.start - axis.first).total_seconds() / axis.total_s * axis.columns), axis.columns - 1)
    width = max(min(round(lasted_s / axis.total_s * axis.columns), axis.columns - left), 1)
    text = Text.assemble((_MARKS[span.status], "bold red"), f" {label} ", " " * left)
    text.append(("█" if span.end else "░") * width, _STYLES[span.status])
    text.append(" " * (axis.columns - left - width)).append(f" {duration(lasted_s):>8}", "dim")
    if span.end is None:
        text.append("  open", "yellow")
    return text.append(f"  {span.message}", "red" if span.status == "error" else "dim") if span.message else text


def _document(span: Span) -> Mapping[str, Any]:
    lasted = None if span.end is None else (span.end - span.start).total_seconds() * 1000
    notes = [note._asdict() for note in span.notes]
    return span._asdict() | {"notes": notes, "duration_ms": lasted}


def _export(found: Sequence[Span], into: Path) -> None:
    try:
        with into.open("xb") as file:
            for start in range(0, len(found), _BATCH):
                file.write(otlp_line(found[start : start + _BATCH]))
    except OSError as exc:
        raise UsageError(
            f"{into} can't be made: {exc.strerror}", expected="a path that is free", hint="--export PATH"
        ) from exc
