"""A line is followed through runs, moves, forks, merges and what people do with git, whose own commands are used here.

Bug class this catches: an answer that stops at the last commit which touched the file, or that names with certainty what is a guess.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from projects import Project, a_project, git, write_files

FILES = {
    "shop/__init__.py": "",
    "shop/prices.py": "FIRST = 1\n\n\ndef total(items):\n    return sum(items)\n\n\ndef label(item):\n    return item\n"
    + "\n\nNOTHING = 0\n" * 6,
    "shop/till.py": "from shop.prices import label, total\n\n\ndef pay(items):\n    return total(items), label(items)\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return a_project(tmp_path, FILES)


def done(project: Project, objective: str) -> str:
    """The run that carried an objective out."""
    said = project.run("--yes", "--json", objective=objective)
    assert said.status == 0, said
    return said.data["run"]


def merged(project: Project, objective: str) -> str:
    run = done(project, objective)
    project.git("merge", "-q", f"cavalcade/{run}")
    return run


def recorded(project: Project, script: str, *flags: str) -> str:
    said = project("record", "--repo", str(project.folder), "--json", *flags, "--", "sh", "-c", script)
    assert said.status == 0, said
    return said.data["run"]


def why(project: Project, place: str, *more: str) -> Any:
    said = project("why", place, "--repo", str(project.folder), "--json", *more)
    assert said.status == 0, said
    return said.data


def commit(project: Project, message: str, files: dict[str, str] | None = None) -> None:
    write_files(project.folder, files or {})
    project.git("add", "-A")
    project.git("commit", "-q", "-m", message)


def text_of(project: Project, path: str) -> str:
    return (project.folder / path).read_text()


def test_a_line_of_one_run_whose_file_a_second_moved_and_whose_neighbours_a_third_changed(shop: Project) -> None:
    first = merged(shop, "rename shop.prices:total to sum_prices")
    second = merged(shop, "rename module shop.prices to shop.costs")
    third = merged(shop, "rename shop.costs:FIRST to BEGINNING")
    found = why(shop, "shop/costs.py:4")
    assert (found["kind"], found.get("sure", "certain")) == ("edit", "certain")
    assert (found["edit"]["run"], found["edit"]["path"]) == (first, "shop/prices.py")
    assert [(move["old_path"], move["new_path"], move["by"], move["run"]) for move in found["moves"]] == [
        ("shop/prices.py", "shop/costs.py", "edit", second)
    ]
    assert why(shop, "shop/costs.py:1")["edit"]["run"] == third
    assert why(shop, "shop/costs.py:9")["git"]["summary"] == "A shop"
    said = shop("why", "shop/costs.py:4", "--repo", str(shop.folder)).out
    assert "shop/prices.py -> shop/costs.py" in said
    assert f"run {second}" in said


def test_moves_by_a_recorded_program_and_by_plain_commits_are_told_in_order(shop: Project) -> None:
    first = merged(shop, "rename shop.prices:total to sum_prices")
    mover = recorded(shop, "mkdir lib && mv shop/prices.py lib/prices.py")
    shop.git("merge", "-q", f"cavalcade/{mover}")
    shop.git("mv", "lib/prices.py", "lib/money.py")
    commit(shop, "Call it money", {"lib/money.py": "# Money.\n" + text_of(shop, "lib/money.py")})
    found = why(shop, "lib/money.py:5")
    assert found["edit"]["run"] == first
    assert [(move["new_path"], move["by"], move.get("run", "")) for move in found["moves"]] == [
        ("lib/prices.py", "recorded", mover),
        ("lib/money.py", "git", ""),
    ]
    assert found["moves"][1]["summary"] == "Call it money"


def test_every_change_of_a_line_is_told_newest_first_and_down_to_before_there_were_runs(shop: Project) -> None:
    first = merged(shop, "rename shop.prices:total to sum_prices")
    second = merged(shop, "rename module shop.prices to shop.costs")
    program = recorded(shop, "sed -i 's/def sum_prices(items):/def sum_prices(goods):/' shop/costs.py")
    shop.git("merge", "-q", f"cavalcade/{program}")
    commit(shop, "More", {"shop/costs.py": "# Costs.\n" + text_of(shop, "shop/costs.py").replace("(goods)", "(wares)")})
    (shop.folder / "shop/costs.py").write_text(text_of(shop, "shop/costs.py").replace("(wares)", "(things)"))
    found = why(shop, "shop/costs.py:5", "--history")
    assert [(each["kind"], each["text"]) for each in found["changes"]] == [
        ("uncommitted", "def sum_prices(things):"),
        ("git", "def sum_prices(wares):"),
        ("recorded", "def sum_prices(goods):"),
        ("edit", "def sum_prices(items):"),
        ("git", "def total(items):"),
    ]
    assert [(each["path"], each["line"]) for each in found["changes"]] == [
        ("shop/costs.py", 5),
        ("shop/costs.py", 5),
        ("shop/costs.py", 4),
        ("shop/prices.py", 4),
        ("shop/prices.py", 4),
    ]
    assert found["changes"][2]["recorded"]["run"] == program
    assert found["changes"][3]["edit"]["run"] == first
    assert [move["run"] for move in found["changes"][3]["moves"]] == [second]
    said = shop("why", "shop/costs.py:5", "--repo", str(shop.folder), "--history").out
    told = ("not committed", ": More", f"run {program} (", f"of run {first}", ": A shop")
    order = [said.index(word) for word in told]
    assert order == sorted(order)
    own = why(shop, "shop/prices.py:4", "--run", first, "--history")
    assert [each["kind"] for each in own["changes"]] == ["edit", "git"]


@pytest.mark.parametrize("how", ["merge --squash", "cherry-pick", "checkout"])
def test_a_result_brought_without_its_history_is_likely_and_says_so(shop: Project, how: str) -> None:
    run = done(shop, "rename shop.prices:total to sum_prices")
    branch = f"cavalcade/{run}"
    commit(shop, "Meanwhile", {"other.txt": "other\n"})
    if how == "checkout":
        shop.git("checkout", "-q", branch, "--", "shop")
    else:
        shop.git(*how.split(), *(["-n"] if how == "cherry-pick" else []), branch)
    commit(shop, "Better names")
    found = why(shop, "shop/prices.py:4")
    assert (found["kind"], found["sure"], found["edit"]["run"]) == ("edit", "likely", run)
    assert found["git"]["summary"] == "Better names"
    assert "without its history" in found["note"]
    assert "likely" in shop("why", "shop/prices.py:4", "--repo", str(shop.folder)).out
    assert why(shop, "shop/prices.py:8")["kind"] == "git"


def test_a_cherry_picked_result_names_its_run_and_is_likely(shop: Project) -> None:
    run = done(shop, "rename shop.prices:total to sum_prices")
    commit(shop, "Meanwhile", {"shop/prices.py": text_of(shop, "shop/prices.py") + "\n\nLAST = 9\n"})
    shop.git("cherry-pick", f"cavalcade/{run}")
    found = why(shop, "shop/prices.py:4")
    assert (found["kind"], found["sure"], found["edit"]["run"]) == ("edit", "likely", run)


def test_the_same_change_in_a_file_that_differs_elsewhere_is_likely(shop: Project) -> None:
    run = done(shop, "rename shop.prices:total to sum_prices")
    commit(shop, "Meanwhile", {"shop/prices.py": text_of(shop, "shop/prices.py") + "\n\nLAST = 9\n"})
    shop.git("merge", "-q", "--squash", f"cavalcade/{run}")
    commit(shop, "Better names")
    found = why(shop, "shop/prices.py:4")
    assert (found["sure"], found["edit"]["run"]) == ("likely", run)
    assert "the change is the same" in found["note"]


def test_just_the_same_line_is_no_more_than_a_hint(shop: Project) -> None:
    run = done(shop, "rename shop.prices:total to sum_prices")
    mine = FILES["shop/prices.py"].replace(
        "FIRST = 1\n\n\ndef total(items):", "SECOND = 2\n\n# By hand.\ndef sum_prices(items):"
    )
    commit(shop, "By hand", {"shop/prices.py": mine})
    found = why(shop, "shop/prices.py:4")
    assert (found["kind"], found["git"]["summary"]) == ("git", "By hand")
    assert [hint["run"] for hint in found["hints"]] == [run]


def test_a_merge_by_a_person_keeps_both_sides_explained(shop: Project) -> None:
    one = done(shop, "rename shop.prices:total to sum_prices")
    other = done(shop, "rename shop.prices:NOTHING to EMPTY")
    shop.git("merge", "-q", f"cavalcade/{one}")
    shop.git("merge", "-q", "-m", "Both", f"cavalcade/{other}")
    assert why(shop, "shop/prices.py:4")["edit"]["run"] == one
    assert why(shop, "shop/prices.py:12")["edit"]["run"] == other


def test_a_line_of_a_fork_names_the_run_in_which_it_was_made(shop: Project) -> None:
    parent = done(shop, "rename shop.prices:total to sum_prices")
    log = [line for line in shop("log", parent).out.splitlines() if "edit" in line and "applied" in line]
    at = log[0].split()[0]
    said = shop("fork", parent, "--at", at, "--json")
    assert said.status == 0, said
    fork = said.data["run"]
    shop.git("merge", "-q", f"cavalcade/{fork}")
    lines = [why(shop, place)["edit"] for place in ("shop/prices.py:4", "shop/till.py:1")]
    assert {edit["run"] for edit in lines} == {parent, fork}
    (shared,) = [edit for edit in lines if edit["run"] == parent]
    assert shared["through"] == fork


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Project, Project]:
    """Ada's and Bob's: Bob's record began with a copy of Ada's."""
    (tmp_path / "ada").mkdir()
    (tmp_path / "bob").mkdir()
    ada = a_project(tmp_path / "ada", FILES)
    git(tmp_path / "bob", "clone", "-q", str(ada.folder), "shop")
    bob = Project((tmp_path / "bob" / "shop").resolve(), (tmp_path / "bob" / "home").resolve())
    done(ada, "rename shop.prices:FIRST to BEGINNING")
    take_over(ada, bob)
    return ada, bob


def take_over(source: Project, target: Project) -> None:
    file = target.folder.parent / f"record-{len(list(target.folder.parent.iterdir()))}"
    assert source("ledger", "export", str(file)).status == 0
    said = target("ledger", "import", str(file), "--repo", f"{source.folder}={target.folder}")
    assert said.status == 0, said


def test_results_brought_together_are_followed_to_both_sides(sides: tuple[Project, Project]) -> None:
    ada, bob = sides
    one = done(ada, "rename shop.prices:total to sum_prices")
    other = done(bob, "rename shop.prices:NOTHING to EMPTY")
    take_over(bob, ada)
    branches = [name for name in ada.branches() if name.startswith("cavalcade/x")]
    texts = {name: ada.git("show", f"{name}:shop/prices.py") for name in branches}
    (both,) = [name for name, text in texts.items() if "sum_prices" in text and "EMPTY" in text]
    ada.git("merge", "-q", both)
    assert why(ada, "shop/prices.py:4")["edit"]["run"] == one
    theirs = why(ada, "shop/prices.py:12")["edit"]
    there = why(bob, "shop/prices.py:12", "--run", other)["edit"]
    assert (theirs["run"], theirs["approval"]) == (other, there["approval"])


def test_a_line_that_settled_a_conflict_is_told_as_such(sides: tuple[Project, Project], tmp_path: Path) -> None:
    ada, bob = sides
    runs = {done(ada, "rename shop.prices:total to sum_prices"), done(bob, "rename shop.prices:label to name_of")}
    take_over(bob, ada)
    at = ("--repo", str(ada.folder))
    (name,) = [each["conflict"] for each in ada("conflicts", *at, "--json").data]
    folder = tmp_path / "open"
    assert ada("conflicts", "open", name, "--into", str(folder), *at).status == 0
    text = "from shop.prices import name_of, sum_prices\n\n\ndef pay(items):\n    return sum_prices(items), name_of(items)\n"
    for file in folder.rglob("till.py"):
        file.write_text(text)
    for file in folder.rglob("prices.py"):
        file.write_text(
            FILES["shop/prices.py"].replace("def total", "def sum_prices").replace("def label", "def name_of")
        )
    settled = ada("conflicts", "resolve", name, "--from", str(folder), *at)
    assert settled.status == 0, settled
    ada.git("merge", "-q", settled.out.strip())
    found = why(ada, "shop/till.py:5")
    assert found["kind"] == "git"
    assert "brought together" in found["note"]
    assert all(run in found["note"] for run in runs)


def test_a_recording_taken_over_by_another_installation_is_explained_there(sides: tuple[Project, Project]) -> None:
    ada, bob = sides
    run = recorded(ada, "echo 'TAX = 7' >> shop/prices.py")
    take_over(ada, bob)
    found = why(bob, "shop/prices.py:28", "--run", run)
    assert (found["text"], found["recorded"]["run"]) == ("TAX = 7", run)
    bob.git("fetch", "-q", str(ada.folder), f"cavalcade/{run}")
    bob.git("merge", "-q", "FETCH_HEAD")
    assert why(bob, "shop/prices.py:28")["recorded"]["run"] == run


def test_a_recorded_state_that_was_cherry_picked_is_likely(shop: Project) -> None:
    run = recorded(shop, "echo 'TAX = 7' >> shop/prices.py")
    commit(shop, "Meanwhile", {"other.txt": "other\n"})
    shop.git("cherry-pick", f"cavalcade/{run}")
    found = why(shop, "shop/prices.py:28")
    assert (found["kind"], found["sure"], found["recorded"]["run"]) == ("recorded", "likely", run)


def test_guidance_that_changed_the_plan_is_told_with_the_edit(shop: Project) -> None:
    said = shop.run("--json", objective="rename shop.prices:total to sum_prices")
    run = said.data["run"]
    assert shop("inject", run, "rename shop.prices:total to sum_of").status == 3
    assert shop("approve", run).status == 0
    edit = why(shop, "shop/prices.py:4", "--run", run)["edit"]
    assert [(step["kind"], step["text"]) for step in edit["planning"] if step["kind"] == "feedback"] == [
        ("feedback", "rename shop.prices:total to sum_of")
    ]
    assert "guidance" in shop("why", "shop/prices.py:4", "--run", run, "--repo", str(shop.folder)).out
