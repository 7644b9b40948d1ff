"""Every command on a real project, as data and as text, with the exit statuses that are promised."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pygit2
import pytest
import typer

from cavalcade.cli.app import app, command_line
from cavalcade.cli.terminal import Terminal
from cavalcade.testing.whole_runs import a_repository, commit_all

FILES = {
    "prices.py": "def total(items):\n    return sum(items)\n",
    "test_prices.py": "from prices import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n",
    "README.md": "Call `total()`.\n",
}
RENAME = ("run", "rename prices:total to sum_prices", "--no-tests")


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shop:
    """A project and a data folder of its own."""

    folder: Path
    home: Path

    @property
    def environ(self) -> dict[str, str]:
        return {"CAVALCADE_HOME": str(self.home), "HOME": str(self.home), "PATH": os.environ["PATH"]}

    def __call__(self, *arguments: str) -> Said:
        out, err = io.StringIO(), io.StringIO()
        status = command_line(arguments, Terminal(self.environ, io.StringIO(), out, err))
        return Said(status, out.getvalue(), err.getvalue())

    def run(self, *more: str) -> Said:
        return self(*RENAME, "--repo", str(self.folder), *more)

    def process(self, *arguments: str, cwd: Path | None = None) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "cavalcade", *arguments],
            cwd=cwd or self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


def a_shop(tmp: Path) -> Shop:
    a_repository(tmp / "shop", FILES)
    return Shop((tmp / "shop").resolve(), tmp / "home")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return a_shop(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop with one completed run; tests only look at it."""
    shop = a_shop(tmp_path_factory.mktemp("done"))
    said = shop.run("--yes")
    assert said.status == 0, said
    return shop


def test_without_yes_in_a_pipe_the_plan_is_printed_and_the_run_waits_with_the_next_commands(shop: Shop) -> None:
    said = shop.run()
    assert said.status == 3
    assert "2 files, 3 changes" in said.out
    assert "README.md:1" in said.out
    for command in ("cavalcade approve r", "cavalcade inject r", "cavalcade abort r"):
        assert command in said.err
        assert command not in said.out


def test_approval_carries_the_run_to_its_branch_and_touches_nothing_else(shop: Shop) -> None:
    assert shop.run().status == 3
    said = shop("approve", "last", "--json")
    assert said.status == 0
    assert said.data["phase"] == "completed"
    repository = pygit2.Repository(str(shop.folder))
    assert str(repository.branches[said.data["branch"]].target) == said.data["commit"]
    assert repository.status() == {}
    assert (shop.folder / "prices.py").read_text() == FILES["prices.py"]


def test_approval_can_be_bound_to_the_hash_that_was_looked_at(shop: Shop) -> None:
    plan_hash = shop.run("--json").data["plan"]["hash"]
    for wrong in ("0" * 64, plan_hash[:3]):
        said = shop("approve", "last", "--hash", wrong)
        assert said.status == 2
        assert plan_hash[:12] in said.err
    said = shop("approve", "last", "--hash", plan_hash[:12], "--no-wait", "--json")
    assert (said.status, said.data["approved"]) == (0, plan_hash)
    assert shop("show", "last", "--json").data["phase"] == "executing"
    assert shop("resume", "last", "--json").data["phase"] == "completed"


def test_feedback_leads_to_another_plan_and_what_is_not_understood_changes_nothing(shop: Shop) -> None:
    first = shop.run("--json").data["plan"]["hash"]
    refused = shop("inject", "last", "make", "it", "nicer")
    assert refused.status == 2
    assert "mentions docs" in refused.err
    assert shop("show", "last", "--json").data["plan"]["hash"] == first
    again = shop("inject", "last", "mentions docs; no tests", "--json")
    assert again.status == 3
    assert again.data["plan"]["round"] == 2
    assert {edit["path"] for edit in again.data["plan"]["edits"]} == set(FILES)


def test_an_aborted_run_lands_nothing_and_can_not_go_on(shop: Shop) -> None:
    shop.run()
    said = shop("abort", "last", "--reason", "not [now]", "--json")
    assert (said.status, said.data["phase"], said.data["stop"]["reason"]) == (0, "aborted", "not [now]")
    assert list(pygit2.Repository(str(shop.folder)).branches.local) == ["main"]
    assert shop("approve", "last").status == 4
    assert shop("resume", "last").status == 10


