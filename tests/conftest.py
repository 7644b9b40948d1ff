"""How Hypothesis searches, and the one PostgreSQL server, for all tests.

`ci`, the default, takes the same examples every time and prints what replays a failure. `HYPOTHESIS_PROFILE=explore` takes new
ones every time, more of them, and remembers failures.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

from cavalcade.testing.postgres_server import PostgresServer, postgres_server

settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None, database=None)
settings.register_profile("explore", derandomize=False, print_blob=True, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    """A server; each test makes its own database in it."""
    with postgres_server() as server:
        yield server
