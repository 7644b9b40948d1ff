"""What a worker works with. Handed in whole: tests give other things in the same places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cavalcade.agents.port import Record
from cavalcade.content.port import ContentStore
from cavalcade.domain.run import RunState
from cavalcade.kernel.clock import Clock
from cavalcade.sandbox.scratch import Janitor
from cavalcade.worker.project_tests import Tests


@dataclass(frozen=True)
class Workshop:
    """`workspace` is the run's folder for scratch copies."""

    record: Record
    content_of: Callable[[RunState], ContentStore]
    clock: Clock
    tests: Tests
    workspace: Path
    janitor: Janitor
    index_cache: Path
