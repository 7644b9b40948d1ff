"""Errors as text, as problem details and as exit status."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from cavalcade.cli.app import command_line
from cavalcade.cli.failures import report_defect, report_failure
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.errors import CavalcadeError, LedgerDamaged, SymbolNotFound
from cavalcade.kernel.ids import RunId
from cavalcade.protocol.problem import problem_document
from cavalcade.testing.secrets_corpus import tokens

ERROR = SymbolNotFound(
    "no symbol [bold]m:x[/bold]", expected="module:name", hint="try [m:y]", places=("m.py:3", ":smile: [red]")
)


def a_terminal(environ: dict[str, str] | None = None) -> tuple[Terminal, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Terminal(environ or {}, io.StringIO(), out, err), out, err


def test_an_error_says_what_expected_places_and_hint_and_none_of_it_is_markup() -> None:
    terminal, out, err = a_terminal()
    assert report_failure(terminal, ERROR) == 2
    assert err.getvalue().splitlines() == [
        "error: no symbol [bold]m:x[/bold]",
        "  expected: module:name",
        "    m.py:3",
        "    :smile: [red]",
        "  hint: try [m:y]",
    ]
    assert out.getvalue() == ""


def test_with_json_the_error_is_also_a_problem_document_on_stdout() -> None:
    terminal, out, err = a_terminal()
    terminal.json = True
    report_failure(terminal, ERROR)
    document = json.loads(out.getvalue())
    assert document == problem_document(ERROR)
    assert document["type"] == "cavalcade:problem/symbol-not-found"
    assert document["detail"] == ERROR.what
    assert document["places"] == list(ERROR.places)
    assert document["exit_status"] == 2
    assert err.getvalue().startswith("error: ")


def test_an_error_within_a_run_says_how_to_go_on_with_it() -> None:
    terminal, out, err = a_terminal()
    terminal.json, terminal.run = True, RunId("r1")
    assert report_failure(terminal, LedgerDamaged("position 3")) == 6
    assert "cavalcade resume r1" in err.getvalue()
    assert json.loads(out.getvalue())["run"] == "r1"


def test_a_defect_is_exit_status_1_and_keeps_its_traceback_in_a_file(tmp_path: Path) -> None:
    terminal, _, err = a_terminal({"CAVALCADE_HOME": str(tmp_path)})
    terminal.run = RunId("r1")
    with pytest.raises(ZeroDivisionError) as raised:
        raise ZeroDivisionError("division by [zero]")
    assert report_defect(terminal, raised.value) == 1
    [kept] = (tmp_path / "cache" / "defects").iterdir()
    assert "ZeroDivisionError: division by [zero]" in kept.read_text()
    assert str(kept) in err.getvalue()
    assert "cavalcade resume r1" in err.getvalue()


def test_a_defect_is_told_even_where_the_data_folder_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    terminal, _, err = a_terminal({"CAVALCADE_HOME": str(tmp_path / "home")})
    assert report_defect(terminal, CavalcadeError("odd")) == 1
    assert "cavalcade-defect-" in err.getvalue()
    [name] = [word for word in err.getvalue().split() if "cavalcade-defect-" in word]
    Path(name.rstrip(";")).unlink()


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["show"], ["run"], ["log", "last", "--nope"], ["run", "x", "--attempts", "0"], ["restore", "last"]],
)
def test_wrong_usage_is_exit_status_2_with_where_help_is(arguments: list[str]) -> None:
    terminal, out, err = a_terminal()
    assert command_line(arguments, terminal) == 2
    assert err.getvalue().startswith("error: ")
    assert "--help" in err.getvalue()
    assert out.getvalue() == ""


def test_wrong_usage_with_json_is_a_problem_document() -> None:
    terminal, out, _ = a_terminal()
    assert command_line(["show", "--json"], terminal) == 2
    assert json.loads(out.getvalue())["code"] == "usage"


def test_the_version_is_told_as_text_and_as_json() -> None:
    terminal, out, _ = a_terminal()
    assert command_line(["version"], terminal) == 0
    assert out.getvalue().startswith("cavalcade ")
    terminal, out, _ = a_terminal()
    assert command_line(["version", "--json"], terminal) == 0
    assert set(json.loads(out.getvalue())) == {"version"}


def test_without_a_command_the_help_goes_to_stderr_as_wrong_usage() -> None:
    terminal, out, err = a_terminal()
    assert command_line([], terminal) == 2
    assert "Commands:" in err.getvalue()
    assert out.getvalue() == ""


def test_a_failure_shows_no_secret_on_the_terminal_in_json_or_in_the_kept_traceback(tmp_path: Path) -> None:
    key, _ = tokens()["GitHub, classic"]
    environ = {"CAVALCADE_HOME": str(tmp_path), "SHOP_TOKEN": "value-of-shop-1"}
    terminal, out, err = a_terminal(environ)
    terminal.json = True
    report_failure(terminal, SymbolNotFound(f"no {key}", hint="not value-of-shop-1", places=(f"m.py:{key}",)))
    report_defect(terminal, ValueError(f"can't use {key}"))
    kept = [path.read_text() for path in tmp_path.glob("cache/defects/*")]
    assert len(kept) == 1
    for told in (out.getvalue(), err.getvalue(), *kept):
        assert key not in told
        assert "value-of-shop-1" not in told
        assert "[redacted:github-token]" in told
