"""What a result branch is judged by: git, Python, and the repository's own suite."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repositories import Repository, ensure_environment, git
from suites import baseline, confirm_lost, lost, run_suite


def changed_paths(folder: Path, report: Mapping[str, Any]) -> set[str]:
    """Paths that differ between the person's branch and the result branch, which is at the reported commit."""
    assert git(folder, "rev-parse", f"refs/heads/{report['branch']}").strip() == report["commit"]
    return set(git(folder, "diff", "--name-only", "--no-renames", "main", report["branch"]).split())


def checkout_result(folder: Path, report: Mapping[str, Any], tree: Path) -> None:
    git(folder.parent, "clone", "--quiet", "--branch", report["branch"], str(folder), str(tree))


def lost_tests(repository: Repository, tree: Path, renamed: Mapping[str, str]) -> list[str]:
    """Tests that pass on the untouched source and, tried twice, not on this tree."""
    missing = lost(baseline(repository), run_suite(repository, tree), renamed)
    return confirm_lost(repository, tree, missing, renamed)


def runs(repository: Repository, tree: Path, code: str, *options: str) -> bool:
    """Whether the code runs on the tree, in the environment of its suite."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(tree / repository.import_root),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [str(ensure_environment(repository)), *options, "-c", code]
    return subprocess.run(command, cwd=tree, env=environ, capture_output=True, check=False).returncode == 0
