"""Two installations work on one project apart, then each learns of the other's runs.

Bug class this catches: work of one side lost or overwritten, files garbled by a merge, two ledgers that disagree about what became of
the same pair, conflicts that nobody hears of.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from projects import git

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import ContentStore
from cavalcade.domain.divergence import ProjectState, branch_of
from cavalcade.gates.references import ReferencesGate
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.kernel.errors import ContentError, NotRecorded, Refused, UsageError
from cavalcade.kernel.ids import CommitId, RunId, project_stream
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.events import ConflictFound, DivergenceMerged
from cavalcade.supervisor.project_stream import ProjectStream
from cavalcade.supervisor.reconcile import Publisher, Reconciler, conflict_named, write_sides
from cavalcade.supervisor.runs import RunService
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.crashing import CrashingContent, CrashingLedger, Fuse
from cavalcade.testing.whole_runs import WholeRuns, a_repository

SHOP = "def total(items):\n    return sum(items)\n\n\nTAX = 1\n\n\ndef label(item):\n    return str(item)\n"
FILES = {"shop.py": SHOP, "till.py": "from shop import total\n\n\ndef pay(items):\n    return total(items)\n"}


class Killed(BaseException):
    """Stands for the end of the process: nothing may catch it."""


def end() -> None:
    raise Killed


class Installation(NamedTuple):
    """`branches` are those that were made in the user's repository."""

    work: WholeRuns
    reconciler: Reconciler
    ledger: MemoryLedger
    branches: dict[str, CommitId]

    def killed_at(self, limit: int) -> tuple[Reconciler, Fuse]:
        """The same, ended at the `limit`-th crossing of a write: before and after each to ledger, content and repository."""
        fuse = Fuse(limit, end=end)
        ledger, content = CrashingLedger(self.ledger, fuse), CrashingContent(self.work.content, fuse)

        def publish(branch: str, commit: CommitId) -> None:
            fuse()
            self.branches[branch] = commit
            fuse()

        return self._reconciler(ledger, content, publish), fuse

    def afresh(self) -> Reconciler:
        return self._reconciler(self.ledger, self.work.content, self.branches.__setitem__)

    def _reconciler(self, ledger: Ledger, content: ContentStore, publish: Publisher) -> Reconciler:
        clock, entropy = self.work.clock, SeededEntropy(9)
        runs, stream = RunService(ledger, clock, entropy), ProjectStream(ledger, clock, entropy)
        gates = (SyntaxGate(), ReferencesGate())
        return Reconciler(self.work.project, ledger, runs, stream, content, gates, clock, publish)

    async def learn_from(self, other: Installation) -> None:
        for origin in await other.ledger.heads():
            if origin != self.ledger.origin:
                await self.ledger.ingest(origin, await other.ledger.sealed(origin, limit=1000))


def an_installation(folder: Path, name: str, seed: int) -> Installation:
    """Both have the same history of the project; the objects of both are in one store, as after an exchange."""
    clock, entropy = FakeClock(tick_s=1.0), SeededEntropy(seed)
    ledger = MemoryLedger(entropy=entropy)
    a_repository(folder / name, FILES)
    runs, content = RunService(ledger, clock, entropy), GitContentStore(folder / "content.git")
    work = WholeRuns(ledger, runs, content, clock, folder / name)
    branches: dict[str, CommitId] = {}
    reconciler = Reconciler(
        work.project,
        ledger,
        runs,
        ProjectStream(ledger, clock, entropy),
        content,
        (SyntaxGate(), ReferencesGate()),
        clock,
        branches.__setitem__,
    )
    return Installation(work, reconciler, ledger, branches)


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    return an_installation(tmp_path, "here", 1)


@pytest.fixture
def there(tmp_path: Path) -> Installation:
    return an_installation(tmp_path, "there", 2)


async def apart(
    here: Installation, there: Installation, ours: Mapping[str, str], theirs: Mapping[str, str]
) -> tuple[RunId, RunId]:
    """One run on each side, then both know of both."""
    mine, other = await here.work.completed(ours), await there.work.completed(theirs)
    await here.learn_from(there)
    await there.learn_from(here)
    return mine, other


def text_of(here: Installation, tree: str, path: str) -> str:
    content = here.work.content
    return content.read(content.entries(tree)[path].blob).decode()  # pyright: ignore[reportArgumentType]


RENAMED = SHOP.replace("total", "sum_prices")
TAXED = SHOP.replace("TAX = 1", "TAX = 2")
TAXED_MORE = SHOP.replace("TAX = 1", "TAX = 3")


