"""Renames on real repositories, by the installed command, judged by what knows nothing of it: git, Python and the suites themselves.

Bug class these catch: a landed tree with fewer passing tests than before, a re-export, `__all__` entry or string left behind, a
file changed that need not be, a trace in the person's own repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cases import CASES, Case
from command import Cavalcade
from judging import changed_paths, checkout_result, lost_tests, runs
from names import uses
from repositories import CATALOGUE, Repository, checkout, ensure_environment, git
from suites import baseline
from undisturbed import fingerprint

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("repository", CATALOGUE.values(), ids=list(CATALOGUE))
def test_the_suite_of_the_untouched_source_passes_as_far_as_is_known(repository: Repository) -> None:
    # A few tests depend on the machine (superuser, IPv6, name resolution); a broken environment loses many.
    assert len(baseline(repository).passed) >= 0.98 * repository.passes


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_rename_lands_with_every_test_that_passed_before_or_stops_and_names_the_places(
    case: Case, cavalcade: Cavalcade, tmp_path: Path
) -> None:
    repository = CATALOGUE[case.repository]
    folder = checkout(repository, tmp_path / "project")
    python = str(ensure_environment(repository))
    before = fingerprint(folder)

    said = cavalcade("run", case.objective, "--repo", str(folder), "--yes", "--json", "--python", python)

    assert fingerprint(folder) == before, "the person's own repository is as it was"
    report = said.report
    assert report["phase"] in {"completed", "stopped"}, said
    if report["phase"] == "stopped":
        assert case.outcome == "lands or stops", said
        assert said.status == 10, said
        _stopped_and_named(case, folder, report)
    else:
        assert said.status == 0, said
        _landed_whole(case, repository, folder, report, tmp_path / "result")


def _stopped_and_named(case: Case, folder: Path, report: dict[str, Any]) -> None:
    assert report["branch"] == ""
    assert not git(folder, "for-each-ref", "refs/heads/cavalcade")
    named = {place["path"] for place in report["stop"]["places"]}
    assert named >= set(case.named)


def _landed_whole(case: Case, repository: Repository, folder: Path, report: dict[str, Any], tree: Path) -> None:
    assert report["tests"]["lost"] == []
    changed = changed_paths(folder, report)
    assert changed >= case.must_change
    assert changed <= case.must_change | case.may_change
    assert {place["path"] for place in report["plan"]["mentions"]} >= set(case.mentioned)

    checkout_result(folder, report, tree)
    _says_the_new_name(case, folder, tree)
    assert runs(repository, tree, case.works)
    assert not runs(repository, folder, case.works), "it could not have worked before"

    assert lost_tests(repository, tree, {case.old: case.new}) == []


def _says_the_new_name(case: Case, folder: Path, tree: Path) -> None:
    for fact in case.facts:
        found = re.search(fact.pattern, (tree / fact.path).read_text()) is not None
        assert found == fact.holds, fact
    if case.left is not None:
        assert uses(tree, case.old) == dict(case.left)
        renamed = uses(folder, case.old).total() - sum(case.left.values())
        assert uses(tree, case.new).total() == uses(folder, case.new).total() + renamed
