"""The tests gate on small real projects. Bug class this catches: a broken suite that is taken for a passing one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cavalcade.gates.discovery import Surroundings, find_python, import_root, is_test_file, plan_tests
from cavalcade.gates.tests import COMMAND_ID, TestRun, compare, failure_places, renamed, run_tests, stable_id
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.sandbox.choosing import open_sandbox
from cavalcade.sandbox.port import Limits, Sandbox

PYTHON = Path(sys.executable)
HOME = Path.home()
LIMITS = Limits(wall_s=60, cpu_s=60, memory_bytes=512 << 20, processes=64, disk_bytes=64 << 20)
HERE = Surroundings(home=HOME, python=PYTHON)


@pytest.fixture
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await open_sandbox(
        cache=tmp_path_factory.getbasetemp() / "sandbox-verdict",
        python=PYTHON,
        home=HOME,
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )


def project(folder: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


async def suite(
    sandbox: Sandbox, folder: Path, files: Mapping[str, str], limits: Limits = LIMITS, selection: tuple[str, ...] = ()
) -> TestRun:
    project(folder, files)
    plan = await plan_tests(sandbox, folder, list(files), HERE, selection=selection)
    assert not plan.refused
    return await run_tests(sandbox, folder, plan, limits, {}, home=HOME)


OUTCOMES = {
    "test_all.py": """
import pytest
def test_passes(): pass
def test_fails(): assert 1 == 2
@pytest.mark.skip
def test_skips(): pass
@pytest.mark.xfail
def test_expected(): assert False
@pytest.mark.xfail
def test_unexpected(): pass
@pytest.fixture
def broken(): raise KeyError("set-up")
def test_errors(broken): pass
@pytest.fixture
def late():
    yield
    raise KeyError("tear-down")
def test_errors_late(late): pass
@pytest.mark.parametrize("value", [1, 2, object(), "a b", "ü", "[x]"])
def test_each(value): assert value != 2
class TestGroup:
    def test_method(self): pass
import unittest
class Old(unittest.TestCase):
    def test_old(self): self.assertEqual(1, 1)
    def test_sub(self):
        with self.subTest("x"): pass
