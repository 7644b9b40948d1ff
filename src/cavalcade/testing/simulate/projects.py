"""What the runs of a simulation are about: a small project, a plan for each objective, and tests that judge the files and nothing else.

All of it follows from a shape's number, so that a run's result can be compared with that of the same run left in peace.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path

from cavalcade.content.port import Change, ContentStore, TreeReader
from cavalcade.domain.plan import seal
from cavalcade.domain.run import ProposePlan, RunState
from cavalcade.gates.change import changed_files, regular_bytes
from cavalcade.gates.port import Judgement, Question, from_findings
from cavalcade.gates.run import judge
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import RecipeRefused
from cavalcade.kernel.ids import TaskId, TreeId
from cavalcade.protocol.plan import Base, Plan, PlannedEdit, RecipeCall, TaskSpec, TestPlan
from cavalcade.protocol.receipt import Finding, Receipt

SHAPES = 48
OBJECTIVES = 3
CALL = RecipeCall(name="drawn", arguments={})
_BROKEN = b"broken"
_LINES = 12


class Shape:
    """A project and what can be asked of it. `number` from 0."""

    def __init__(self, number: int) -> None:
        self.number = number
        chance = random.Random(f"shape {number}")
        self.files: dict[str, bytes] = {
            f"part{chance.randrange(3)}/file{index}.txt": _text(chance, index)
            for index in range(chance.randrange(4, 8))
        }

    def base(self, content: ContentStore, when: datetime) -> Base:
        changes = [Change(path, content.write(data)) for path, data in self.files.items()]
        commit = content.commit([], changes, message="start", trailers={}, when=when)
        return Base(commit=commit, tree=content.tree_of(commit), head=None)

    def objective(self, number: int) -> str:
        return f"objective {number} of shape {self.number}"

    def propose(self, content: ContentStore, state: RunState, plan_round: int) -> ProposePlan:
        """Raises RecipeRefused for an objective that can't be carried out."""
        chance = random.Random(f"plan of {state.objective}")
        if chance.random() < 0.03:
            raise RecipeRefused("nothing is left to change")
        plan = _Planning(content, self.files, chance).plan(state)
        sealed, data = seal(plan)
        return ProposePlan(plan_round, sealed, content.write(data))


def _text(chance: random.Random, index: int) -> bytes:
    return b"".join(b"file %d line %d %d\n" % (index, line, chance.randrange(1000)) for line in range(_LINES))


