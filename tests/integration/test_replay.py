"""A run done again from its record: the same to the bit, or the step is named where it is not.

Bug class this catches: work that depends on anything but its record, rules that were changed under a run, a replay that finds nothing
because it looks at nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from projects import Project, Said, a_project, state_of

from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.envelope import Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy

UNITTEST = ("--test-command", "python3 -m unittest -q")
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
GENERATED = {
    "runtime.py": "class LoopContext:\n    index = 0\n\n\nexported = ['LoopContext']\n",
    "compiler.py": "import runtime\n\n\ndef build():\n    names = {}\n"
    "    exec('import runtime; loop = runtime.' + 'Loop' + 'Context', names)\n    return names['loop']\n",
    "test_compiler.py": "import unittest\n\nimport runtime\nfrom compiler import build\n\n\n"
    "class TestCompiler(unittest.TestCase):\n    def test_build(self):\n        self.assertIs(build(), runtime.LoopContext)\n",
}


class Scene(NamedTuple):
    """`more` are the commands after the first, `last` standing for the run."""

    files: Mapping[str, str]
    objective: str
    ends: str
    flags: tuple[str, ...] = ("--yes", *UNITTEST)
    more: tuple[tuple[str, ...], ...] = ()


SCENES = {
    "completed": Scene(SHOP, "rename prices:total to sum_prices", "completed"),
    "module": Scene(SHOP, "rename module prices to costs", "completed", ("--no-tests",), (("approve", "last"),)),
    "feedback": Scene(
        SHOP,
        "rename prices:total to sum_prices",
        "completed",
        ("--no-tests",),
        (("inject", "last", "mentions docs; without test_till.py"), ("approve", "last")),
    ),
    "aborted": Scene(SHOP, "rename prices:total to all", "aborted", ("--no-tests",), (("abort", "last"),)),
    "failed": Scene(SHOP, "rename prices:totals to sum_prices", "failed"),
    "retried": Scene(UNTYPED, "rename shop.till:Till.take to accept", "completed"),
    "stopped": Scene(GENERATED, "rename runtime:LoopContext to LoopState", "stopped"),
}


def played(tmp: Path, scene: Scene) -> Project:
    project = a_project(tmp, scene.files)
    project("run", scene.objective, "--repo", str(project.folder), *scene.flags)
    for words in scene.more:
        project(*words)
    shown = project("show", "last", "--json")
    assert shown.data["phase"] == scene.ends, shown
    return project


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return played(tmp_path_factory.mktemp("completed"), SCENES["completed"])


def replayed(project: Project, *more: str, **environ: str) -> Said:
    return project("replay", "last", "--json", *more, **environ)


def events_of(home: Path) -> list[Recorded]:
    """Those of runs."""

    async def read() -> list[Recorded]:
        ledger = await SqliteLedger.open(home / "ledger.sqlite3", clock=FakeClock(), entropy=SeededEntropy())
        try:
            return [recorded for recorded in await ledger.read() if recorded.stream.startswith("run/")]
        finally:
            await ledger.aclose()

    return asyncio.run(read())


Alter = Callable[[str, dict[str, Any]], bool]
"""Changes the data of an event of that type in place; whether it did."""


def copied(project: Project, into: Path, *, upto: int | None = None, alter: Alter | None = None) -> tuple[Project, int]:
    """The project with a data folder of its own, whose ledger is a whole new chain of the same events: the first `upto`, the first that
    `alter` wants to alter altered. The number of that one comes with it.
    """
    shutil.copytree(project.home, into, ignore=shutil.ignore_patterns("ledger*", "cache", "locks"))
    altered = 0

    async def write() -> None:
        nonlocal altered
        ledger = await SqliteLedger.open(into / "ledger.sqlite3", clock=FakeClock(), entropy=SeededEntropy(5))
        for recorded in events_before[:upto]:
            event = recorded.event
            data = msgspec.json.decode(event.data)
            if alter is not None and not altered and alter(event.type, data):
                altered = recorded.version
                event = msgspec.structs.replace(event, data=msgspec.Raw(msgspec.json.encode(data)))
            await ledger.append(recorded.stream, [event])
        await ledger.aclose()

    events_before = events_of(project.home)
    asyncio.run(write())
    return Project(project.folder, into, project.environ), altered


@pytest.mark.parametrize("name", SCENES)
def test_a_run_that_ended_comes_out_the_same_again_and_nothing_is_touched(name: str, tmp_path: Path) -> None:
    project = played(tmp_path, SCENES[name])
    repository, store, events = state_of(project.folder), state_of(project.store), events_of(project.home)
    again = replayed(project)
    assert again.status == 0, again
    assert again.data["divergences"] == []
    assert again.data["events"] == len(events)
    edits = [event for event in events if event.event.type == "cavalcade.edit.applied.v1"]
    assert again.data["edits"] == len(edits)
    assert state_of(project.folder) == repository
    assert state_of(project.store) == store
    assert events_of(project.home) == events
    assert list(project.home.glob("cache/workspaces/*")) == []


def test_a_replay_needs_no_sandbox_and_none_of_the_projects_programs(completed: Project, tmp_path: Path) -> None:
    again = replayed(completed, PATH=str(tmp_path))
    assert again.status == 0, again
    assert again.data["answered"] == 1


def test_with_tests_they_are_run_again_and_compared(completed: Project) -> None:
    again = replayed(completed, "--tests")
    assert again.status == 0, again
    assert (again.data["answered"], again.data["divergences"]) == (0, [])


_WITH_THE_NEXT = ("cavalcade.gate.judged.", "cavalcade.decision.made.", "cavalcade.plan.proposed.")


def test_a_run_that_stands_anywhere_is_replayed_up_to_there(completed: Project, tmp_path: Path) -> None:
    """Wherever a kill may leave it: events of one command are recorded together."""
    events = events_of(completed.home)
    for recorded in events:
        if recorded.event.type.startswith(_WITH_THE_NEXT):
            continue
        project, _ = copied(completed, tmp_path / "home", upto=recorded.version)
        again = replayed(project)
        shutil.rmtree(project.home)
        assert again.status == 0, again
        assert again.data["events"] == recorded.version


def test_where_events_of_one_command_are_cut_the_place_is_named(completed: Project, tmp_path: Path) -> None:
    project, _ = copied(completed, tmp_path / "home", upto=7)
    again = replayed(project)
    assert again.status == 11, again
    assert [one["version"] for one in again.data["divergences"]] == [6]


def test_a_run_aborted_in_the_middle_of_its_work_comes_out_the_same(completed: Project, tmp_path: Path) -> None:
    project, _ = copied(completed, tmp_path / "home", upto=5)
    assert project("abort", "last", "--reason", "enough").status == 0
    again = replayed(project)
    assert (again.status, again.data["events"]) == (0, 6), again


def test_a_fork_comes_out_the_same_from_where_it_was_forked(completed: Project, tmp_path: Path) -> None:
    """In the middle of the verdicts on an edit, and planned anew from an edit's tree; a fork of a fork too."""
    project, _ = copied(completed, tmp_path / "home")
    assert project("fork", "last", "--at", "6").status == 0
    assert replayed(project).data["parent"]
    assert replayed(project).status == 0, replayed(project)
    forked = project("fork", "last", "--at", "12", "--with", "rename till:pay to settle; no tests", "--yes")
    assert forked.status == 0, forked
    again = replayed(project)
    assert again.status == 0, again
    assert (again.data["shared"], again.data["plans"], again.data["divergences"]) == (12, 1, [])