"""
}


async def test_every_test_is_reported_by_its_id(sandbox: Sandbox, tmp_path: Path) -> None:
    run = await suite(sandbox, tmp_path, OUTCOMES)
    names = {test.removeprefix("test_all.py::"): outcome for test, outcome in run.outcomes.items()}
    assert names == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_skips": "skipped",
        "test_expected": "xfailed",
        "test_unexpected": "xpassed",
        "test_errors": "error",
        "test_errors_late": "error",
        "test_each[1]": "passed",
        "test_each[2]": "failed",
        "test_each[value2]": "passed",
        "test_each[a b]": "passed",
        "test_each[\\xfc]": "passed",
        "test_each[[x]]": "passed",
        "TestGroup::test_method": "passed",
        "Old::test_old": "passed",
        "Old::test_sub": "passed",
    }
    assert (run.exit_code, run.hit, run.finished, run.unfinished) == (1, "", True, ())


async def test_a_run_can_be_repeated_with_the_same_digest(sandbox: Sandbox, tmp_path: Path) -> None:
    first = await suite(sandbox, tmp_path / "a", OUTCOMES)
    second = await suite(sandbox, tmp_path / "b", OUTCOMES)
    assert first.digest() == second.digest()
    assert compare(first, second, {}).lost == ()


BEFORE = {
    "src/shop/__init__.py": "",
    "src/shop/prices.py": "def total(items):\n    return sum(items)\n",
    "src/shop/cart.py": "from shop import prices\n\ndef bill(items):\n    return prices.total(items)\n",
    "tests/test_cart.py": (
        "from shop.cart import bill\n\ndef test_bill(): assert bill([1, 2]) == 3\ndef test_empty(): assert bill([]) == 0\n"
    ),
    "tests/test_prices.py": "from shop.prices import total\n\ndef test_total(): assert total([1]) == 1\n",
    "tests/test_other.py": "def test_other(): pass\n",
}


async def test_lost_tests_lead_to_the_lines_that_broke_them(sandbox: Sandbox, tmp_path: Path) -> None:
    before = await suite(sandbox, tmp_path / "before", BEFORE)
    after = await suite(
        sandbox, tmp_path / "after", BEFORE | {"src/shop/prices.py": "def sum_up(items):\n    return sum(items)\n"}
    )
    lost = compare(before, after, {}).lost
    assert lost == (
        "tests/test_cart.py::test_bill",
        "tests/test_cart.py::test_empty",
        "tests/test_prices.py::test_total",
    )
    places = failure_places(after, lost)
    assert [(place.path, place.line, place.type, len(place.tests)) for place in places] == [
        ("src/shop/cart.py", 4, "AttributeError", 2),
        ("tests/test_prices.py", 1, "ImportError", 1),
    ]
    assert "'total'" in places[0].message
    assert places[0].trace[0] == ("tests/test_cart.py", 3)
    assert str(places[0]).startswith(
        "src/shop/cart.py:4: AttributeError: module 'shop.prices' has no attribute 'total'"
    )


async def test_a_broken_conftest_is_found_in_what_pytest_prints(sandbox: Sandbox, tmp_path: Path) -> None:
    before = await suite(sandbox, tmp_path / "before", BEFORE)
    after = await suite(sandbox, tmp_path / "after", BEFORE | {"tests/conftest.py": "import shop\n\nshop.gone()\n"})
    assert not after.finished
    lost = compare(before, after, {}).lost
    assert len(lost) == 4
    (place,) = failure_places(after, lost)
    assert (place.path, place.line, place.type) == ("tests/conftest.py", 3, "AttributeError")


async def test_a_syntax_error_is_placed_in_its_file(sandbox: Sandbox, tmp_path: Path) -> None:
    before = await suite(sandbox, tmp_path / "before", BEFORE)
    after = await suite(
        sandbox, tmp_path / "after", BEFORE | {"src/shop/prices.py": "def total(items):\n    return (\n"}
    )
    places = failure_places(after, compare(before, after, {}).lost)
    assert {(place.path, place.line) for place in places} == {("src/shop/prices.py", 2)}


async def test_an_exception_raised_from_another_keeps_both_traces(sandbox: Sandbox, tmp_path: Path) -> None:
    files = {
        "low.py": "def low(): return gone\n",
        "high.py": "import low\ndef high():\n    try: low.low()\n    except NameError as error: raise RuntimeError('no') from error\n",
        "test_it.py": "import high\ndef test_it(): high.high()\n",
    }
    run = await suite(sandbox, tmp_path, files)
    (place,) = failure_places(run, ["test_it.py::test_it"])
    assert (place.path, place.line, place.type) == ("high.py", 4, "RuntimeError")
    assert ("low.py", 1) in place.trace
    assert place.causes == ("NameError: name 'gone' is not defined",)


async def test_renamed_tests_are_followed(sandbox: Sandbox, tmp_path: Path) -> None:
    before = await suite(sandbox, tmp_path / "a", {"test_a.py": "def test_x(): pass\ndef test_y(): pass\n"})
    after = await suite(sandbox, tmp_path / "b", {"test_b.py": "def test_x(): pass\ndef test_z(): pass\n"})
    names = {"test_a.py": "test_b.py", "test_a.py::test_y": "test_b.py::test_z"}
    assert compare(before, after, names).lost == ()
    assert len(compare(before, after, {}).lost) == 2


def test_a_renamed_beginning_ends_where_a_part_of_the_id_ends() -> None:
    names = {"t.py::test_a": "t.py::test_b"}
    assert renamed("t.py::test_a[1]", names) == "t.py::test_b[1]"
    assert renamed("t.py::test_ab", names) == "t.py::test_ab"


def test_addresses_are_no_part_of_an_id() -> None:
    assert stable_id("t.py::t[<object at 0x7f00deadbeef>]") == stable_id("t.py::t[<object at 0x7f00deadbe00>]")


async def test_a_test_that_hangs_ends_at_the_limit_and_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    files = {
        "test_it.py": "import threading\ndef test_first(): pass\ndef test_hangs(): threading.Event().wait()\ndef test_last(): pass\n"
    }
    run = await suite(sandbox, tmp_path, files, Limits(wall_s=2))
    assert (run.hit, run.exit_code, run.finished) == ("wall", None, False)
    assert run.outcomes == {"test_it.py::test_first": "passed"}
    assert run.unfinished == ("test_it.py::test_hangs",)
    (place,) = failure_places(run, ["test_it.py::test_last"])
    assert "wall limit was hit in test_it.py::test_hangs" in place.message


async def test_a_test_that_takes_the_process_down_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    run = await suite(
        sandbox, tmp_path, {"test_it.py": "import os\ndef test_crash(): os._exit(0)\ndef test_after(): pass\n"}
    )
    assert run.unfinished == ("test_it.py::test_crash",)
    assert run.passed() == frozenset()
    (place,) = failure_places(run, ["test_it.py::test_after"])
    assert "the process ended in test_it.py::test_crash" in place.message


async def test_memory_beyond_the_limit_fails_the_test_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    run = await suite(
        sandbox, tmp_path, {"test_it.py": "def test_greedy(): bytearray(8 << 30)\ndef test_modest(): pass\n"}
    )
    assert run.outcomes == {"test_it.py::test_greedy": "failed", "test_it.py::test_modest": "passed"}
    assert run.failures["test_it.py::test_greedy"].type == "MemoryError"


async def test_a_selection_runs_only_what_is_there(sandbox: Sandbox, tmp_path: Path) -> None:
    run = await suite(sandbox, tmp_path, BEFORE, selection=("tests/test_other.py", "tests/test_gone.py"))
    assert run.outcomes == {"tests/test_other.py::test_other": "passed"}
    nothing = await suite(sandbox, tmp_path, BEFORE, selection=("tests/test_gone.py",))
    assert (nothing.outcomes, nothing.finished) == ({}, True)


async def test_the_environment_of_tests_is_plain(sandbox: Sandbox, tmp_path: Path) -> None:
    code = """
