"""Two people work on one project apart, each with an installation of their own; then one hears of the other's work.

Bug class this catches: a result of one side that is lost, overwritten or merged into something that doesn't work, and a conflict that
nobody can find or settle from the command line.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import Project, a_project, git

FILES = {
    "shop/__init__.py": "",
    "shop/other.py": "FIRST = 1\n",
    "shop/prices.py": "def total(items):\n    return sum(items)\n"
    + "\n\nNOTHING = 0\n" * 10
    + "\n\ndef label(item):\n    return item\n",
    "shop/till.py": "from shop.prices import label, total\n\n\ndef pay(items):\n    return total(items), label(items)\n",
    "shop/pair.py": "from shop.prices import label\n\n\nLABEL = label\n",
}


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Project, Project]:
    """Ada's and Bob's: Bob's record began with a copy of Ada's."""
    (tmp_path / "ada").mkdir()
    (tmp_path / "bob").mkdir()
    ada = a_project(tmp_path / "ada", FILES)
    git(tmp_path / "bob", "clone", "-q", str(ada.folder), "shop")
    bob = Project((tmp_path / "bob" / "shop").resolve(), (tmp_path / "bob" / "home").resolve())
    assert ada.run("--yes", objective="rename shop.other:FIRST to BEGINNING").status == 0
    take_over(ada, bob, tmp_path)
    return ada, bob


def take_over(source: Project, target: Project, tmp_path: Path) -> str:
    """What the target said when it took over the source's record."""
    file = tmp_path / f"record-{len(list(tmp_path.iterdir()))}"
    exported = source("ledger", "export", str(file))
    assert exported.status == 0, exported
    imported = target("ledger", "import", str(file), "--repo", f"{source.folder}={target.folder}")
    assert imported.status == 0, imported
    return imported.err


def asked(project: Project, objective: str) -> None:
    done = project.run("--yes", objective=objective)
    assert done.status == 0, done


def recorded(project: Project, script: str, *flags: str) -> None:
    done = project("record", *flags, "--repo", str(project.folder), "--", "sh", "-c", script)
    assert done.status == 0, done


def test_results_that_go_together_become_a_branch_with_both(sides: tuple[Project, Project], tmp_path: Path) -> None:
    ada, bob = sides
    asked(ada, "rename shop.prices:total to sum_prices")
    asked(bob, "rename shop.prices:NOTHING to EMPTY")
    said = take_over(bob, ada, tmp_path)
    assert "go together: branch cavalcade/x" in said
    (branch,) = [name for name in ada.branches() if name.startswith("cavalcade/x")]
    text = ada.git("show", f"{branch}:shop/prices.py")
    assert "def sum_prices" in text
    assert "EMPTY = 0" in text
    assert ada("conflicts", "--all", "--repo", str(ada.folder), "--json").data == []


def test_a_conflict_is_listed_shown_laid_out_and_settled(sides: tuple[Project, Project], tmp_path: Path) -> None:
    ada, bob = sides
    asked(ada, "rename shop.prices:total to sum_prices")
    asked(bob, "rename shop.prices:label to name_of")
    take_over(bob, ada, tmp_path)
    at = ("--repo", str(ada.folder))
    (conflict,) = ada("conflicts", *at, "--json").data
    name = conflict["conflict"]
    assert "sum_prices" in ada.git("show", f"cavalcade/{conflict['ours']}:shop/till.py")
    refused = ada("conflicts", "resolve", name, "--take", "ours", *at)
    assert refused.status == 4, refused
    assert "label" in refused.err
    shown = ada("conflicts", "show", name, *at)
    assert "sum_prices" in shown.out
    assert "name_of" in shown.out
    folder = tmp_path / "open"
    assert ada("conflicts", "open", name, "--into", str(folder), *at).status == 0
    (folder / "shop/till.py").write_text(
        "from shop.prices import name_of, sum_prices\n\n\ndef pay(items):\n    return sum_prices(items), name_of(items)\n"
    )
    settled = ada("conflicts", "resolve", name, "--from", str(folder), *at)
    assert settled.status == 0, settled
    branch = settled.out.strip()
    text = ada.git("show", f"{branch}:shop/prices.py")
    assert "def sum_prices" in text
    assert "def name_of" in text
    assert "LABEL = name_of" in ada.git("show", f"{branch}:shop/pair.py")
    assert ada("conflicts", *at, "--json").data == []
    again = ada("conflicts", "resolve", name, "--from", str(folder), *at)
    assert (again.status, again.out.strip()) == (0, branch), again
    (folder / "shop/till.py").write_text((folder / "shop/till.py").read_text() + "\n\nLATER = True\n")
    ada.git("branch", "-m", branch, "elsewhere")
    otherwise = ada("conflicts", "resolve", name, "--from", str(folder), *at)
    assert (otherwise.status, "was resolved by" in otherwise.err) == (4, True), otherwise
    assert branch not in ada.branches()
    (told,) = ada("conflicts", "--all", *at, "--json").data
    assert told["resolved"]["how"] == "edited"


def test_what_recorded_programs_made_apart_is_brought_together_too(
    sides: tuple[Project, Project], tmp_path: Path
) -> None:
    """With a run's result and with another recording's; what changed nothing, or was done in place, is no result."""
    ada, bob = sides
    asked(ada, "rename shop.prices:total to sum_prices")
    recorded(ada, "sed 's/items): *$/them):/' shop/till.py > new && mv new shop/till.py")
    recorded(bob, "sed 's/NOTHING/EMPTY/' shop/prices.py > new && mv new shop/prices.py")
    recorded(bob, "sed 's/items):$/things):/' shop/till.py > new && mv new shop/till.py")
    recorded(bob, "true")
    recorded(bob, "echo '# mine' >> shop/other.py", "--in-place")
    said = take_over(bob, ada, tmp_path)
    assert "go together: branch cavalcade/x" in said
    merged = [ada.git("show", f"{name}:shop/prices.py") for name in ada.branches() if name.startswith("cavalcade/x")]
    assert any("def sum_prices" in text and "EMPTY = 0" in text for text in merged)
    conflicts = ada("conflicts", "--repo", str(ada.folder), "--json").data
    assert ["shop/till.py"] in [conflict["paths"] for conflict in conflicts]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("resolve", "x123"), 2, "--take ours|theirs or --from DIR"),
        (("resolve", "x123", "--take", "ours"), 6, "cavalcade conflicts"),
        (("show", "nothing"), 6, "cavalcade conflicts"),
        (("resolve", "x123", "--take", "both"), 2, "ours"),
    ],
)
def test_what_can_t_be_done_is_said_with_what_can(
    tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    project = a_project(tmp_path)
    answered = project("conflicts", *arguments, "--repo", str(project.folder))
    assert answered.status == status, answered
    assert said in answered.err