def test_tests_judge_the_result_where_they_can_be_run(shop: Shop) -> None:
    said = shop("run", "rename", "prices:total", "sum_prices", "--repo", str(shop.folder), "--yes", "--json",
                "--python", sys.executable)  # fmt: skip
    assert said.status == 0, said
    assert said.data["objective"] == "rename prices:total to sum_prices"
    assert said.data["tests"]["lost"] == []
    assert (said.data["tests"]["before"], said.data["tests"]["after"]) == ({"passed": 1}, {"passed": 1})
    again = shop("verify", "last", "--gates", "--json")
    assert again.status == 0, again
    assert {result["outcome"] for result in again.data["gates"]} == {"same"}
    assert "tests" in {result["gate"] for result in again.data["gates"]}


def test_the_settings_come_from_flags_then_from_the_projects_own_file(shop: Shop) -> None:
    repository = pygit2.Repository(str(shop.folder))
    config = f'[tests]\ncommand = ["true", "x"]\npython = "{sys.executable}"\ntimeout_s = 30\n'
    commit_all(repository, {"cavalcade.toml": config}, message="Settings")
    settings = shop.run("--json").data["settings"]
    assert (settings["test_command"], settings["python"]) == (["true", "x"], sys.executable)
    assert settings["test_timeout_s"] == 30
    settings = shop.run("--json", "--test-command", "make 'a b'", "--attempts", "1", "--only", "prices.py").data[
        "settings"
    ]
    assert (settings["test_command"], settings["attempts"], settings["only"]) == (["make", "a b"], 1, ["prices.py"])


def test_paths_keep_the_change_within_bounds(shop: Shop) -> None:
    plan = shop.run("--json", "--without", "test_prices.py").data["plan"]
    assert [edit["path"] for edit in plan["edits"] if edit["kind"] == "reference"] == ["prices.py"]
    assert "test_prices.py" in {place["path"] for place in plan["unresolved"]}


def test_uncommitted_work_is_part_of_the_run_unless_left_out(shop: Shop) -> None:
    (shop.folder / "new.py").write_text("import prices\n\nprices.total([])\n")
    assert shop.run("--json").data["base"]["dirty"] == ["new.py"]
    assert "--head" in shop("show", "last").out
    assert "dirty" not in shop.run("--json", "--head").data["base"]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("run", "make it better"), 2, "rename"),
        (("run", ""), 2, "empty"),
        (("run", "rename prices:totl to x", "--no-tests"), 2, "total"),
        (("run", "rename prices:total to class", "--no-tests"), 2, "class"),
        (("run", "rename prices:total to x", "--mentions", "poems"), 2, "docs, comments, strings"),
        (("run", "rename prices:total to x", "--python", "/no/such/python"), 2, "/no/such/python"),
        (("run", "rename prices:total to x", "--only", "no/such/folder"), 2, "no/such/folder"),
        (("run", "rename prices:total to x", "--only", "../elsewhere"), 2, "leads out"),
        (("run", "rename prices:total to x", "--test-command", "a 'b"), 2, "--test-command"),
    ],
)  # fmt: skip
def test_wrong_objectives_and_flags_say_what_would_be_right(
    shop: Shop, arguments: tuple[str, ...], status: int, told: str
) -> None:
    said = shop(*arguments, "--repo", str(shop.folder), "--json")
    assert said.status == status, said
    assert told in said.err
    assert "Traceback" not in said.err
    assert json.loads(said.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ("inject", "last", "only /etc"),
        ("inject", "last", "without ../x"),
        ("inject", "last", "\udcff"),
        ("abort", "last", "--reason", "\udcff"),
        ("approve", "last", "--hash", "zz"),
        ("restore", "last", "--at", "last", "--branch", "-x"),
        ("restore", "last", "--at", "99999999999999999d ago", "--branch", "x"),
        ("diff", "last", "--at", "#0"),
        ("why", "a\0b:1"),
        ("why", ".:1"),
    ],
)
def test_odd_input_is_wrong_usage_and_nothing_is_lost(shop: Shop, arguments: tuple[str, ...]) -> None:
    shop.run()
    repo = ("--repo", str(shop.folder)) if arguments[0] == "why" else ()
    said = shop(*arguments, *repo)
    assert said.status == 2, said
    assert said.err.startswith("error: ")
    assert shop("show", "last", "--json").data["phase"] == "awaiting_human"