import os, pathlib, socket, tempfile
def test_home(): (pathlib.Path.home() / "x").write_text("x")
def test_temporary(tmp_path): assert tempfile.gettempdir() == "/tmp"
def test_locale(): assert os.environ["LC_ALL"] == "C.UTF-8" and open(__file__).encoding == "utf-8"
def test_loopback():
    with socket.create_server(("127.0.0.1", 0)) as server: socket.create_connection(server.getsockname()).close()
def test_nothing_of_cavalcade():
    assert "CAVALCADE_REPORT" not in os.environ
    assert sorted(os.listdir(".")) == ["test_it.py"]
"""
    run = await suite(sandbox, tmp_path, {"test_it.py": code})
    assert set(run.outcomes.values()) == {"passed"}, run.tail


async def test_workers_of_xdist_report_through_their_controller(sandbox: Sandbox, tmp_path: Path) -> None:
    files = BEFORE | {
        "tests/test_other.py": "def test_other(): raise OSError('x')\n",
        "pytest.ini": "[pytest]\naddopts = -n 2\n",
    }
    run = await suite(sandbox, tmp_path, files)
    assert run.counts() == {"failed": 1, "passed": 3}
    assert run.failures["tests/test_other.py::test_other"].trace == (("tests/test_other.py", 1),)


async def test_a_command_of_the_persons_own_is_judged_by_its_exit_status(sandbox: Sandbox, tmp_path: Path) -> None:
    project(tmp_path, BEFORE)
    for code, outcome in (("import shop.cart", "passed"), ("import shop.gone", "failed")):
        plan = await plan_tests(sandbox, tmp_path, list(BEFORE), HERE, command=("python", "-c", code))
        run = await run_tests(sandbox, tmp_path, plan, LIMITS, {}, home=HOME)
        assert run.outcomes == {COMMAND_ID: outcome}


async def test_a_forged_report_does_not_stop_the_reader(sandbox: Sandbox, tmp_path: Path) -> None:
    code = "import os\ndef test_it():\n    os.unlink('/results/report'); os.symlink('/etc/shadow', '/results/report')\n"
    run = await suite(sandbox, tmp_path, {"test_it.py": code})
    assert run.outcomes == {}


async def test_a_project_without_tests_is_refused_with_advice(sandbox: Sandbox, tmp_path: Path) -> None:
    plan = await plan_tests(sandbox, tmp_path, ["src/a.py"], HERE)
    assert "--test-command" in plan.refused


async def test_an_interpreter_without_pytest_is_refused_with_advice(sandbox: Sandbox, tmp_path: Path) -> None:
    project(tmp_path, {"pytest.py": "raise ImportError('none here')", "test_a.py": ""})
    plan = await plan_tests(sandbox, tmp_path, ["test_a.py"], HERE)
    assert "pytest can't be imported" in plan.refused
    assert "--python" in plan.refused


async def test_a_missing_interpreter_is_refused_with_advice(sandbox: Sandbox, tmp_path: Path) -> None:
    around = Surroundings(home=HOME, python=tmp_path / "none")
    assert "--python" in (await plan_tests(sandbox, tmp_path, ["test_a.py"], around)).refused


def environment(folder: Path, target: Path = PYTHON) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(target)
    (folder / "pyvenv.cfg").write_text(f"home = {target.parent}\n")
    return folder


def test_the_projects_own_environment_comes_before_the_active_one(tmp_path: Path) -> None:
    active = environment(tmp_path / "active")
    around = Surroundings(home=HOME, repository=tmp_path / "repo", virtual_env=str(active))
    assert find_python(around) == active / "bin" / "python"
    environment(tmp_path / "repo" / ".venv")
    assert find_python(around) == tmp_path / "repo" / ".venv" / "bin" / "python"


def test_a_stand_in_script_is_no_interpreter(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\nexec pyenv python3\n")
    (tmp_path / "python3").chmod(0o755)
    assert find_python(Surroundings(home=HOME, search_path=str(tmp_path))) is None


async def test_a_planted_environment_does_not_open_the_home_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "lib" / "python3.11").mkdir(parents=True)
    (home / "lib" / "python3.11" / "os.py").touch()
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(PYTHON)
    planted = environment(tmp_path / "repo" / ".venv", home / "bin" / "python3")
    around = Surroundings(home=home, python=planted / "bin" / "python")
    plan = await plan_tests(sandbox, tmp_path, ["test_a.py"], around)
    assert "holds more than an interpreter" in plan.refused


def test_imports_start_at_src_where_there_is_one() -> None:
    assert import_root(["src/shop/__init__.py"]) == "src"
    assert import_root(["shop/__init__.py"]) == "."
    assert not is_test_file("tests/helpers.py")
