"""Each event has its line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import PlanCounts, decode, known_types
from cavalcade.supervisor.timeline import counted, describe, duration, short_type

GOLDEN = Path(__file__).parents[1] / "golden"


def golden() -> list[Draft]:
    files = sorted(GOLDEN.glob("events-v*.jsonl"))
    return [msgspec.json.decode(line, type=Draft) for file in files for line in file.read_bytes().splitlines()]


def test_every_type_of_event_has_a_line_of_its_own_that_names_no_type() -> None:
    payloads = [decode(event) for event in golden()]
    told = {payload.TYPE: describe(payload) for payload in payloads}
    assert set(told) == set(known_types())
    for tone, text in told.values():
        assert tone in {"plain", "good", "bad", "ask"}
        assert text.strip() == text
        assert "\n" not in text
        assert "cavalcade." not in text


def test_short_types_leave_out_what_all_share() -> None:
    assert short_type("cavalcade.edit.applied.v1") == "edit.applied"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0081, "8 ms"), (4.25, "4.2 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (0, "0 ms")],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_that_are_zero_are_left_out() -> None:
    assert counted(PlanCounts(files=1, changes=2)) == "1 file, 2 changes"
    assert counted(PlanCounts(files=2, changes=1, unresolved=3)) == "2 files, 1 change; 3 unresolved"
