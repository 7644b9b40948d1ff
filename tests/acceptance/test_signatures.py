"""Changed signatures on real repositories, by the installed command, judged like the renames.

Bug class these catch: a caller rewritten wrongly, an old call that breaks, a suite that treats warnings as errors and meets one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import SIGNATURES, SignatureCase
from command import Cavalcade
from judging import changed_paths, checkout_result, lost_tests, runs
from repositories import CATALOGUE, checkout, ensure_environment
from undisturbed import fingerprint

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("case", SIGNATURES, ids=[case.id for case in SIGNATURES])
def test_a_changed_signature_lands_with_every_test_and_old_calls_go_on(
    case: SignatureCase, cavalcade: Cavalcade, tmp_path: Path
) -> None:
    repository = CATALOGUE[case.repository]
    folder, tree = checkout(repository, tmp_path / "project"), tmp_path / "result"
    before = fingerprint(folder)

    python = str(ensure_environment(repository))
    said = cavalcade("run", case.objective, "--repo", str(folder), "--yes", "--json", "--python", python)

    assert fingerprint(folder) == before, "the person's own repository is as it was"
    assert said.status == 0, said
    report = said.report
    assert report["tests"]["lost"] == []
    assert changed_paths(folder, report) == case.must_change
    checkout_result(folder, report, tree)
    assert runs(repository, tree, case.new_calls, "-W", "error::DeprecationWarning")
    assert runs(repository, tree, case.old_calls, "-W", "ignore::DeprecationWarning")
    assert lost_tests(repository, tree, {}) == []
