"""One long run, made by the real decider, coder and content store from a seed: thousands of events in a few seconds.

Its tasks work two at a time, interleaved, each in its own half of the tree; every other pair has a first attempt that is bounced and
a second one with residual edits. Edits change, add, remove and move files, swap files and folders, flip modes and make links.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from cavalcade.agents.coder import RecipeCoder
from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change, ContentStore, TreeReader
from cavalcade.domain.plan import seal
from cavalcade.domain.run import (
    Approve,
    Command,
    Complete,
    DoTask,
    Effect,
    ExploreTask,
    JudgeTask,
    ProposePlan,
    RecordExploration,
    RecordPublished,
    RunState,
    StartTask,
    VerifyTask,
    pending,
)
from cavalcade.gates.port import Gate, Judgement, Question
from cavalcade.gates.run import judge
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import CommitId, ProjectId, RunId, TaskId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import RunRequested
from cavalcade.protocol.plan import Base, Plan, PlannedEdit, RecipeCall, TaskSpec
from cavalcade.protocol.receipt import Verdict
from cavalcade.supervisor.runs import RunService
from cavalcade.testing.clock import FakeClock, SeededEntropy

FILE, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120000
GATES = ("syntax", "dangerous", "patterns", "lint", "references")
"""One verdict of each on every edit, as in a run of recipes."""
EDITS, RESIDUAL = 30, 4
"""For each task; the residual ones for those that are bounced."""
HALVES = ("east", "west")
_FOLDERS, _FILES, _DEEPEST = 8, 48, 5
_PAIR = 2 * (3 + EDITS * (len(GATES) + 2))
"""Events of two tasks, at the least."""

Kind = Literal["reference", "residual"]


class Made(NamedTuple):
    """An edit as it was drawn. `data` None: the path is removed; `moved_from` names the path that goes with it."""

    path: str
    mode: int
    data: bytes | None
    moved_from: str = ""
    kind: Kind = "reference"


Files = dict[str, tuple[int, bytes]]
"""Mode and content by path."""


class LongRun(NamedTuple):
    """`start` is what the run began with, `edits` what was drawn, by their numbers in the plan."""

    run: RunId
    ledger: Ledger
    runs: RunService
    content: GitContentStore
    clock: Clock
    start: Files
    edits: Mapping[int, Made]


class Verdicts:
    """A gate that looks at nothing. The verdict is the one it is made with."""

    def __init__(self, name: str, verdict: Verdict = "passed") -> None:
        self.name = name
        self._verdict: Verdict = verdict

    def tool(self) -> tuple[str, str]:
        return "drawn", "1"

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:  # noqa: ARG002
        return Judgement(self._verdict)


async def long_run(
    folder: Path, *, events: int = 10_000, seed: int = 1, ledger: Ledger | None = None, repository: Path | None = None
) -> LongRun:
    """A completed run of at least `events` events, its content store in `folder`. The same seed gives the same events and commits.

    `repository` is only named in the request: nothing is read from it, no branch is made in it.
    """
    clock, entropy = FakeClock(tick_s=0.25), SeededEntropy(seed)
    kept = ledger or MemoryLedger(entropy=entropy)
    runs, content = RunService(kept, clock, entropy), GitContentStore(folder / "content.git")
    draw = _Draw(random.Random(seed))
    start = draw.start()
    base = content.commit([], _changes(content, start), message="start", trailers={}, when=clock.now())
    drawn = _Drawn(content, draw, start)
    pairs = -(-events // _PAIR)
    specs = [spec for pair in range(pairs) for spec in drawn.pair(pair)]
    request = RunRequested(
        objective="a long run",
        project=ProjectId("p0000000000000000"),
        repository=str(repository or folder / "repository"),
        base=Base(commit=base, tree=content.tree_of(base), head=None),
        recipe=RecipeCall(name="drawn", arguments={"seed": str(seed)}),
    )
    made = _Driver(runs, content, clock, runs.new_id())
    await made.through(request, drawn.planned, specs)
    return LongRun(made.run, kept, runs, content, clock, start, drawn.made)


def _changes(content: GitContentStore, files: Files) -> list[Change]:
    blobs = content.write_all([data for _, data in files.values()])
    return [Change(path, blob, mode) for (path, (mode, _)), blob in zip(files.items(), blobs, strict=True)]


class _Draw:
    """Draws files and edits. What was removed comes back now and then, as a file or as a folder with a file in it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._names = 0
        self._gone: dict[str, list[str]] = {half: [] for half in HALVES}

    def start(self) -> Files:
        files: Files = {}
        for number in range(_FILES):
            half = HALVES[number % 2]
            files[self._name(half)] = self._rng.choice((FILE, FILE, FILE, EXECUTABLE)), self._data()
        return files

    def edit(self, files: Files, half: str, kind: Kind) -> Made:
        mine = sorted(path for path in files if path.startswith(half + "/"))
        path = self._rng.choice(mine)
        mode, data = files[path]
        match self._rng.choices(("change", "add", "remove", "move", "swap", "mode", "link"), (44, 20, 16, 2, 1, 8, 9))[
            0
        ]:
            case "remove" if len(mine) > _FILES // 4:
                self._gone[half].append(path)
                return Made(path, mode, None, kind=kind)
            case "add" | "remove":
                return Made(self._free(files, half), self._rng.choice((FILE, EXECUTABLE)), self._data(), kind=kind)
            case "swap" if path.count("/") < _DEEPEST:  # the file becomes a folder with the file in it
                return Made(f"{path}/{self._names}", mode, data, path, kind)
            case "move" | "swap":
                return Made(self._name(half), mode, data, path, kind)
            case "mode" if mode != LINK:
                return Made(path, FILE if mode == EXECUTABLE else EXECUTABLE, data, kind=kind)
            case "link":
                return Made(path, LINK, b"../" + self._rng.choice(mine).encode(), kind=kind)
            case _:
                return Made(path, FILE if mode == LINK else mode, self._data(), kind=kind)

    def _free(self, files: Files, half: str) -> str:
        if not self._gone[half] or self._rng.random() < 0.5:
            return self._name(half)
        path = self._gone[half].pop(0)
        below = any(other.startswith(path + "/") for other in files)
        above = any(path.startswith(other + "/") for other in files)
        if above or path in files:
            return self._name(half)
        return f"{path}/below" if below or self._rng.random() < 0.5 else path

    def _name(self, half: str) -> str:
        self._names += 1
        return f"{half}/part{self._rng.randrange(_FOLDERS)}/name{self._names}"

    def _data(self) -> bytes:
        lines = [f"value = {self._rng.randrange(1000)}\n".encode() for _ in range(self._rng.randrange(1, 12))]
        return b"".join(lines) + (b"\0\xff" if self._rng.random() < 0.1 else b"")


