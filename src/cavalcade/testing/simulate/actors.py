"""What the processes of a simulation do: one drives a run, some work, people decide. All with the product's own parts."""

from __future__ import annotations

from pathlib import Path

from cavalcade.bus.port import Bus
from cavalcade.domain.run import Abort, Approve, Inject, ProposePlan, Resume, RunState, Stop
from cavalcade.gates.dangerous import DangerousGate
from cavalcade.gates.fence import FenceGate
from cavalcade.gates.shrinkage import ShrinkageGate
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.kernel.errors import CavalcadeError, Refused
from cavalcade.kernel.ids import RunId, run_stream
from cavalcade.ledger.port import Ledger
from cavalcade.sandbox.workspaces import FreshWorkspaces
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.supervise import Supervisor
from cavalcade.testing.simulate.broker import Broker, BusEnd
from cavalcade.testing.simulate.invariants import Seen
from cavalcade.testing.simulate.network import ContentDisk, LedgerEnd, Network, Store
from cavalcade.testing.simulate.projects import OBJECTIVES, DrawnTests, Shape
from cavalcade.testing.simulate.world import Main, Process, World
from cavalcade.worker.worker import Worker
from cavalcade.worker.workshop import Workshop

LEASE_S = 4.0


class Parts:
    """What processes are made of. A bug put in on purpose replaces one of the methods."""

    def __init__(self, world: World, seen: Seen, store: Store, disk: ContentDisk, shape: Shape) -> None:
        self.world = world
        self.seen = seen
        self.store = store
        self.disk = disk
        self.shape = shape
        self.network = Network(world)
        self.broker = Broker(world, self.network)
        self.aborted: set[RunId] = set()
        self.injected: dict[RunId, int] = {}

    def ledger(self, process: Process) -> Ledger:
        return LedgerEnd(process, self.network, self.store)

    def runs(self, process: Process) -> RunService:
        return RunService(self.ledger(process), process, self.world.entropy)

    def supervisor(self, process: Process, runs: RunService, bus: Bus) -> Supervisor:
        content = self.disk.end(process)
        return Supervisor(runs, bus, lambda _state: content, lease_s=LEASE_S, pause=process.sleep)

    def workshop(self, process: Process) -> Workshop:
        content = self.disk.end(process)
        return Workshop(
            record=self.runs(process),
            content_of=lambda _state: content,
            clock=process,
            tests=DrawnTests(process, process.sleep, self.world.chance),
            workspaces=FreshWorkspaces(Path("/nowhere")),
            index_cache=None,
            edit_gates=lambda: [FenceGate(), ShrinkageGate(), SyntaxGate(), DangerousGate()],
            say=process.say,
            make_plan=lambda shop, state, plan_round: self._plan(process, shop, state, plan_round),
        )

    async def _plan(self, process: Process, shop: Workshop, state: RunState, plan_round: int) -> ProposePlan:
        """Drawn: to make one from a recipe takes other programs."""
        await process.sleep(self.world.chance.uniform(0.01, 0.3))
        proposal = self.shape.propose(shop.content_of(state), state, plan_round)
        self.seen.plans[proposal.sealed.hash] = proposal.sealed
        return proposal

    def note_plan(self, run: RunId, plan_hash: str) -> None:
        """A person says yes to this plan."""
        self.seen.allowed.add((run, plan_hash))


def drives(parts: Parts, run: RunId) -> Main:
    async def main(process: Process) -> None:
        runs = parts.runs(process)
        while not (state := await parts.supervisor(process, runs, BusEnd(process, parts.broker)).drive(run)).closed:
            await _news(parts.ledger(process), run, state)

    return main


async def _news(ledger: Ledger, run: RunId, known: RunState) -> None:
    """Waits until something has happened to the run since `known`."""
    while True:
        history = await ledger.read(stream=run_stream(run))
        if len(history) > known.version:
            return
        position = history[-1].position
        async for _recorded in ledger.follow(stream=run_stream(run), after=position):
            return


def works(parts: Parts) -> Main:
    async def main(process: Process) -> None:
        await Worker(BusEnd(process, parts.broker), parts.workshop(process)).serve()

    return main


class Person:
    """Looks at a run now and then, and decides. `meddles`: says other things than yes, and says yes to what was seen some time ago."""

    def __init__(self, parts: Parts, process: Process, run: RunId, *, meddles: bool) -> None:
        self._parts = parts
        self._process = process
        self._run = run
        self._meddles = meddles
        self._chance = parts.world.chance
        self._runs = parts.runs(process)

    async def decide(self) -> None:
        """Until the run is closed."""
        while True:
            await self._process.sleep(self._chance.uniform(0.1, 1.5))
            try:
                state = await self._runs.load(self._run)
                if state.closed:
                    return
                await self._act(state)
            except Refused as refused:
                self._process.say(f"is refused: {refused.what}")
            except CavalcadeError as error:
                if not self._parts.world.is_fault(error):
                    raise
                self._process.say(f"can't: {error.what}")

    async def _act(self, state: RunState) -> None:
        drawn = 1.0 if self._parts.world.calm or not self._meddles else self._chance.random()
        if state.phase == "halted":
            self._process.say("resumes")
            self._parts.world.covered["resumption"] += 1
            await self._runs.execute(self._run, Resume("ada"))
        elif drawn < 0.04:
            self._process.say("aborts")
            self._parts.aborted.add(self._run)
            self._parts.world.covered[f"abort while {state.phase}"] += 1
            await self._runs.execute(self._run, Abort("ada", "changed my mind"))
        elif drawn < 0.08:
            self._process.say("stops")
            self._parts.world.covered[f"stop while {state.phase}"] += 1
            await self._runs.execute(self._run, Stop("ada"))
        elif drawn < 0.3 and state.phase in ("planning", "awaiting_human"):
            await self._inject(state)
        elif state.phase == "awaiting_human":
            await self._process.sleep(self._chance.uniform(0.0, 1.0))  # reads the plan
            self._process.say(f"approves {state.plan_hash[:8]}")
            self._parts.note_plan(self._run, state.plan_hash)
            self._parts.world.covered["approval"] += 1
            await self._runs.execute(self._run, Approve(state.plan_hash, "ada"))

    async def _inject(self, state: RunState) -> None:
        times = self._parts.injected.get(self._run, 0)
        if times >= 3:
            return
        self._parts.injected[self._run] = times + 1
        objective = self._parts.shape.objective(self._chance.randrange(OBJECTIVES))
        self._process.say(f"wants {objective} instead")
        self._parts.world.covered[f"feedback while {state.phase}"] += 1
        await self._runs.execute(self._run, Inject("do that", "ada", objective, state.recipe, state.settings))


def decides(parts: Parts, run: RunId, *, meddles: bool) -> Main:
    async def main(process: Process) -> None:
        await Person(parts, process, run, meddles=meddles).decide()

    return main