async def test_changes_to_different_lines_of_a_file_go_together(here: Installation, there: Installation) -> None:
    mine, other = await apart(here, there, {"shop.py": TAXED}, {"shop.py": SHOP.replace("str(", "repr(")})
    (told,) = await here.reconciler.reconcile()
    assert isinstance(told, DivergenceMerged)
    merged = text_of(here, told.tree, "shop.py")
    assert "TAX = 2" in merged
    assert "repr(" in merged
    assert here.branches == {told.branch: told.commit}
    assert {mine, other} == {told.ours, told.theirs}
    parents = {(await here.work.runs.load(run)).head for run in (mine, other)}
    assert set(here.work.content.info(told.commit).parents) == parents


async def test_both_sides_come_to_the_same_commit(here: Installation, there: Installation) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": SHOP.replace("str(", "repr(")})
    (ours,) = await here.reconciler.reconcile()
    (theirs,) = await there.reconciler.reconcile()
    assert ours == theirs
    assert here.branches == there.branches


async def test_doing_it_again_does_nothing(here: Installation, there: Installation) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    assert len(await here.reconciler.reconcile()) == 1
    assert await here.reconciler.reconcile() == []
    await there.reconciler.reconcile()
    await here.learn_from(there)
    assert await here.reconciler.reconcile() == []


async def test_results_that_touch_different_files_are_left_alone(here: Installation, there: Installation) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"till.py": FILES["till.py"] + "\n\nOPEN = True\n"})
    assert await here.reconciler.reconcile() == []


async def test_own_results_are_not_brought_together_unasked(here: Installation) -> None:
    await here.work.completed({"shop.py": TAXED})
    await here.work.completed({"shop.py": TAXED_MORE})
    assert await here.reconciler.reconcile() == []


async def test_changes_to_the_same_line_are_a_conflict_with_both_sides(here: Installation, there: Installation) -> None:
    mine, other = await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    (found,) = await here.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    assert found.paths == ("shop.py",)
    read = here.work.content.read
    sides = {found.ours.run: found.ours, found.theirs.run: found.theirs}
    assert read(sides[mine].blobs[0] or pytest.fail("gone")).decode() == TAXED
    assert read(sides[other].blobs[0] or pytest.fail("gone")).decode() == TAXED_MORE
    assert read(found.base_blobs[0] or pytest.fail("gone")).decode() == SHOP
    assert here.branches == {}
    assert (await here.reconciler.state()).open_conflicts() == (found,)


async def test_texts_that_go_together_and_would_not_work_together_are_a_conflict(
    here: Installation, there: Installation
) -> None:
    """One renames a function and its caller, the other adds a caller elsewhere in a file that both touch."""
    ours = {"shop.py": RENAMED, "till.py": FILES["till.py"].replace("total", "sum_prices")}
    theirs = {
        "shop.py": SHOP + "\n\ndef twice(items):\n    return 2 * len(items)\n",
        "more.py": "from shop import total\n\nALL = total\n",
    }
    await apart(here, there, ours, theirs)
    (found,) = await here.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    assert "references" in found.reason
    assert found.paths == ("more.py",)
    assert here.branches == {}


@pytest.mark.parametrize(("how", "expected"), [("ours", 0), ("theirs", 1)])
async def test_taking_a_side_settles_it_and_keeps_the_rest_of_both(
    here: Installation, there: Installation, how: str, expected: int
) -> None:
    texts = {"a": TAXED.replace("str(", "repr("), "b": TAXED_MORE}
    await apart(here, there, {"shop.py": texts["a"]}, {"shop.py": texts["b"], "new.py": "NEW = 1\n"})
    (found,) = await here.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    resolved = await here.reconciler.resolve(found.conflict, how, "ada")
    side = (found.ours, found.theirs)[expected]
    assert text_of(here, resolved.tree, "shop.py").encode() == here.work.content.read(
        side.blobs[0] or pytest.fail("gone")
    )
    assert text_of(here, resolved.tree, "new.py") == "NEW = 1\n"
    assert here.branches == {branch_of(found.conflict): resolved.commit}
    assert (await here.reconciler.state()).open_conflicts() == ()
    assert await here.reconciler.reconcile() == []


async def test_an_edited_resolution_is_taken_as_it_is(here: Installation, there: Installation) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    (found,) = await here.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    both = SHOP.replace("TAX = 1", "TAX = 5")
    resolved = await here.reconciler.resolve(found.conflict, "edited", "ada", {"shop.py": both.encode()})
    assert text_of(here, resolved.tree, "shop.py") == both
    assert (resolved.by, resolved.how) == ("ada", "edited")


async def test_an_edited_resolution_that_is_garbled_is_refused_and_nothing_is_recorded(
    here: Installation, there: Installation
) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    (found,) = await here.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    with pytest.raises(Refused, match="syntax"):
        await here.reconciler.resolve(found.conflict, "edited", "ada", {"shop.py": b"<<<<<<< ours\n"})
    assert (await here.reconciler.state()).open_conflicts() == (found,)
    assert here.branches == {}