class _Drawn:
    """The edits of all tasks, in order, against the files as the tasks before leave them."""

    def __init__(self, content: GitContentStore, draw: _Draw, start: Files) -> None:
        self._content = content
        self._draw = draw
        self._files = dict(start)
        self.planned: list[PlannedEdit] = []
        self.made: dict[int, Made] = {}

    def pair(self, number: int) -> list[TaskSpec]:
        """Two tasks that may go at once, after all tasks of the pair before."""
        after = tuple(TaskId(f"t{2 * number - 1 + other}") for other in range(2)) if number else ()
        specs: list[TaskSpec] = []
        for index, half in enumerate(HALVES):
            edits = tuple(self._edit(half, "reference") for _ in range(EDITS))
            residual = tuple(self._edit(half, "residual") for _ in range(RESIDUAL * (number % 2)))
            name = TaskId(f"t{2 * number + 1 + index}")
            specs.append(
                TaskSpec(id=name, title=half, targets=(half,), depends_on=after, edits=edits, residual=residual)
            )
        return specs

    def _edit(self, half: str, kind: Kind) -> int:
        made = self._draw.edit(self._files, half, kind)
        number = len(self.planned) + 1
        before = self._files.get(made.moved_from or made.path)
        self._files.pop(made.moved_from, None)
        if made.data is None:
            del self._files[made.path]
        else:
            self._files[made.path] = made.mode, made.data
        self.made[number] = made
        self.planned.append(
            PlannedEdit(
                number=number,
                path=made.path,
                before=self._content.write(before[1]) if before else None,
                after=self._content.write(made.data) if made.data is not None else None,
                mode=made.mode,
                moved_from=made.moved_from,
                kind=kind,
            )
        )
        return number


