"""A repository's own tests, run natively: the judge that knows nothing of the product.

A test is known by its id. `lost` compares two runs by id, where an id may carry the renamed name (a parametrised test named after
a class changes its id with it). A test that seems lost is run again before it counts: some of these suites have tests that fail
now and then.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from repositories import CACHE, Repository, checkout, ensure_environment, locked

LIMIT_S = 600
_VERSION = 2
"""Of what a kept baseline means."""
_DJANGO_LINE = re.compile(
    r"^(?P<id>\w+ \([\w.]+\))(?:\n(?!\w+ \([\w.]+\)).*?)?? \.\.\. (?P<outcome>ok|FAIL|ERROR|skipped|expected failure|unexpected success)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class SuiteRun:
    """Test ids by what became of them; `seconds` is wall time; `output` its end, for a person to read."""

    passed: frozenset[str]
    failed: frozenset[str]
    seconds: float
    output: str = ""


def run_suite(repository: Repository, tree: Path) -> SuiteRun:
    """Runs the suite in folder `tree`, which it may litter."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        start = time.monotonic()
        done = subprocess.run(
            _command(repository, report),
            cwd=tree / "tests" if repository.runner == "django" else tree,
            env=_environ(repository, tree, Path(scratch)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        seconds = time.monotonic() - start
        if repository.runner == "django":
            outcomes = {match["id"]: match["outcome"] == "ok" for match in _DJANGO_LINE.finditer(done.stdout)}
            skipped = {match["id"] for match in _DJANGO_LINE.finditer(done.stdout) if match["outcome"] == "skipped"}
        else:
            outcomes, skipped = _from_junit(report)
    passed = {test for test, ok in outcomes.items() if ok}
    failed = set(outcomes) - passed - skipped
    here, there = str(tree), "/tree"  # some ids have paths in them
    return SuiteRun(
        frozenset(test.replace(here, there) for test in passed),
        frozenset(test.replace(here, there) for test in failed),
        round(seconds, 2),
        done.stdout[-4000:],
    )


def baseline(repository: Repository) -> SuiteRun:
    """The suite on the untouched source; run once for this archive, these dependencies and this command."""
    command = _command(repository, Path("report.xml"))[1:]
    key = json.dumps(
        [_VERSION, repository.sha256, repository.settings, repository.requirements.read_text(), command, sys.version]
    )
    path = CACHE / "baseline" / f"{repository.name}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"
    with locked(f"baseline-{repository.name}"):
        if not path.is_file():
            with tempfile.TemporaryDirectory() as scratch:
                run = run_suite(repository, checkout(repository, Path(scratch) / repository.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {"passed": sorted(run.passed), "failed": sorted(run.failed), "seconds": run.seconds}
            part = path.with_suffix(".part")
            part.write_text(json.dumps(kept))
            part.replace(path)
    data = json.loads(path.read_text())
    return SuiteRun(frozenset(data["passed"]), frozenset(data["failed"]), data["seconds"])


def lost(before: SuiteRun, after: SuiteRun, renamed: Mapping[str, str]) -> list[str]:
    """Ids that passed before and pass no more, not even under the id that the renamed names (old to new) give them.

    Ids with the time of day in them are others at every run: where an id is gone, as many of its shape (digits left out) must pass as
    did before.
    """
    was, now = Counter(map(_shape, before.passed)), Counter(map(_shape, after.passed))
    missing = [test for test in before.passed - after.passed if _renamed(test, renamed) not in after.passed]
    return sorted(test for test in missing if now[_shape(_renamed(test, renamed))] < was[_shape(test)])


def confirm_lost(repository: Repository, tree: Path, missing: list[str], renamed: Mapping[str, str]) -> list[str]:
    """Which of `missing` don't pass in a second run either."""
    if not missing:
        return []
    return [test for test in lost(baseline(repository), run_suite(repository, tree), renamed) if test in missing]


def _shape(test: str) -> str:
    return re.sub(r"\d+", "0", test)


def _renamed(test: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        test = re.sub(rf"\b{re.escape(old)}\b", new, test)
    return test


def _command(repository: Repository, report: Path) -> list[str]:
    python = str(ensure_environment(repository))
    if repository.runner == "django":
        return [python, "-W", "ignore", "runtests.py", "--verbosity=2", "--parallel=2", "--noinput", *repository.tests]
    return [
        python,
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        *repository.tests,
    ]


def _environ(repository: Repository, tree: Path, scratch: Path) -> dict[str, str]:
    """Nothing of the caller's environment but where programs lie."""
    return {
        "PATH": f"{ensure_environment(repository).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(tree / repository.import_root),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _from_junit(report: Path) -> tuple[dict[str, bool], set[str]]:
    """Whether each test passed, and which were skipped. A run that wrote no report (it could not even start) has no tests."""
    outcomes: dict[str, bool] = {}
    skipped: set[str] = set()
    if not report.is_file():
        return outcomes, skipped
    for case in ElementTree.parse(report).iter("testcase"):
        test = f"{case.get('classname', '')}::{case.get('name', '')}"
        fate = {child.tag for child in case}
        if "skipped" in fate:
            skipped.add(test)
        # A test can be reported twice: it passed, then its teardown failed.
        outcomes[test] = outcomes.get(test, True) and not fate & {"failure", "error", "skipped"}
    return outcomes, skipped


if __name__ == "__main__":
    from repositories import CATALOGUE

    for chosen in sys.argv[1:] or CATALOGUE:
        run = baseline(CATALOGUE[chosen])
        line = f"{chosen:12} {len(run.passed):6} passed, {len(run.failed):3} failed, {run.seconds:6.1f} s"
        sys.stdout.write(f"{line}, known: {CATALOGUE[chosen].passes}\n")
        sys.stdout.flush()
