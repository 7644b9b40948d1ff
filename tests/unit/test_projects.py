"""Where projects lie on this installation, whatever others say; and which objects events name."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from cavalcade.config.paths import DataFolder, project_id
from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import BlobId, CommitId, EventId, OriginId, ProjectId, RunId, TaskId, TreeId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import (
    ConflictFound,
    EditApplied,
    EditProposed,
    PlanApproved,
    RunRequested,
    Side,
    decode,
)
from cavalcade.protocol.named import objects_named
from cavalcade.protocol.plan import Base, Plan, PlannedEdit, RecipeCall, TestPlan
from cavalcade.supervisor.projects import Projects
from cavalcade.testing.clock import FakeClock, SeededEntropy

THEIRS = ProjectId("p" + "1" * 16)


def ids(*digits: str) -> list[str]:
    return [digit * 40 for digit in digits]


def projects_of(ledger: MemoryLedger) -> Projects:
    return Projects(ledger, FakeClock(tick_s=1), SeededEntropy(5))


async def test_a_project_is_where_it_was_last_registered(tmp_path: Path) -> None:
    projects = projects_of(MemoryLedger(entropy=SeededEntropy(1)))
    assert await projects.folder(THEIRS) is None
    for name in ("a", "b", "b"):
        await projects.register(THEIRS, tmp_path / name)
    assert await projects.folder(THEIRS) == str(tmp_path / "b")
    assert await projects.at(tmp_path / "b") == THEIRS
    assert await projects.at(tmp_path / "a") == project_id(tmp_path / "a")


async def test_registering_where_it_is_already_records_nothing(tmp_path: Path) -> None:
    ledger = MemoryLedger(entropy=SeededEntropy(1))
    for _ in range(3):
        await projects_of(ledger).register(THEIRS, tmp_path)
    assert len(await ledger.read()) == 1


async def test_where_it_lies_elsewhere_says_nothing_about_here(tmp_path: Path) -> None:
    here, there = MemoryLedger(entropy=SeededEntropy(1)), MemoryLedger(entropy=SeededEntropy(2))
    await projects_of(there).register(THEIRS, tmp_path / "there")
    await here.ingest(there.origin, await there.sealed(there.origin, limit=9))
    assert await projects_of(here).folder(THEIRS) is None
    assert await projects_of(here).at(tmp_path / "there") == project_id(tmp_path / "there")


async def test_the_folder_that_a_project_left_is_another_project(tmp_path: Path) -> None:
    projects = projects_of(MemoryLedger(entropy=SeededEntropy(1)))
    mine = await projects.at(tmp_path / "old")
    await projects.register(mine, tmp_path / "new")
    assert await projects.at(tmp_path / "new") == mine
    assert await projects.at(tmp_path / "old") not in (mine, await projects.at(tmp_path / "other"))


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "a/b", "-x", "a\0"])
def test_an_id_from_elsewhere_leads_nowhere_but_into_the_data_folder(name: str, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path, tmp_path / "cache")
    for open_one in (lambda: folder.content(ProjectId(name)), lambda: folder.lock(RunId(name))):
        with pytest.raises(LedgerDamaged, match="the record holds the id"):
            open_one()


def test_the_objects_that_an_event_names_are_found_wherever_they_stand() -> None:
    a, b, c, d, e = ids("a", "b", "c", "d", "e")
    base = Base(commit=CommitId(a), tree=TreeId(b), head=CommitId(c), branch="main")
    requested = RunRequested(objective=d, project=THEIRS, repository=e, base=base)
    assert objects_named(requested) == {a, b, c}
    assert objects_named(PlanApproved(plan_hash=a, by=b)) == set()
    proposed = EditProposed(task=TaskId("t1"), attempt=1, edit=1, path="x", after=BlobId(a))
    assert objects_named(proposed) == {a}
    applied = EditApplied(
        task=TaskId("t1"), attempt=1, edit=1, path="x", proposal=EventId(a), commit=CommitId(b), parent=CommitId(c),
        tree=TreeId(d),
    )  # fmt: skip
    assert objects_named(applied) == {b, c, d}
    side = Side(run=RunId("r"), origin=OriginId("o"), commit=CommitId(c), blobs=(BlobId(d), None))
    found = ConflictFound(
        conflict="x",
        project=THEIRS,
        paths=("p",),
        base=CommitId(a),
        base_blobs=(None, BlobId(b)),
        ours=side,
        theirs=side,
    )
    assert objects_named(found) == {a, b, c, d}


def test_a_plan_names_the_contents_before_and_after_each_edit() -> None:
    a, b, c = ids("a", "b", "c")
    edit = PlannedEdit(number=1, path="x", before=BlobId(a), after=BlobId(b))
    plan = Plan(
        objective="x", recipe=RecipeCall(name="rename", arguments={}), base_tree=TreeId(c), tasks=(), edits=(edit,),
        unresolved=(), mentions=(), problems=(), tests=TestPlan(), allowed=(),
    )  # fmt: skip
    assert objects_named(plan) == {a, b, c}


def test_no_object_that_an_event_of_any_version_names_is_overlooked() -> None:
    for file in (Path(__file__).parents[1] / "golden").glob("events-v*.jsonl"):
        for line in file.read_bytes().splitlines():
            event = msgspec.json.decode(line, type=Draft)
            named = set(re.findall(r'"([0-9a-f]{40})"', bytes(event.data).decode()))
            assert objects_named(decode(event)) == named, event.type
