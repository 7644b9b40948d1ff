"""What a worker works with. Handed in whole: tests give other things in the same places."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cavalcade.agents.port import Record
from cavalcade.content.port import ContentStore
from cavalcade.domain.run import RunState
from cavalcade.kernel.clock import Clock
from cavalcade.sandbox.port import Sandbox
from cavalcade.sandbox.scratch import Janitor


@dataclass(frozen=True)
class Workshop:
    """`workspace` is the run's folder for scratch copies; `home` is the person's, never shown to tests.

    `sandbox` raises SandboxUnavailable when code can't be run safely.
    """

    record: Record
    content_of: Callable[[RunState], ContentStore]
    clock: Clock
    sandbox: Callable[[], Awaitable[Sandbox]]
    workspace: Path
    janitor: Janitor
    index_cache: Path
    home: Path
    search_path: str
    active_environment: str
