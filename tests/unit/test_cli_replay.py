"""What `replay` and `runs --tree` print."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from msgspec.structs import replace
from rich.text import Text

from cavalcade.cli.inspect import RunLine, families, show_families
from cavalcade.cli.replay import divergence_text, summary
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.ids import RunId
from cavalcade.replay.divergence import Divergence
from cavalcade.replay.replay import Replayed

SAME = Replayed(
    run=RunId("r01hk3c8m7abcd"),
    parent=None,
    shared=0,
    events=24,
    decisions=11,
    plans=1,
    edits=2,
    trees=3,
    verdicts=11,
    answered=1,
    divergences=(),
)
FOUND = Divergence(version=11, type="edit.applied", layer="effect", recorded="tree 7e7e", came_out="tree 91ab")


def test_a_run_that_came_out_the_same_is_told_in_one_line() -> None:
    assert summary(SAME).plain == (
        "run r01hk3c8m7abcd 24 events: the same again are 11 decisions, 1 plan, 2 edits, 11 verdicts; 1 verdict of tests from the record; "
        "3 trees bit for bit the same, nothing diverged"
    )


def test_one_that_did_not_says_where_first() -> None:
    told = summary(replace(SAME, divergences=(FOUND,)))
    assert told.plain.endswith("1 event diverged, the first is #11")


def test_a_divergence_shows_what_was_recorded_and_what_came_out() -> None:
    assert divergence_text(FOUND).plain.splitlines() == [
        "#11  effect   edit.applied",
        "      on record  tree 7e7e",
        "      came out   tree 91ab",
    ]


def a_line(run: str, parent: str = "", shared: int = 0) -> RunLine:
    return RunLine(
        run=run,
        parent=parent,
        shared=shared,
        phase="awaiting_human",
        started=datetime(2024, 1, 1, tzinfo=UTC),
        repository="/shop",
        objective="rename a:b to c",
        branch="",
    )


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


LINES = [a_line("r1"), a_line("r2", "r1", 7), a_line("r3", "r2", 9), a_line("r4", "r1", 2), a_line("r5", "gone", 3)]


def drawn(out: io.StringIO) -> list[str]:
    show_families(Terminal({"TERM": "dumb", "NO_COLOR": "1"}, io.StringIO(), out, io.StringIO()), families(LINES))
    return out.getvalue().splitlines()


def test_a_family_is_indented_in_a_pipe() -> None:
    assert drawn(io.StringIO()) == [
        "r1  awaiting human  rename a:b to c",
        "  r2  awaiting human  from #7  rename a:b to c",
        "    r3  awaiting human  from #9  rename a:b to c",
        "  r4  awaiting human  from #2  rename a:b to c",
        "r5  awaiting human  from #3  rename a:b to c",
    ]


def test_a_family_is_a_tree_on_a_terminal() -> None:
    tree = [Text.from_ansi(line).plain.partition("  awaiting")[0] for line in drawn(Screen())]
    assert tree == ["r1", "├── r2", "│   └── r3", "└── r4", "r5"]
