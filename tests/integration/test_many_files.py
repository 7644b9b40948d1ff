"""A change that goes through hundreds of files.

Bug class this catches: events that grow with the plan until the record refuses them, and the run fails when its work is done.
"""

from __future__ import annotations

from pathlib import Path

from projects import a_project

COUNT = 450


def test_a_rename_over_hundreds_of_files_lands(tmp_path: Path) -> None:
    callers = {
        f"package/part_{number % 9}/a_module_with_a_long_name_{number}.py": (
            f"from package.prices import total\n\n\ndef use_{number}(items):\n    return total(items)\n"
        )
        for number in range(COUNT)
    }
    folders = {f"package/part_{number}/__init__.py": "" for number in range(9)}
    prices = {"package/__init__.py": "", "package/prices.py": "def total(items):\n    return sum(items)\n"}
    project = a_project(tmp_path, {**prices, **folders, **callers})
    done = project.run("--yes", "--json", objective="rename package.prices:total to sum_prices")
    assert done.status == 0, done
    (branch,) = project.branches()
    assert "total" not in project.git("grep", "-h", "import", branch, "--", "*.py")
    verified = project("verify", "--json")
    assert verified.status == 0, verified
