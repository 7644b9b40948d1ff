"""The suite as a judge: what counts as lost and what doesn't.

Bug class this catches: a good change turned down, or another one tried, because a suite is not the same twice.
"""

from __future__ import annotations

from pathlib import Path

from projects import SHOP, Project, a_project

PASSES = "from prices import total\n\n\ndef test_total():\n    assert total([1]) == 1\n"


def shop(tmp_path: Path, **files: str) -> Project:
    return a_project(tmp_path, {**SHOP, **files})


def test_tests_whose_ids_are_never_the_same_twice_are_told_apart_from_lost_ones(tmp_path: Path) -> None:
    clock = "import time\n\nimport pytest\n\nfrom prices import total\n\n\n"
    clock += "@pytest.mark.parametrize('now', [time.time_ns()])\ndef test_now(now):\n    assert total([now]) == now\n"
    project = shop(tmp_path, **{"test_prices.py": PASSES, "test_clock.py": clock})
    said = project.run("--yes", "--json", tests=True)
    assert said.status == 0, said
    tests = said.data["tests"]
    assert tests["lost"] == []
    assert [test.partition("[")[0] for test in tests["flaky"]] == ["test_clock.py::test_now"]


def test_a_test_that_passes_on_one_side_by_chance_is_run_again_before_it_counts(tmp_path: Path) -> None:
    # Fails at every first run of a fresh copy in which the new name stands, and passes when its file is run alone.
    chance = "import sys\n\nimport prices\n\n\ndef test_chance():\n"
    chance += "    assert 'to' + 'tal' in vars(prices) or 'test_prices' not in sys.modules\n"
    project = shop(tmp_path, **{"test_chance.py": chance, "test_prices.py": PASSES})
    said = project.run("--yes", "--json", tests=True)
    assert said.status == 0, said
    assert said.data["tests"]["flaky"] == ["test_chance.py::test_chance"]
    assert said.data["tests"]["lost"] == []


def test_a_test_that_fails_again_is_lost(tmp_path: Path) -> None:
    broken = "import prices\n\n\ndef test_name():\n    assert 'to' + 'tal' in vars(prices)\n"
    project = shop(tmp_path, **{"test_name.py": broken, "test_prices.py": PASSES})
    said = project.run("--yes", "--json", tests=True)
    assert said.status == 10, said
    assert said.data["tests"]["lost"] == ["test_name.py::test_name"]
    assert project.branches() == []