def test_a_fork_at_an_event_that_its_parent_shares_itself_comes_out_the_same(
    completed: Project, tmp_path: Path
) -> None:
    """Of the grandparent there is nothing then but what the fork shares with both."""
    project, _ = copied(completed, tmp_path / "home")
    for at in ("6", "3", "last"):
        assert project("fork", "last", "--at", at, "--no-wait").status == 0
    again = replayed(project)
    assert (again.status, again.data["shared"]) == (0, 4), again


def test_of_a_recorded_program_every_state_is_looked_at(tmp_path: Path) -> None:
    project = a_project(tmp_path, SHOP)
    script = "echo 'PRICE = 1' > price.py; rm README.md prices.py; exit 0"
    recorded = project("record", "--repo", str(project.folder), "--", "sh", "-c", script)
    assert recorded.status == 0, recorded
    again = replayed(project)
    assert again.status == 0, again
    assert again.data["trees"] > 0
    altered, number = copied(project, tmp_path / "altered", alter=field("files.changed.v1", "tree", to=OTHER))
    again = replayed(altered)
    assert again.status == 11, again
    assert number in {one["version"] for one in again.data["divergences"]}


def test_a_recording_is_gone_on_with_by_a_fork_that_says_what_to_do(tmp_path: Path) -> None:
    project = a_project(tmp_path, SHOP)
    script = "echo 'def tax(): return 1' > tax.py"
    assert project("record", "--repo", str(project.folder), "--", "sh", "-c", script).status == 0
    refused = project("fork", "last", "--at", "last")
    assert (refused.status, "--with" in refused.err) == (4, True), refused
    forked = project("fork", "last", "--at", "last", "--with", "rename tax:tax to levy; no tests", "--yes", "--json")
    assert forked.status == 0, forked
    assert "def levy" in project.git("show", f"{forked.data['branch']}:tax.py")
    assert replayed(project).status == 0, replayed(project)


def field(wanted: str, *path: str, to: object, only: Mapping[str, object] | None = None) -> Alter:
    """Sets one field of the first event of a type whose data has the values `only`."""

    def alter(kind: str, data: dict[str, Any]) -> bool:
        if kind != f"cavalcade.{wanted}" or any(data.get(key) != value for key, value in (only or {}).items()):
            return False
        inner = data
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = to
        return True

    return alter


def of_gate(name: str, *path: str, to: object) -> Alter:
    def alter(kind: str, data: dict[str, Any]) -> bool:
        if kind != "cavalcade.gate.judged.v1" or data["receipt"]["gate"] != name:
            return False
        data["receipt"][path[-1]] = to
        return True

    return alter


