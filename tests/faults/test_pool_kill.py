"""A process is killed at every step on the disk while it uses the pool.

Bug class this catches: a workspace that was being laid out, moved or used when its process died, and is taken for a whole one.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.domain.pool import Bounds
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.ids import ProjectId, TreeId
from cavalcade.sandbox.pooled import PooledWorkspaces, look
from cavalcade.sandbox.workspaces import WHOLE
from cavalcade.testing.clock import START
from cavalcade.testing.crashing import killed_at

pytestmark = pytest.mark.faults

ONE = {"a": "1", "b/c": "1", "d/e": "1"}
OTHER = {"a": "2", "b": "2", "d/f": "2"}


class Place:
    def __init__(self, top: Path) -> None:
        self.store = GitContentStore(top / "content.git")
        self.folder = top / "pool"

    def tree(self, files: dict[str, str]) -> TreeId:
        changes = [Change(path, self.store.write(text.encode())) for path, text in files.items()]
        return self.store.info(self.store.commit([], changes, message="tree", trailers={}, when=START)).tree

    def use(self, files: dict[str, str], *, keep: bool) -> None:
        asyncio.run(self._use(self.tree(files), files, keep=keep))

    async def _use(self, tree: TreeId, files: dict[str, str], *, keep: bool) -> None:
        pool = PooledWorkspaces(self.folder, ProjectId("p1"), Bounds(2, 1 << 30), SystemClock(), SystemEntropy())
        async with pool.claim(self.store, tree, WHOLE) as workspace:
            found = (path for path in workspace.folder.rglob("*") if not path.is_dir())
            assert {path.relative_to(workspace.folder).as_posix(): path.read_text() for path in found} == files
            if keep:
                workspace.keep()
            else:
                (workspace.folder / "a").write_text("a guest was here")
        await pool.aclose()


def test_killed_at_any_step_the_next_one_gets_exactly_its_tree_and_nothing_is_left_behind(tmp_path: Path) -> None:
    step, leftovers = 0, 0
    while True:
        place = Place(tmp_path / str(step))
        place.tree(ONE)
        place.tree(OTHER)

        def work(place: Place = place) -> None:
            place.use(ONE, keep=True)  # laid out, sealed
            place.use(OTHER, keep=True)  # moved, sealed again
            place.use(ONE, keep=False)  # moved, removed

        killed = killed_at(step, work)
        leftovers += any(slot.status == "dirty" for slot in look(place.folder))
        place.use(OTHER, keep=True)
        place.use(ONE, keep=True)
        assert [slot.status for slot in look(place.folder)] == ["ready"]
        if not killed:
            break
        step += 1
    assert step > 25
    assert leftovers > 10