class _Planning:
    def __init__(self, content: ContentStore, files: Mapping[str, bytes], chance: random.Random) -> None:
        self._content = content
        self._files = files
        self._chance = chance
        self._edits: list[PlannedEdit] = []
        self._taken: set[str] = set()
        self._shared = min(files)
        """The one file that several tasks may change, each a line of its own."""

    def plan(self, state: RunState) -> Plan:
        count = self._chance.choice((1, 2, 2, 3))
        tasks = [self._task(number, count) for number in range(1, count + 1)]
        paths = {path for edit in self._edits for path in (edit.path, edit.moved_from) if path}
        return Plan(
            objective=state.objective,
            recipe=CALL,
            base_tree=state.head_tree,
            tasks=tuple(tasks),
            edits=tuple(self._edits),
            tests=TestPlan(command=("drawn",)),
            allowed=tuple(sorted(paths)),
        )

    def _task(self, number: int, count: int) -> TaskSpec:
        first = len(self._edits)
        residual: list[int] = []
        for _ in range(self._chance.choice((1, 1, 2))):
            self._edit(number)
        if self._chance.random() < 0.45:
            residual = self._broken(number)
        if count > 1 and self._chance.random() < 0.5:
            line = 1 + 4 * (number - 1)
            self._add(self._shared, _with_line(self._files[self._shared], line, b"task %d was here\n" % number))
        mine = self._edits[first:]
        after = [TaskId(f"t{other}") for other in range(1, number) if self._chance.random() < 0.3]
        return TaskSpec(
            id=TaskId(f"t{number}"),
            title=f"task {number}",
            targets=tuple(sorted({path for edit in mine for path in (edit.path, edit.moved_from) if path})),
            depends_on=tuple(after),
            edits=tuple(edit.number for edit in mine if edit.kind != "residual"),
            residual=tuple(residual),
        )

    def _edit(self, task: int) -> None:
        free = [path for path in sorted(self._files) if path != self._shared and path not in self._taken]
        match self._chance.choice(("change", "change", "add", "move", "refused")) if free else "add":
            case "change":
                path = self._take(free)
                self._add(path, _with_line(self._files[path], 3, b"changed by task %d\n" % task))
            case "move":
                path = self._take(free)
                self._add(f"moved{task}/{path}", self._files[path], moved_from=path)
            case "refused" if self._chance.random() < 0.2:
                self._add(f"new/refused{len(self._edits)}.json", b'{"no": end')
            case _:
                self._add(f"new/file{len(self._edits)}.json", b'{"task": %d}\n' % task)

    def _broken(self, task: int) -> list[int]:
        """An edit that tests refuse, and perhaps a residual one on top of it that makes it good."""
        path = f"new/part{task}.txt"
        broken = self._add(path, b"%s by task %d\n" % (_BROKEN, task))
        if self._chance.random() < 0.15:
            return []
        mended = PlannedEdit(
            number=len(self._edits) + 1,
            path=path,
            before=broken.after,
            after=self._content.write(b"mended by task %d\n" % task),
            kind="residual",
        )
        self._edits.append(mended)
        return [mended.number]

    def _take(self, free: list[str]) -> str:
        path = self._chance.choice(free)
        self._taken.add(path)
        return path

    def _add(self, path: str, after: bytes, *, moved_from: str = "") -> PlannedEdit:
        before = self._files.get(moved_from or path)
        edit = PlannedEdit(
            number=len(self._edits) + 1,
            path=path,
            before=None if before is None else self._content.write(before),
            after=self._content.write(after),
            moved_from=moved_from,
        )
        self._edits.append(edit)
        return edit


def _with_line(data: bytes, line: int, new: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    lines[line] = new
    return b"".join(lines)


class FilesGate:
    """Fails a change that leaves a changed file broken."""

    name = "tests"

    def tool(self) -> tuple[str, str]:
        return "drawn", "1"

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        changes = changed_files(question, reader)
        found = [
            Finding(path=change.path, line=1, message="broken")
            for change in changes
            if _BROKEN in (regular_bytes(change.after, reader) or b"")
        ]
        return from_findings(found, len(changes))


class DrawnTests:
    """Conforms to `worker.project_tests.Tests`. A verdict takes its time, and depends on the files alone."""

    def __init__(self, clock: Clock, sleep: Callable[[float], Awaitable[None]], chance: random.Random) -> None:
        self._clock = clock
        self._sleep = sleep
        self._chance = chance

    def python(self, state: RunState) -> Path | None:  # noqa: ARG002
        return None

    async def plan(
        self,
        state: RunState,  # noqa: ARG002
        content: ContentStore,  # noqa: ARG002
        folder: Path,  # noqa: ARG002
        selection: tuple[str, ...],
        why: str,
    ) -> TestPlan:
        """As it was asked for: there is nothing to find out about this project."""
        return TestPlan(command=("drawn",), selection=selection, why=why)

    async def judge(
        self,
        state: RunState,  # noqa: ARG002
        content: ContentStore,
        trees: tuple[TreeId, TreeId],
        plan: TestPlan,  # noqa: ARG002
        renamed: dict[str, str],  # noqa: ARG002
    ) -> Receipt:
        await self._sleep(self._chance.uniform(0.05, 1.0))
        changed = tuple(diff.path for diff in content.diff(*trees, context=0))
        (receipt,) = await judge([FilesGate()], Question(*trees, changed), content, self._clock)
        return receipt