OTHER = "0123456789012345678901234567890123456789"
MUTATIONS: dict[str, tuple[Alter, str]] = {
    "base tree": (field("run.requested.v1", "base", "tree", to=OTHER), "effect"),
    "objective": (field("run.requested.v1", "recipe", "arguments", "to", to="summed"), "effect"),
    "plan hash": (field("plan.proposed.v1", "plan_hash", to="0" * 64), "decision"),
    "plan counts": (field("plan.proposed.v1", "counts", "changes", to=99), "decision"),
    "edit's path": (field("edit.proposed.v1", "path", to="other.py"), "decision"),
    "edit's bytes": (field("edit.proposed.v1", "after", to=OTHER), "decision"),
    "edit's tree": (field("edit.applied.v1", "tree", to=OTHER), "effect"),
    "edit's commit": (field("edit.applied.v1", "commit", to=OTHER), "effect"),
    "edit's lines": (field("edit.applied.v1", "added", to=7), "effect"),
    "verdict": (of_gate("syntax", "verdict", to="failed"), "decision"),
    "digest": (of_gate("lint", "result_digest", to="0" * 64), "effect"),
    "tool": (of_gate("lint", "version", to="0"), "effect"),
    "judged tree": (of_gate("references", "after", to=OTHER), "effect"),
    "proposal": (field("task.proposed.v1", "tree", to=OTHER), "decision"),
    "merged tree": (field("task.merged.v1", "tree", to=OTHER), "effect"),
    "result": (field("result.published.v1", "branch", to="cavalcade/other"), "effect"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_whatever_is_altered_on_record_is_named(name: str, completed: Project, tmp_path: Path) -> None:
    alter, layer = MUTATIONS[name]
    project, altered = copied(completed, tmp_path / "home", alter=alter)
    assert altered
    again = replayed(project)
    assert again.status == 11, again
    first = again.data["divergences"][0]
    where = ("plan.proposed", 2) if name == "objective" else (first["type"], altered)  # there it has its consequences
    assert (first["type"], first["version"]) == where, again
    assert layer in {one["layer"] for one in again.data["divergences"]}


Path_ = tuple[str | int, ...]
SAYS_NOTHING = {
    *("repository", "project", "head", "branch", "auto_approve", "test_timeout_s", "python", "by", "reason"),
    *("duration_ms", "summary"),
}
"""What people said and where things lay: no work comes out of it, so no replay can contradict it. Durations are measured anew."""


def leaves(value: object, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[object]", value))
    elif value is not None:
        yield path, value
    for name, inner in items:
        yield from leaves(inner, (*path, name))


def another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case "passed":
            return "failed"
        case _:
            return value[:-1] + ("1" if value.endswith("0") else "0")


def placed(version: int, path: Path_) -> Alter:
    """Another value in one place of one event."""
    seen = 0

    def alter(_kind: str, data: dict[str, Any]) -> bool:
        nonlocal seen
        seen += 1
        if seen == version:
            inner: Any = data
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = another(inner[path[-1]])
        return seen == version

    return alter


@pytest.mark.parametrize("seed", range(5))
def test_any_value_on_record_that_is_altered_is_noticed(seed: int, completed: Project, tmp_path: Path) -> None:
    places = [
        (recorded.version, path)
        for recorded in events_of(completed.home)
        for path, _ in leaves(msgspec.json.decode(recorded.event.data))
        if SAYS_NOTHING.isdisjoint(path)
    ]
    for version, path in Random(seed).sample(places, 6):
        project, _ = copied(completed, tmp_path / "home", alter=placed(version, path))
        again = replayed(project)
        shutil.rmtree(project.home)
        what = f"seed {seed}: #{version} {path}"
        if again.status == 6:  # the event can't be read any more, or is about a task that nobody planned
            assert again.data["code"] == "ledger-damaged", what
            continue
        assert again.status == 11, what
        assert min(one["version"] for one in again.data["divergences"]) >= version, what


def test_an_altered_decision_is_named(tmp_path: Path) -> None:
    project = played(tmp_path, FAMILY)
    project, altered = copied(project, tmp_path / "altered", alter=decision)
    again = replayed(project)
    assert again.status == 11, again
    (first, *_) = again.data["divergences"]
    assert (first["version"], first["type"], first["layer"]) == (altered, "decision.made", "effect")
    assert "decision.rationale because" in first["recorded"]


def decision(kind: str, data: dict[str, Any]) -> bool:
    if not kind.startswith("cavalcade.decision.made"):
        return False
    data["decision"]["rationale"] = "because"
    return True


FAMILY = Scene(
    {
        "tills.py": "class Till:\n    def take(self, price: int) -> int:\n        return price\n\n\n"
        "class Free(Till):\n    def take(self, price: int) -> int:\n        return 0\n",
    },
    "rename tills:Till.take to accept",
    "completed",
    ("--yes", "--no-tests"),
)