async def test_the_other_side_hears_of_a_resolution(here: Installation, there: Installation) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    (found,) = await here.reconciler.reconcile()
    await there.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    resolved = await here.reconciler.resolve(found.conflict, "ours", "ada")
    await there.learn_from(here)
    state = await there.reconciler.state()
    assert state.open_conflicts() == ()
    assert state.resolved[found.conflict] == (resolved,)
    with pytest.raises(Refused, match="was resolved by ada"):
        await there.reconciler.resolve(found.conflict, "theirs", "bob")


async def test_two_resolutions_that_differ_are_a_conflict_of_their_own(here: Installation, there: Installation) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    (found,) = await here.reconciler.reconcile()
    await there.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    await here.reconciler.resolve(found.conflict, "ours", "ada")
    await there.reconciler.resolve(found.conflict, "theirs", "bob")
    await here.learn_from(there)
    (again,) = await here.reconciler.reconcile()
    assert isinstance(again, ConflictFound)
    assert again.conflict != found.conflict
    assert again.paths == ("shop.py",)
    settled = await here.reconciler.resolve(again.conflict, "ours", "ada")
    assert "TAX" in text_of(here, settled.tree, "shop.py")
    assert await here.reconciler.reconcile() == []


async def test_a_result_that_builds_on_the_other_is_not_apart(here: Installation, there: Installation) -> None:
    run = await here.work.completed({"shop.py": TAXED})
    head = (await here.work.runs.load(run)).head
    there.work.content.publish(there.work.repository, "taken-over", head)
    git(there.work.repository, "checkout", "-q", "-f", "taken-over")
    await there.work.completed({"shop.py": TAXED_MORE})
    await here.learn_from(there)
    assert await here.reconciler.reconcile() == []


async def test_both_sides_are_laid_out_for_a_person_to_edit(
    here: Installation, there: Installation, tmp_path: Path
) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    (found,) = await here.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    folder = tmp_path / "open"
    write_sides(here.work.content, found, folder, (found.ours, found.theirs))
    assert {path.name for path in folder.iterdir()} == {"shop.py", "shop.py.base", "shop.py.ours", "shop.py.theirs"}
    assert (folder / "shop.py.base").read_text() == SHOP
    escaping = ConflictFound(
        conflict="x", project=found.project, paths=("../out",), base=found.base, base_blobs=found.base_blobs,
        ours=found.ours, theirs=found.theirs,
    )  # fmt: skip
    with pytest.raises(ContentError, match="leads out"):
        write_sides(here.work.content, escaping, folder, (found.ours, found.theirs))
    assert not (tmp_path / "out").exists()


async def test_an_unknown_conflict_is_answered_with_those_that_are(here: Installation, there: Installation) -> None:
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": TAXED_MORE})
    (found,) = await here.reconciler.reconcile()
    assert isinstance(found, ConflictFound)
    state = await here.reconciler.state()
    assert conflict_named(state, found.conflict[:5]) == found
    with pytest.raises(NotRecorded) as caught:
        conflict_named(state, "nope")
    assert caught.value.places == (found.conflict,)
    with pytest.raises(NotRecorded):
        conflict_named(ProjectState(), "")
    with pytest.raises(UsageError, match="no conflict"):
        await here.reconciler.resolve("nope", "ours", "ada")


@pytest.mark.parametrize("theirs", [SHOP.replace("str(", "repr("), TAXED_MORE], ids=["merged", "in conflict"])
async def test_killed_at_any_write_it_is_done_once_when_it_is_done_again(tmp_path: Path, theirs: str) -> None:
    """Enumerated: every write of a merge, and of a conflict and its resolution."""
    reference = await settled(tmp_path / "undisturbed", theirs, 0)
    crossings = reference[-1]
    assert crossings >= 6
    for limit in range(1, crossings + 1):
        assert (await settled(tmp_path / str(limit), theirs, limit))[:-1] == reference[:-1], (
            f"killed at crossing {limit}"
        )


async def settled(folder: Path, theirs: str, limit: int) -> tuple[object, dict[str, CommitId], int]:
    """What is on record and which branches there are, when it was killed at `limit` and done again; the crossings of all."""
    here, there = an_installation(folder, "here", 1), an_installation(folder, "there", 2)
    await apart(here, there, {"shop.py": TAXED}, {"shop.py": theirs})
    dying, fuse = here.killed_at(limit)
    for reconciler in (dying, here.afresh()):
        with suppress(Killed):
            await reconciler.reconcile()
            for conflict in (await reconciler.state()).open_conflicts():
                await reconciler.resolve(conflict.conflict, "ours", "ada")
    state = await here.afresh().state()
    told = [recorded.event.type for recorded in await here.ledger.read(stream=project_stream(here.work.project))]
    return (told, state.merged, state.conflicts, state.resolved), here.branches, fuse.crossed