def test_a_folder_outside_of_any_repository_is_exit_status_5(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    said = shop("run", "rename a:b to c", "--repo", str(tmp_path / "elsewhere"))
    assert said.status == 5
    assert "git init" in said.err
    assert shop("runs", "--json").data == []


def test_runs_of_the_project_and_of_all_projects_are_listed(done: Shop) -> None:
    [line] = done("runs", "--repo", str(done.folder), "--json").data
    assert (line["phase"], line["objective"]) == ("completed", "rename prices:total to sum_prices")
    assert line["run"] in done("runs", "--all").out


def test_the_log_has_every_event_with_its_number_and_can_be_narrowed(done: Shop) -> None:
    events = [json.loads(line) for line in done("log", "last", "--json").out.splitlines()]
    assert [event["version"] for event in events] == list(range(1, len(events) + 1))
    edits = [json.loads(line) for line in done("log", "last", "--json", "--type", "edit.applied").out.splitlines()]
    assert [event["event"]["data"]["path"] for event in edits] == ["prices.py", "test_prices.py"]
    text = done("log", "last", "--type", "edit", "--type", "run.completed").out
    assert "edit 2 applied: test_prices.py +2 -2" in text
    assert "syntax" not in text
    assert "completed: cavalcade/r" in text
    followed = done("log", "last", "--follow")
    assert followed.out == done("log", "last").out
    assert done("log", "last", "--type", "nonsense").status == 2


def test_the_difference_is_shown_as_git_writes_it_at_any_moment(done: Shop) -> None:
    patch = done("diff", "last").out
    assert "-def total(items):\n+def sum_prices(items):\n" in patch
    git = subprocess.run(
        ["git", "apply", "--check", "-"], cwd=done.folder, input=patch, text=True, capture_output=True, check=False
    )
    assert git.returncode == 0, git.stderr
    applied = [json.loads(line) for line in done("log", "last", "--json", "--type", "edit.applied").out.splitlines()]
    middle = done("diff", "last", "--at", f"#{applied[0]['version']}", "--json").data
    assert [file["path"] for file in middle["files"]] == ["prices.py"]
    assert done("diff", "last", "--at", applied[0]["event"]["id"], "--json").data == middle
    assert "test_prices.py  +2 -2" in done("diff", "last", "--stat").out
    nothing = done("diff", "last", "--at", "1")
    assert (nothing.out, nothing.err) == ("", "nothing differs\n")


def test_any_moment_is_restored_into_a_folder_or_as_a_branch(shop: Shop, tmp_path: Path) -> None:
    shop.run("--yes")
    applied = json.loads(shop("log", "last", "--json", "--type", "edit.applied").out.splitlines()[0])
    said = shop("restore", "last", "--at", str(applied["version"]), "--into", str(tmp_path / "x" / "earlier"))
    assert said.status == 5  # there is no folder x: nothing is guessed
    said = shop("restore", "last", "--at", str(applied["version"]), "--into", str(tmp_path / "earlier"), "--json")
    assert said.status == 0, said
    assert said.data["tree"] == applied["event"]["data"]["tree"]
    assert "sum_prices" in (tmp_path / "earlier" / "prices.py").read_text()
    assert (tmp_path / "earlier" / "test_prices.py").read_text() == FILES["test_prices.py"]
    again = shop("restore", "last", "--at", "last", "--into", str(tmp_path / "earlier"))
    assert (again.status, "is not empty" in again.err) == (5, True)
    said = shop("restore", str(shop.folder), "--at", "0s ago", "--branch", "back", "--json")
    assert said.status == 0, said
    assert str(pygit2.Repository(str(shop.folder)).branches["back"].target) == said.data["commit"]
    for wrong in ((), ("--into", str(tmp_path / "a"), "--branch", "b")):
        assert shop("restore", "last", "--at", "last", *wrong).status == 2


def test_why_names_the_edit_and_git_answers_for_the_rest(done: Shop) -> None:
    file = str(done.folder / "test_prices.py")
    found = done("why", f"{file}:5", "--run", "last", "--json").data
    assert (found["kind"], found["edit"]["edit"], found["edit"]["approval"]["by"]) == ("edit", 2, "policy:yes")
    text = done("why", f"{file}:5", "--run", "last").out
    for part in ("edit", "t1 of run r", "rename prices:total to sum_prices", "by policy:yes", "syntax", "passed"):
        assert part in text
    found = done("why", f"{file}:5", "--json").data
    assert (found["kind"], found["git"]["summary"]) == ("git", "A shop")
    assert "cavalcade/r" in found["hints"][0]["branch"]
    assert done("why", f"{file}:99").status == 2
    assert done("why", f"{file}").status == 2


def test_the_record_is_verified_and_a_damaged_one_is_exit_status_6(shop: Shop) -> None:
    shop.run("--yes")
    said = shop("verify", "--json")
    assert (said.status, said.data["ledger"]["whole"]) == (0, True)
    assert shop("verify", "--gates").status == 2
    ledger = shop.home / "ledger.sqlite3"
    ledger.write_bytes(ledger.read_bytes()[:5000])
    for command in (("verify",), ("runs",), ("show", "last")):
        said = shop(*command)
        assert said.status == 6, said
        assert said.err.startswith("error: ")
    said = shop("doctor", "--json")
    checks = {check["name"]: check for check in said.data["checks"]}
    assert (said.status, checks["ledger"]["ok"], checks["git"]["ok"]) == (6, False, True)


def test_the_doctor_names_what_is_missing_and_what_to_do(shop: Shop) -> None:
    out, err = io.StringIO(), io.StringIO()
    environ = {
        "CAVALCADE_HOME": str(shop.home),
        "PATH": "",
        "HOME": str(shop.home),
        "CAVALCADE_SANDBOX": "bubblewrap",
    }
    assert command_line(["doctor", "--json"], Terminal(environ, io.StringIO(), out, err)) != 0
    checks = {check["name"]: check for check in json.loads(out.getvalue())["checks"]}
    assert {"python", "ruff", "ty", "pyrefly", "data folder", "disk space", "ledger", "sandbox"} < set(checks)
    assert (checks["git"]["ok"], "install" in checks["git"]["fix"]) == (False, True)
    assert (checks["sandbox"]["ok"], "bubblewrap" in checks["sandbox"]["fix"]) == (False, True)
    assert checks["ruff"]["ok"]
    (shop.home.parent / "file").write_text("")
    environ = {"CAVALCADE_HOME": str(shop.home.parent / "file"), "PATH": os.environ["PATH"], "HOME": str(shop.home)}
    out = io.StringIO()
    assert command_line(["doctor"], Terminal(environ, io.StringIO(), out, err)) == 6
    assert "CAVALCADE_HOME=DIR" in out.getvalue()


def test_a_data_folder_that_can_not_be_made_is_exit_status_6(shop: Shop) -> None:
    shop.home.write_text("a file")
    said = shop("runs")
    assert said.status == 6
    assert "CAVALCADE_HOME" in said.err


@pytest.mark.parametrize(
    "command",
    ["run", "runs", "show", "log", "approve", "inject", "abort", "resume", "diff", "restore", "why", "verify",
     "doctor", "version"],
)  # fmt: skip
def test_every_command_has_help_and_every_flag_names_its_environment_variable(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line([command, "--help"], Terminal({}, io.StringIO(), io.StringIO(), io.StringIO())) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith(f"Usage: cavalcade {command}")
    tree: Any = typer.main.get_command(app)
    flags = [p for p in tree.commands[command].params if p.param_type_name == "option" and p.name != "help"]
    assert flags
    for flag in flags:
        assert flag.envvar.startswith("CAVALCADE_"), flag.name
        assert f"env var: {flag.envvar}" in told


def test_the_module_is_the_command_and_keeps_data_and_talk_apart(shop: Shop) -> None:
    said = shop.process(*RENAME, "--yes", "--json")
    assert said.status == 0, said
    assert said.data["phase"] == "completed"
    assert "edit 1 applied" in said.err
    said = shop.process("why", "test_prices.py:5", "--run", "last", "--json")
    assert said.data["edit"]["run"] == shop.process("runs", "--json").data[0]["run"]
    inside = shop.folder / "sub"
    inside.mkdir()
    assert shop.process("why", "../prices.py:1", cwd=inside).status == 0
    assert shop.process("version").out.startswith("cavalcade ")
    assert shop.process("nonsense").status == 2


def test_a_reader_that_goes_away_is_no_failure_worth_a_traceback(done: Shop) -> None:
    command = f"{sys.executable} -m cavalcade log last | head -n 1; exit ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", command], env=done.environ, capture_output=True, text=True, check=False)
    assert piped.returncode in {0, 141}
    assert piped.stderr == ""
