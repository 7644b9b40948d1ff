"""The pool as a person meets it: runs that use it, the doctor, its switch.

Bug class this catches: a run whose result depends on what an earlier one left lying.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from projects import Project, a_project, write_files


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def slots(project: Project) -> dict[str, int]:
    """Names of what lies in the pool, with the inode of its workspace."""
    return {path.parent.name: path.stat().st_ino for path in project.home.glob("cache/pool/*/tree")}


def doctor(project: Project, **environ: str) -> dict[str, Any]:
    checks: list[dict[str, Any]] = project("doctor", "--json", **environ).data["checks"]
    return next(check for check in checks if check["name"] == "pool")


def published(project: Project) -> list[str]:
    """What each result branch holds."""
    return [project.git("rev-parse", f"{branch}^{{tree}}") for branch in project.branches()]


def test_a_second_run_uses_what_the_first_one_left_and_comes_to_the_same_result(shop: Project) -> None:
    assert shop.run("--yes").status == 0
    first = slots(shop)
    assert len(first) == 1
    assert shop.run("--yes").status == 0
    assert slots(shop) == first
    (shop.folder / "prices.py").write_text("def total(items):\n    return sum(items) + 0\n")
    assert shop.run("--yes").status == 0
    assert slots(shop) == first
    assert shop.run("--yes", CAVALCADE_POOL="0").status == 0
    trees = published(shop)
    assert sorted(trees.count(tree) for tree in set(trees)) == [
        2,
        2,
    ]  # as it was, twice; as changed: with and without the pool


def test_an_altered_workspace_does_not_change_what_a_run_finds(shop: Project) -> None:
    assert shop.run("--yes").status == 0
    (workspace,) = shop.home.glob("cache/pool/*/tree")
    (workspace / "prices.py").write_text("def other(items):\n    return sum(items)\n")
    (workspace / "evil.py").write_text("from prices import total\n")
    assert shop.run("--yes").status == 0
    assert len(set(published(shop))) == 1
    assert not workspace.exists()


def test_what_tests_were_run_in_is_not_kept(shop: Project) -> None:
    assert shop.run("--yes", tests=True).status == 0
    assert slots(shop) == {}
    assert list(shop.home.glob("cache/workspaces/*")) == []


def test_the_doctor_tells_how_much_lies_ready_and_what_may(shop: Project) -> None:
    assert doctor(shop)["found"] == "0 workspaces ready, 0.0 MiB (at most 8, 2048 MiB)"
    shop.run("--yes")
    assert doctor(shop, CAVALCADE_POOL="3")["found"].startswith("1 workspace ready, ")
    assert doctor(shop, CAVALCADE_POOL_MIB="1")["found"].endswith("(at most 8, 1 MiB)")
    assert doctor(shop, CAVALCADE_POOL="0")["found"] == "off: every workspace is made when it is needed"
    assert doctor(shop, CAVALCADE_POOL="many")["ok"] is False


def test_a_pool_of_no_workspaces_is_no_pool(shop: Project) -> None:
    assert shop.run("--yes", CAVALCADE_POOL="0").status == 0
    assert not (shop.home / "cache" / "pool").exists()
    assert list(shop.home.glob("cache/workspaces/*")) == []


def test_a_size_that_is_no_number_is_said_before_anything_is_done(shop: Project) -> None:
    slots, size = shop.run("--yes", CAVALCADE_POOL="lots"), shop.run("--yes", CAVALCADE_POOL_MIB="-1")
    assert (slots.status, size.status) == (2, 2)
    assert "CAVALCADE_POOL is 'lots'" in slots.err
    assert "CAVALCADE_POOL_MIB is '-1'" in size.err
    assert not (shop.home / "ledger.sqlite3").exists()


def test_a_run_whose_plan_fails_leaves_nothing_in_use(shop: Project) -> None:
    said = shop.run("--yes", objective="rename prices:no_such to other")
    assert said.status != 0
    assert slots(shop) == {}


def test_large_projects_get_workspaces_for_tests_while_they_are_planned(shop: Project) -> None:
    """The filling process is another one; the run's result is the same whether it was in time or not."""
    write_files(shop.folder, {f"data/{number // 100}/{number}.txt": f"{number}\n" for number in range(1200)})
    shop.git("add", "-A")
    shop.git("commit", "-qm", "much")
    done = shop.process(
        "run", "rename prices:total to sum_prices", "--repo", str(shop.folder), "--yes", "--python", sys.executable
    )
    assert done.status == 0, done
    assert shop.run("--yes").status == 0
    assert len(set(published(shop))) == 1
