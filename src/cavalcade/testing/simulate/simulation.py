"""One seed: set up, let the faults rage, let everything recover, and judge."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from cavalcade.domain.run import UNSUPERVISED, RunState, fold, pending
from cavalcade.kernel.ids import CommitId, ProjectId, RunId, TreeId, run_stream
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import Payload, RunHalted, RunRequested, decode
from cavalcade.supervisor.runs import RunService, fact_of
from cavalcade.testing.simulate.actors import Parts, decides, drives, works
from cavalcade.testing.simulate.chaos import Chaos
from cavalcade.testing.simulate.invariants import Event, Seen, check_event, check_published
from cavalcade.testing.simulate.loop import Stuck
from cavalcade.testing.simulate.network import ContentDisk, Store
from cavalcade.testing.simulate.projects import CALL, OBJECTIVES, SHAPES, Shape
from cavalcade.testing.simulate.world import Line, Process, World

RECOVERY_S = 240.0
"""Virtual time after the last fault within which every run has to end."""
_LINGER_S = 8.0
"""How long is looked on after that: who still acts now acts after the end."""
PROJECT = ProjectId("p0000000000000000")

PartsOf = Callable[[World, Seen, Store, ContentDisk, Shape], Parts]
StoreOf = Callable[[World, Callable[[Recorded, Process], None]], Store]


class Ending(NamedTuple):
    """How a run ended: `tree` is that of its head."""

    phase: str
    objective: str
    tree: TreeId


class Verdict(NamedTuple):
    """`violations` is empty for a seed that is clean. `covered` counts what happened of each kind."""

    seed: int | str
    violations: tuple[str, ...]
    lines: tuple[Line, ...]
    digest: str
    covered: Counter[str]
    endings: tuple[Ending, ...]
    events: int
    virtual_s: float


class Simulation:
    """`parts` and `store` may be unsound ones. `peaceful`: without faults, and the person only says yes."""

    def __init__(
        self, seed: int | str, shape: Shape, *, parts: PartsOf = Parts, store: StoreOf = Store, peaceful: bool = False
    ) -> None:
        self.seed = seed
        self.world = World(seed)
        self.shape = shape
        self.disk = ContentDisk(self.world, self._published)
        self.seen = Seen(self.disk.store)
        self.store = store(self.world, self._heard)
        self.parts = parts(self.world, self.seen, self.store, self.disk, shape)
        self.runs: list[RunId] = []
        self._peaceful = peaceful
        self._folded: dict[RunId, tuple[int, RunState]] = {}

    def run(self, objectives: list[str]) -> Verdict:
        was_enabled = gc.isenabled()
        gc.disable()  # a collection in the middle would close generators at its own time
        try:
            self.world.loop.run_until_complete(self._run(objectives))
        except Stuck as stuck:
            self.world.violated(f"the system is stuck: {stuck}")
        finally:
            self.world.close()
            if was_enabled:
                gc.enable()
        if not self._peaceful and not self.world.violations:
            for text in [text for run in self.runs for text in self._different(self._state(run))]:
                self.world.violated(text)
        endings = tuple(self._ending(self._state(run)) for run in self.runs)
        return Verdict(
            self.seed,
            tuple(self.world.violations),
            tuple(self.world.lines),
            self.world.digest(),
            self.world.covered,
            endings,
            self.seen.position,
            self.world.loop.now_s,
        )

    async def _run(self, objectives: list[str]) -> None:
        for objective in objectives:
            await self._request(objective)
        for number, run in enumerate(self.runs, start=1):
            self.world.start(f"supervisor-{number}", drives(self.parts, run))
            self.world.start(f"person-{number}", decides(self.parts, run, meddles=not self._peaceful))
            if not self._peaceful and self.world.chance.random() < 0.3:
                self.world.start(f"person-{number}b", decides(self.parts, run, meddles=True))
        for number in range(1, self.world.chance.choice((2, 3)) + 1):
            self.world.start(f"worker-{number}", works(self.parts))
        story = asyncio.ensure_future(self._story())
        await asyncio.wait({story, self.world.ended}, return_when=asyncio.FIRST_COMPLETED)
        if story.done():
            story.result()
        story.cancel()

    async def _request(self, objective: str) -> None:
        """Before anything can go wrong."""
        runs = RunService(self.store.ledger, Process(self.world, "request"), self.world.entropy)
        run = runs.new_id()
        self.runs.append(run)
        base = self.shape.base(self.disk.store, Process(self.world, "request").now())
        request = RunRequested(objective=objective, project=PROJECT, repository="/repository", base=base, recipe=CALL)
        await runs.request(run, request)
        self.store.catch_up(await self.store.ledger.read(), Process(self.world, "request"))

    async def _story(self) -> None:
        if self._peaceful:
            self.world.calm = True
        else:
            await Chaos(self.parts, self.runs, lambda run: self._state(run).phase).rage()
        end_s = self.world.loop.now_s + RECOVERY_S
        while not all(self._state(run).closed for run in self.runs):
            if self.world.loop.now_s > end_s:
                for text in self._unfinished():
                    self.world.violated(text)
                return
            await asyncio.sleep(1.0)
        if not self._peaceful:
            await asyncio.sleep(_LINGER_S)
        for text in await self._wrong_in_the_end():
            self.world.violated(text)

    def _unfinished(self) -> Iterator[str]:
        for run in self.runs:
            state = self._state(run)
            if not state.closed:
                yield f"every run ends: {run} is {state.phase} and waits for {pending(state)}"

    async def _wrong_in_the_end(self) -> list[str]:
        found: list[str] = []
        verification = await self.store.ledger.verify()
        if verification.bad_position is not None:
            found.append(f"the chain holds together: position {verification.bad_position}: {verification.problem}")
        found.extend(await self.store.lost())
        return found

    def _different(self, state: RunState) -> Iterator[str]:
        """A run that nobody ended before its time comes to the same result as in peace."""
        if state.phase == "aborted":
            return
        ending, peace = self._ending(state), undisturbed(self.shape.number, state.objective)
        if ending.phase != peace.phase:
            yield f"the result is that of an undisturbed run: {ending.phase} instead of {peace.phase}"
        elif ending.phase == "completed" and ending.tree != peace.tree:
            yield f"the result is that of an undisturbed run: tree {ending.tree[:8]} instead of {peace.tree[:8]}"

    @staticmethod
    def _ending(state: RunState) -> Ending:
        return Ending(state.phase, state.objective, state.head_tree)

    def _state(self, run: RunId) -> RunState:
        """As the durable record has it."""
        known, state = self._folded.get(run, (0, RunState()))
        news = self.store.stream(run_stream(run), known)
        if news:
            state = fold(map(fact_of, news), state)
            self._folded[run] = news[-1].position, state
        return state

    def _heard(self, recorded: Recorded, process: Process) -> None:
        """An event has become durable."""
        payload = decode(recorded.event)
        self.world.say(process.name, f"records #{recorded.position} {_told(payload)}")
        for text in check_event(Event(self.seen, recorded, payload, process.job)):
            self.world.violated(text)
        self.seen.learn(recorded, payload)
        self.world.covered[f"recorded {payload.TYPE}"] += 1
        if isinstance(payload, RunHalted) and payload.by == UNSUPERVISED and process.kind == "worker":
            self.world.covered["worker left alone"] += 1

    def _published(self, repository: Path, branch: str, commit: CommitId) -> None:  # noqa: ARG002
        run = RunId(branch.partition("/")[2])
        self.world.say("repository", f"gets {branch} at {commit[:8]}")
        if wrong := check_published(self.seen, run, commit):
            self.world.violated(f"published after the record: {wrong}")


def _told(payload: Payload) -> str:
    kind = payload.TYPE.removeprefix("cavalcade.").removesuffix(".v1")
    parts = [str(getattr(payload, name)) for name in ("task", "attempt", "edit", "objective") if hasattr(payload, name)]
    return " ".join([kind, *parts])


def simulate(seed: int, *, parts: PartsOf = Parts, store: StoreOf = Store) -> Verdict:
    """The history that a seed leads to, and what was wrong with it."""
    shape = Shape(seed % SHAPES)
    simulation = Simulation(seed, shape, parts=parts, store=store)
    chance = simulation.world.chance
    count = 2 if chance.random() < 0.15 else 1
    return simulation.run([shape.objective(chance.randrange(OBJECTIVES)) for _ in range(count)])


@cache
def undisturbed(shape: int, objective: str) -> Ending:
    """How a run ends when nothing goes wrong and the person says yes. Raises RuntimeError when it doesn't end as it should."""
    verdict = Simulation(f"peace {shape} {objective}", Shape(shape), peaceful=True).run([objective])
    if verdict.violations:
        raise RuntimeError(f"even in peace: {verdict.violations}")
    return verdict.endings[0]
