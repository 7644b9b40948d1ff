"""What the acceptance tests are handed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import Cavalcade
from installed import ensure_installed


@pytest.fixture(scope="session")
def command() -> Path:
    """The `cavalcade` command of the built wheel, in an environment of its own; or the one that CAVALCADE_COMMAND names."""
    named = os.environ.get("CAVALCADE_COMMAND")
    return Path(named) if named else ensure_installed()


@pytest.fixture
def cavalcade(command: Path, tmp_path: Path) -> Cavalcade:
    """The installed command with data and cache folders of the test's own."""
    return Cavalcade(command, tmp_path / "home")
