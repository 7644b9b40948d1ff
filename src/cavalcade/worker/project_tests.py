"""How a change is tested: found out while it is planned, and the verdict when it is proposed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from cavalcade.content.port import ContentStore
from cavalcade.domain.run import RunState
from cavalcade.gates.discovery import Surroundings, find_python, plan_tests
from cavalcade.gates.suite import Suite
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol.plan import TestPlan
from cavalcade.protocol.receipt import Receipt
from cavalcade.sandbox.port import Sandbox
from cavalcade.sandbox.workspaces import Workspaces


class Tests(Protocol):
    """The one place where work meets the project's own environment. A replay answers here from the record."""

    __test__ = False

    def python(self, state: RunState) -> Path | None:
        """The interpreter of the project's environment."""
        ...

    async def plan(
        self, state: RunState, content: ContentStore, folder: Path, selection: tuple[str, ...], why: str
    ) -> TestPlan:
        """How to test what is planned on the run's head; `folder` holds its sources, `selection` is as in a TestPlan.

        Raises SandboxUnavailable: a run that should be tested and can't be is not planned.
        """
        ...

    async def judge(
        self,
        state: RunState,
        content: ContentStore,
        trees: tuple[TreeId, TreeId],
        plan: TestPlan,
        renamed: dict[str, str],
    ) -> Receipt:
        """The verdict on the second of two trees, against the first. Raises SandboxUnavailable."""
        ...


@dataclass(frozen=True, kw_only=True)
class SandboxedTests:
    """`workspaces` gives scratch copies of the run's project; `home` is the person's, never shown to tests; `search_path` and
    `virtual_env` are the values of PATH and VIRTUAL_ENV. `sandbox` raises SandboxUnavailable when code can't be run safely.
    """

    sandbox: Callable[[], Awaitable[Sandbox]]
    workspaces: Workspaces
    clock: Clock
    home: Path
    search_path: str
    virtual_env: str

    def python(self, state: RunState) -> Path | None:
        return find_python(self._around(state))

    async def plan(
        self, state: RunState, content: ContentStore, folder: Path, selection: tuple[str, ...], why: str
    ) -> TestPlan:
        plan = await plan_tests(
            await self.sandbox(),
            folder,
            content.entries(state.head_tree).keys(),
            self._around(state),
            selection=selection,
            command=state.settings.test_command,
        )
        return plan if plan.refused else replace(plan, why=why)

    async def judge(
        self,
        state: RunState,
        content: ContentStore,
        trees: tuple[TreeId, TreeId],
        plan: TestPlan,
        renamed: dict[str, str],
    ) -> Receipt:
        timeout_s = state.settings.test_timeout_s
        suite = Suite(content, self.sandbox, self.workspaces, self.clock, self.home, timeout_s)
        return await suite.judge(*trees, plan, renamed)

    def _around(self, state: RunState) -> Surroundings:
        assert state.request is not None  # a loaded run has been requested
        return Surroundings(
            home=self.home,
            repository=Path(state.request.repository),
            python=Path(state.settings.python) if state.settings.python else None,
            virtual_env=self.virtual_env,
            search_path=self.search_path,
        )