class _Driver:
    """Carries the run out as supervisor and workers would."""

    def __init__(self, runs: RunService, content: ContentStore, clock: Clock, run: RunId) -> None:
        self.run = run
        self._runs = runs
        self._content = content
        self._clock = clock
        self._coder = RecipeCoder(_TakingTurns(runs), content, [Verdicts(name) for name in GATES], clock)

    async def through(self, request: RunRequested, edits: Sequence[PlannedEdit], specs: Sequence[TaskSpec]) -> None:
        assert request.recipe is not None
        await self._runs.request(self.run, request)
        paths = {path for edit in edits for path in (edit.path, edit.moved_from) if path}
        sealed, data = seal(
            Plan(
                objective=request.objective,
                recipe=request.recipe,
                base_tree=request.base.tree,
                tasks=tuple(specs),
                edits=tuple(edits),
                allowed=tuple(sorted(paths)),
            )
        )
        await self._do(ProposePlan(1, sealed, self._content.write(data)))
        await self._do(Approve(sealed.hash, "ada"))
        for first in range(0, len(specs), 2):
            await self._pair([spec.id for spec in specs[first : first + 2]])
        state = await self._runs.load(self.run)
        await self._do(RecordPublished(f"cavalcade/{self.run}", state.head))
        await self._do(Complete())

    async def _pair(self, tasks: Sequence[TaskId]) -> None:
        """Both at once, then one by one whatever the rules say is owed, until both are merged."""
        for task in tasks:
            await self._do(StartTask(task, 1))
        await asyncio.gather(*(self._coder.work(self.run, task, 1) for task in tasks))
        state = await self._runs.load(self.run)
        while any(state.tasks[task].status != "merged" for task in tasks):
            await self._next(state, pending(state)[0])
            state = await self._runs.load(self.run)

    async def _next(self, state: RunState, effect: Effect) -> None:
        match effect:
            case DoTask(task=task, attempt=attempt, started=True):
                await self._coder.work(self.run, task, attempt)
            case DoTask(task=task, attempt=attempt):
                await self._do(StartTask(task, attempt))
            case VerifyTask(task=task, attempt=attempt):
                bounces = attempt == 1 and state.tasks[task].spec.residual
                await self._do(await judged(self._content, self._clock, state, task, "failed" if bounces else "passed"))
            case ExploreTask(task=task, attempt=attempt):
                residual = state.tasks[task].spec.residual
                await self._do(RecordExploration(task, attempt, "what was left out is needed", (), residual))
            case other:
                raise AssertionError(f"{other} is owed while tasks are under way")

    async def _do(self, command: Command) -> RunState:
        return await self._runs.execute(self.run, command)


async def judged(content: ContentStore, clock: Clock, state: RunState, name: TaskId, verdict: Verdict) -> JudgeTask:
    """What becomes of a proposal when its tests come out like that."""
    task = state.tasks[name]
    assert task.proposed_at is not None  # it has just been proposed
    merge = content.merge(task.start_tree, state.head_tree, task.tree)
    assert merge.tree is not None  # the halves don't meet
    gates: list[Gate] = [Verdicts("tests", verdict)]
    receipts = tuple(await judge(gates, Question(state.head_tree, merge.tree, ()), content, clock))
    commit: CommitId | None = None
    if verdict == "passed":
        commit = content.commit_tree(
            [state.head], merge.tree, message=f"task {name}", trailers={}, when=task.proposed_at
        )
    tree = merge.tree if commit else None
    return JudgeTask(name, task.attempt, state.head, receipts, commit, tree, "" if commit else "2 tests failed")


class _TakingTurns:
    """A record that lets the others go first, so that agents at work at once take turns by single steps."""

    def __init__(self, runs: RunService) -> None:
        self._runs = runs

    async def load(self, run: RunId) -> RunState:
        return await self._runs.load(run)

    async def execute(self, run: RunId, command: Command) -> RunState:
        await asyncio.sleep(0)
        return await self._runs.execute(run, command)

    async def history(self, run: RunId) -> Sequence[Recorded]:
        return await self._runs.history(run)
