"""What a person types for a run, a project, a file, a line, a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cavalcade.cli.find import choose_run, path_in, split_place, top_folder
from cavalcade.kernel.errors import NotARepository, NotRecorded, UsageError
from cavalcade.kernel.ids import RunId
from cavalcade.supervisor.history import Instant, Nth, WithId, parse_when

RUNS = [RunId("r01aaaaaa0001"), RunId("r01aaaaaa0002"), RunId("r01bbbbbb0003")]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("last", RUNS[2]),
        ("r01aaaaaa0001", RUNS[0]),
        ("cavalcade/r01aaaaaa0002", RUNS[1]),
        ("r01b", RUNS[2]),
        ("0002", RUNS[1]),
        (" 0003 ", RUNS[2]),
    ],
)
def test_a_run_is_named_by_its_id_its_branch_or_an_unambiguous_part_at_either_end(text: str, meant: RunId) -> None:
    assert choose_run(text, RUNS) == meant


def test_an_ambiguous_part_of_a_run_names_the_candidates() -> None:
    with pytest.raises(UsageError) as raised:
        choose_run("r01a", RUNS)
    assert raised.value.places == (RUNS[1], RUNS[0])


@pytest.mark.parametrize("text", ["nosuch", "", "1aaaaaa"])
def test_an_unknown_run_is_answered_with_the_newest_ones(text: str) -> None:
    if text == "":
        with pytest.raises(NotRecorded, match="there is no run"):
            choose_run(text, RUNS)
        return
    with pytest.raises(NotRecorded) as raised:
        choose_run(text, RUNS)
    assert raised.value.places[0] == RUNS[2]


def test_without_any_run_it_says_how_to_start_one() -> None:
    with pytest.raises(NotRecorded) as raised:
        choose_run("last", [])
    assert "cavalcade run" in raised.value.hint


def test_the_project_is_the_repository_around_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert top_folder(tmp_path / "a" / "b") == tmp_path.resolve()


def test_a_worktree_whose_git_entry_is_a_file_is_a_project(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    assert top_folder(tmp_path) == tmp_path.resolve()


def test_a_folder_outside_of_any_repository_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotARepository, match="git init"):
        top_folder(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        top_folder(tmp_path / "no")


@pytest.mark.parametrize(
    ("text", "cwd", "path"),
    [
        ("a.py", "sub", "sub/a.py"),
        ("top.py", "sub", "top.py"),
        ("../top.py", "sub", "top.py"),
        ("./sub/a.py", ".", "sub/a.py"),
        ("sub", ".", "sub"),
    ],
)
def test_a_path_is_seen_from_the_current_folder_first_then_from_the_top(
    tmp_path: Path, text: str, cwd: str, path: str
) -> None:
    root = tmp_path.resolve()
    (root / "sub").mkdir()
    (root / "sub" / "a.py").touch()
    (root / "top.py").touch()
    assert path_in(root, text, root / cwd) == path


@pytest.mark.parametrize("text", ["../../etc/passwd", "/etc/passwd"])
def test_a_path_outside_of_the_project_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p").mkdir()
    with pytest.raises(UsageError):
        path_in((tmp_path / "p").resolve(), text, tmp_path / "p")


def test_a_line_is_named_by_file_and_number() -> None:
    assert split_place("src/a:b.py:12") == ("src/a:b.py", 12)


@pytest.mark.parametrize("text", ["a.py", "a.py:", "a.py:0", ":3", "a.py:x", "a.py:-1", "a.py:" + "9" * 5000])
def test_what_names_no_line_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="FILE:LINE"):
        split_place(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("last", Nth(0)),
        ("#12", Nth(12)),
        ("12", Nth(12)),
        ("019a5d2e", WithId("019a5d2e")),
        ("10m ago", Instant(NOW - timedelta(minutes=10))),
        ("1h30m ago", Instant(NOW - timedelta(minutes=90))),
        ("2d ago", Instant(NOW - timedelta(days=2))),
        ("2026-02-28T10:00:00Z", Instant(datetime(2026, 2, 28, 10, tzinfo=UTC))),
        ("2026-02-28 10:00:00+02:00", Instant(datetime(2026, 2, 28, 8, tzinfo=UTC))),
    ],
)
def test_a_moment_is_an_event_or_a_time(text: str, when: object) -> None:
    assert parse_when(text, NOW) == when


def test_a_time_without_zone_is_local() -> None:
    local = datetime(2026, 2, 28, 10, 30).astimezone()
    assert parse_when("2026-02-28T10:30", NOW) == Instant(local)


def test_a_time_of_day_is_of_today() -> None:
    moment = parse_when("10:30", NOW)
    assert isinstance(moment, Instant)
    assert moment.time.astimezone().date() == NOW.astimezone().date()


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "25:00", "ago", "#x", "#0", "12 parsecs ago", "99999999999999999d ago"]
)
def test_what_is_no_moment_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(UsageError, match="10m ago"):
        parse_when(text, NOW)
