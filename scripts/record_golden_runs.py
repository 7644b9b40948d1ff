"""Records whole runs as golden streams: `record_golden_runs.py FOLDER [NAME ...]`.

Each run is carried out for real (planner, coder, gates, tests in the sandbox) on a project of a few files, under a clock that ticks
by itself and a seeded source of ids. `NAME.jsonl` gets its events, one a line, `plans/BLOB.json` the canonical bytes of its plans. A test
folds them with today's rules. What is recorded stays: add runs, and replace none.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from cavalcade.cli.compose import System
from cavalcade.cli.feedback import Direction, directed
from cavalcade.config.paths import data_folder
from cavalcade.domain.run import Abort, Approve, Inject, Resume, Stop
from cavalcade.kernel.ids import ProjectId, RunId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.protocol.events import PlanProposed, Settings, decode
from cavalcade.recipes.objective import parse_objective
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.whole_runs import a_repository

TESTS = Settings(test_command=("python3", "-m", "unittest", "-q"), attempts=3)
SHOWN = "/home/ada/shop"
"""Where the project lies, as far as the record is concerned."""

SHOP = {
    "prices.py": "def total(items):\n    return sum(items)\n",
    "till.py": 'from prices import total\n\n\ndef pay(items):\n    """Calls `total`."""\n    return total(items)\n',
    "test_till.py": "import unittest\n\nfrom till import pay\n\n\n"
    "class TestTill(unittest.TestCase):\n    def test_pay(self):\n        self.assertEqual(pay([1, 2]), 3)\n",
}
UNTYPED = {
    "shop/__init__.py": "from shop.till import Till\n\n__all__ = ['Till']\n",
    "shop/till.py": "class Till:\n    def take(self, price):\n        return price\n",
    "test_till.py": "import unittest\n\nfrom shop import Till\n\n\ndef make(kind):\n    return {'till': Till}[kind]()\n\n\n"
    "class TestTill(unittest.TestCase):\n    def test_take(self):\n        self.assertEqual(make('till').take(2), 2)\n",
}
FAMILY = {
    "tills.py": "class Till:\n    def take(self, price: int) -> int:\n        return price\n\n\n"
    "class Free(Till):\n    def take(self, price: int) -> int:\n        return 0\n",
    "test_tills.py": "import unittest\n\nfrom tills import Free, Till\n\n\n"
    "class TestTills(unittest.TestCase):\n    def test_take(self):\n"
    "        self.assertEqual(Till().take(2), 2)\n        self.assertEqual(Free().take(2), 0)\n",
}
GENERATED = {
    "runtime.py": "class LoopContext:\n    index = 0\n\n\nexported = ['LoopContext']\n",
    "compiler.py": "import runtime\n\n\ndef build():\n    names = {}\n"
    "    exec('import runtime; loop = runtime.' + 'Loop' + 'Context', names)\n    return names['loop']\n",
    "test_compiler.py": "import unittest\n\nimport runtime\nfrom compiler import build\n\n\n"
    "class TestCompiler(unittest.TestCase):\n    def test_build(self):\n        self.assertIs(build(), runtime.LoopContext)\n",
}

Act = Callable[[System, RunId], Awaitable[object]]


async def approve(system: System, run: RunId) -> None:
    await system.runs.execute(run, Approve((await system.runs.load(run)).plan_hash, "ada"))
    await system.drive(run)


async def give_feedback(system: System, run: RunId) -> None:
    state = await system.runs.load(run)
    text = "mentions docs; without test_till.py"
    goal = directed(text, Direction(state.objective, state.recipe, state.settings), parse_objective)
    await system.runs.execute(run, Inject(text, "ada", goal.objective, goal.recipe, goal.settings))
    await system.drive(run)


async def abort(system: System, run: RunId) -> None:
    await system.runs.execute(run, Abort("ada", "changed my mind"))


async def stop(system: System, run: RunId) -> None:
    await system.runs.execute(run, Stop("ada", "lunch"))
    await system.drive(run)


async def resume(system: System, run: RunId) -> None:
    await system.runs.execute(run, Resume("ada"))
    await system.drive(run)


class Scene(NamedTuple):
    """`ends` is the phase that the run has to be in afterwards."""

    files: Mapping[str, str]
    objective: str
    ends: str
    acts: tuple[Act, ...] = ()
    settings: Settings = TESTS


POLICY = msgspec.structs.replace(TESTS, auto_approve=True)
SCENES = {
    "completed": Scene(SHOP, "rename prices:total to sum_prices", "completed", (approve,)),
    "completed-by-policy": Scene(SHOP, "rename module prices to costs", "completed", settings=POLICY),
    "family": Scene(FAMILY, "rename tills:Till.take to accept", "completed", (approve,)),
    "feedback": Scene(SHOP, "rename prices:total to sum_prices", "completed", (give_feedback, approve)),
    "aborted": Scene(SHOP, "rename prices:total to sum_prices", "aborted", (abort,)),
    "halted": Scene(SHOP, "rename prices:total to sum_prices", "completed", (stop, resume, approve)),
    "failed": Scene(SHOP, "rename prices:totals to sum_prices", "failed"),
    "retried": Scene(UNTYPED, "rename shop.till:Till.take to accept", "completed", (approve,)),
    "stopped": Scene(GENERATED, "rename runtime:LoopContext to LoopState", "stopped", (approve,)),
}


async def record(name: str, scene: Scene, into: Path, scratch: Path) -> None:
    repository = scratch / "shop"
    a_repository(repository, scene.files)
    clock, entropy = FakeClock(tick_s=0.01), SeededEntropy(sorted(SCENES).index(name))
    environ = {"CAVALCADE_HOME": str(scratch / "home"), "HOME": str(scratch), "PATH": os.environ["PATH"]}
    folder = data_folder(environ)
    folder.cache.mkdir(parents=True)
    system = System(folder, MemoryLedger(entropy=entropy), clock, entropy, environ)
    call = parse_objective(scene.objective).call
    run = await system.request(scene.objective, call, repository, scene.settings, include_uncommitted=True)
    await system.drive(run)
    for act in scene.acts:
        await act(system, run)
    state = await system.runs.load(run)
    if state.phase != scene.ends or state.request is None:
        raise SystemExit(f"{name} is {state.phase}, not {scene.ends}: {state.stop_reason} {state.problem}")
    lines: list[str] = []
    for recorded in await system.runs.history(run):
        text = msgspec.json.encode(recorded.event).decode()
        lines.append(text.replace(str(repository), SHOWN).replace(state.request.project, ProjectId("p1")) + "\n")
        if isinstance(payload := decode(recorded.event), PlanProposed):
            (into / "plans" / f"{payload.plan}.json").write_bytes(system.content_of(state).read(payload.plan))
    (into / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{name}: {len(lines)} events")


def main(into: Path, *names: str) -> None:
    (into / "plans").mkdir(parents=True, exist_ok=True)
    for name in names or tuple(SCENES):
        with tempfile.TemporaryDirectory() as scratch:
            asyncio.run(record(name, SCENES[name], into, Path(scratch)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
