"""Whole runs on real repositories, real content store and real coder; only the plan and the verdict on it are handed in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pygit2

from cavalcade.agents.coder import RecipeCoder
from cavalcade.content.git import GitContentStore
from cavalcade.content.port import ContentStore
from cavalcade.domain.plan import seal
from cavalcade.domain.run import (
    Approve,
    Complete,
    JudgeTask,
    ProposePlan,
    RecordPublished,
    RunState,
    StartTask,
)
from cavalcade.gates.suite import SuiteDetails
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.kernel.canonical import canonical_bytes, digest
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import CommitId, ProjectId, RunId, TaskId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.decision import Alternative, Decision
from cavalcade.protocol.events import RunRequested, Settings
from cavalcade.protocol.plan import Place, Plan, PlannedEdit, RecipeCall, TaskSpec, TestPlan
from cavalcade.protocol.receipt import Receipt
from cavalcade.supervisor.runs import RunService
from cavalcade.testing.clock import FakeClock, SeededEntropy

TASK = TaskId("t1")
DECISION = Decision(
    question="which name is meant?",
    choice="the function",
    rationale="it is the only one",
    rejected=(Alternative(choice="the parameter", why="nobody passes it"),),
    context_hash=digest(b"the shop"),
)


def a_repository(folder: Path, files: Mapping[str, str], *, message: str = "A shop") -> pygit2.Repository:
    """A git repository with one commit on `main`."""
    repository = pygit2.init_repository(str(folder), initial_head="main")
    commit_all(repository, files, message=message)
    return repository


def commit_all(repository: pygit2.Repository, files: Mapping[str, str], *, message: str) -> CommitId:
    """Writes files and commits them on top of HEAD."""
    folder = Path(repository.workdir)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
        repository.index.add(path)
    repository.index.write()
    author = pygit2.Signature("Ada", "ada@localhost", int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()), 0)
    parents = [] if repository.head_is_unborn else [repository.head.target]
    tree = repository.index.write_tree()
    return CommitId(str(repository.create_commit("HEAD", author, author, message, tree, parents)))


class WholeRuns:
    """Carries runs out on one repository. `changes` map paths to their new text."""

    def __init__(
        self, ledger: Ledger, runs: RunService, content: GitContentStore, clock: Clock, repository: Path
    ) -> None:
        self.ledger = ledger
        self.runs = runs
        self.content: ContentStore = content
        self.clock = clock
        self.repository = repository
        self.project = ProjectId("p1")

    async def proposed(
        self,
        changes: Mapping[str, str],
        *,
        objective: str = "rename shop:total to sum_prices",
        settings: Settings | None = None,
        unclear: Sequence[Place] = (),
        project: ProjectId | None = None,
    ) -> RunId:
        """A run whose plan waits for approval."""
        base = self.content.import_repository(self.repository)
        run = self.runs.new_id()
        call = RecipeCall(name="rename", arguments={"symbol": "shop:total", "to": "sum_prices"})
        request = RunRequested(
            objective=objective,
            project=project or self.project,
            repository=str(self.repository),
            base=base,
            recipe=call,
            settings=settings or Settings(),
        )
        state = await self.runs.request(run, request)
        sealed, data = seal(self._plan(state, objective, call, changes, unclear))
        await self.runs.execute(run, ProposePlan(1, sealed, self.content.write(data), (DECISION,)))
        return run

    def _plan(
        self, state: RunState, objective: str, call: RecipeCall, changes: Mapping[str, str], unclear: Sequence[Place]
    ) -> Plan:
        entries = self.content.entries(state.head_tree)
        edits = tuple(
            PlannedEdit(
                number=number,
                path=path,
                before=entries[path].blob if path in entries else None,
                after=self.content.write(text.encode()),
                places=(Place(path=path, line=1),),
            )
            for number, (path, text) in enumerate(changes.items(), start=1)
        )
        task = TaskSpec(id=TASK, title=objective, targets=tuple(changes), edits=tuple(edit.number for edit in edits))
        return Plan(
            objective=objective,
            recipe=call,
            base_tree=state.head_tree,
            tasks=(task,),
            edits=edits,
            unresolved=tuple(unclear),
            mentions=(Place(path="README.md", line=3, text="call total()"),),
            tests=TestPlan(command=("python", "-m", "pytest"), selection=("test_shop.py",)),
            allowed=tuple(sorted(changes)),
        )

    async def worked(self, changes: Mapping[str, str], *, by: str = "ada") -> RunId:
        """A run whose edits are made and which is proposed, not yet judged."""
        run = await self.proposed(changes)
        state = await self.runs.load(run)
        await self.runs.execute(run, Approve(state.plan_hash, by))
        await self.runs.execute(run, StartTask(TASK, 1))
        await RecipeCoder(self.runs, self.content, [SyntaxGate()], self.clock).work(run, TASK, 1)
        return run

    async def completed(self, changes: Mapping[str, str], *, by: str = "ada") -> RunId:
        """A run whose result branch is in the repository."""
        run = await self.worked(changes, by=by)
        state = await self.runs.execute(run, self._verdict(run, await self.runs.load(run)))
        branch = f"cavalcade/{run}"
        self.content.publish(self.repository, branch, state.head)
        await self.runs.execute(run, RecordPublished(branch, state.head))
        await self.runs.execute(run, Complete())
        return run

    def _verdict(self, run: RunId, state: RunState) -> JudgeTask:
        task = state.tasks[TASK]
        assert task.proposed_at is not None
        trailers = {"Cavalcade-Run": run, "Cavalcade-Task": TASK, "Cavalcade-Plan": state.approved_hash}
        commit = self.content.commit_tree(
            [state.head], task.tree, message=state.objective, trailers=trailers, when=task.proposed_at
        )
        return JudgeTask(
            task=TASK,
            attempt=task.attempt,
            head=state.head,
            receipts=(self.tests_receipt(state),),
            commit=commit,
            tree=task.tree,
        )

    def tests_receipt(self, state: RunState) -> Receipt:
        details = SuiteDetails(
            before={"test_shop.py::test_total": "passed"}, after={"test_shop.py::test_total": "passed"}
        )
        return Receipt(
            gate="tests",
            tool="pytest",
            version="9",
            before=state.head_tree,
            after=state.tasks[TASK].tree,
            paths=(),
            config={},
            verdict="passed",
            result_digest="0" * 64,
            duration_ms=2000.0,
            details=self.content.write(canonical_bytes(msgspec.to_builtins(details))),
            summary="1 passed before, 1 after",
        )


@asynccontextmanager
async def whole_runs(folder: Path, files: Mapping[str, str]) -> AsyncGenerator[WholeRuns]:
    """Runs on a new repository `folder/shop` with these files; time ticks by a second, and nothing is random."""
    clock, entropy = FakeClock(tick_s=1.0), SeededEntropy(7)
    ledger = MemoryLedger(entropy=entropy)
    a_repository(folder / "shop", files)
    content = GitContentStore(folder / "content.git")
    yield WholeRuns(ledger, RunService(ledger, clock, entropy), content, clock, folder / "shop")
    await ledger.aclose()
