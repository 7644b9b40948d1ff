"""What a worker works with. Handed in whole: tests give other things in the same places."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cavalcade.agents.port import Record
from cavalcade.content.port import ContentStore
from cavalcade.domain.run import ProposePlan, RunState
from cavalcade.gates.defaults import edit_gates
from cavalcade.gates.port import Gate
from cavalcade.kernel.clock import Clock
from cavalcade.sandbox.workspaces import Workspaces
from cavalcade.worker.project_tests import Tests


def to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@dataclass(frozen=True)
class Workshop:
    """`workspaces` gives scratch copies of the run's project; without `index_cache` what the index learns stays in memory. `say` tells a
    person what can't be recorded.
    """

    record: Record
    content_of: Callable[[RunState], ContentStore]
    clock: Clock
    tests: Tests
    workspaces: Workspaces
    index_cache: Path | None
    edit_gates: Callable[[], Sequence[Gate]] = edit_gates
    """What judges every single edit."""
    make_plan: Callable[[Workshop, RunState, int], Awaitable[ProposePlan]] | None = None
    """Makes the plan of a round; None: from the recipe that the run asks for."""
    say: Callable[[str], None] = to_stderr
