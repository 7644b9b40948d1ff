"""An export or an import is killed at each step it takes on the disk; doing it again finishes it, and nothing is half known.

Bug class this catches: an event on record whose content never arrived, a file that looks like an export and is none.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from projects import Project, a_project

from cavalcade.testing.crashing import killed_at

pytestmark = pytest.mark.faults


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    shop = a_project(tmp_path)
    assert shop.run("--yes").status == 0
    return shop


def test_a_killed_import_leaves_no_event_without_its_content_and_is_finished_by_the_next(
    shop: Project, tmp_path: Path
) -> None:
    assert shop("ledger", "export", str(tmp_path / "x")).status == 0
    told = shop("diff", "last").out
    there, step = replace(shop, home=tmp_path / "there"), 0
    while killed_at(step, lambda: there("ledger", "import", str(tmp_path / "x"))):
        if there("runs", "--all", "--json").data:
            assert there("diff", "last").out == told, step
        assert there("ledger", "import", str(tmp_path / "x"), "--json").status == 0, step
        assert [path.name for path in (there.home / "cache/imports").iterdir()] == ["lock"], step
        assert (there("verify").status, there("diff", "last").out) == (0, told), step
        shutil.rmtree(there.home)
        step += 1
    assert step > 20


def test_a_killed_export_leaves_nothing_under_its_name(shop: Project, tmp_path: Path) -> None:
    file, step = tmp_path / "x", 0
    while killed_at(step, lambda: shop("ledger", "export", str(file))):
        assert not file.exists() or shop("ledger", "import", str(file)).status == 0, step
        file.unlink(missing_ok=True)
        step += 1
    assert step > 5
    assert shop("ledger", "import", str(file)).status == 0
