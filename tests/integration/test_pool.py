"""Workspaces out of the pool: each holds exactly the tree that was asked for, whatever happened to the folder before.

Bug class this catches: a stale or altered workspace that is handed out as if it were new.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from projects import wait_until

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.domain.pool import Bounds
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.ids import ProjectId, TreeId
from cavalcade.sandbox import slot as disk
from cavalcade.sandbox.choosing import open_sandbox
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.pooled import PooledWorkspaces, look
from cavalcade.sandbox.port import Command, Limits
from cavalcade.sandbox.refilling import Order, refilling
from cavalcade.sandbox.workspaces import SOURCES, WHOLE, Layout
from cavalcade.testing.clock import START

PROJECT = ProjectId("p0123456789abcdef")
BOUNDS = Bounds(4, 64 << 20)
PYTHON = Path(sys.executable)

File = tuple[str, int]
TREES: tuple[Mapping[str, File], ...] = (
    {"a.py": ("a = 1\n", 0o100644), "b/c.py": ("c = 1\n", 0o100644), ".gitignore": ("*.log\nbuild/\n", 0o100644)},
    {"a.py": ("a = 2\n", 0o100644), "b/c.py": ("c = 1\n", 0o100755), ".gitignore": ("*.log\nbuild/\n", 0o100644)},
    {"a.py/now.py": ("folder\n", 0o100644), "b": ("a file\n", 0o100644), "data.bin": ("\0", 0o100644)},
    {"a.py": ("a = 1\n", 0o100644), "b/c.py": ("../a.py", 0o120000), "d/e/f.py": ("f\n", 0o100644)},
    {},
)


def tree_of(store: GitContentStore, files: Mapping[str, File]) -> TreeId:
    changes = [Change(path, store.write(text.encode()), mode) for path, (text, mode) in files.items()]
    return store.info(store.commit([], changes, message="tree", trailers={}, when=START)).tree


def shown(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every entry below, with its mode and content."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[path.relative_to(folder).as_posix()] = (info.st_mode, data)
    return found


class Place:
    """A content store with all `TREES`, a pool, and what each tree looks like when it is laid out anew."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.store = GitContentStore(top / "content.git")
        self.trees = [tree_of(self.store, files) for files in TREES]
        self.folder = top / "pool"

    def pool(self, bounds: Bounds = BOUNDS) -> PooledWorkspaces:
        return PooledWorkspaces(self.folder, PROJECT, bounds, SystemClock(), SystemEntropy())

    def fresh(self, tree: TreeId, layout: Layout = WHOLE) -> dict[str, tuple[int, bytes]]:
        into = self.top / "fresh"
        shutil.rmtree(into, ignore_errors=True)
        self.store.restore(tree, into, only=layout.only)
        return shown(into)

    async def used(self, tree: TreeId, layout: Layout = WHOLE, *, keep: bool = True) -> int:
        """Claims once from a pool of its own and checks what comes; the folder's inode."""
        pool = self.pool()
        async with pool.claim(self.store, tree, layout) as workspace:
            assert shown(workspace.folder) == self.fresh(tree, layout)
            inode = workspace.folder.stat().st_ino
            if keep:
                workspace.keep()
        await pool.aclose()
        return inode

    def slots(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.exists() else []

    def kept(self) -> Path:
        """The one workspace that lies ready."""
        (slot,) = self.slots()
        return slot / "tree"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_a_workspace_that_was_only_read_is_moved_by_the_difference_and_is_then_like_a_new_one(
    place: Place,
) -> None:
    for layout in (WHOLE, SOURCES):
        first = await place.used(place.trees[0], layout)
        for number in (1, 2, 3, 0, 3, 2, 4, 1, 1, 4, 0):
            assert await place.used(place.trees[number], layout) == first
    assert len(place.slots()) == 2  # one for each layout: they are never taken for each other


async def test_a_workspace_nobody_vouched_for_is_gone(place: Place) -> None:
    await place.used(place.trees[0], keep=False)
    assert place.slots() == []


async def test_a_workspace_whose_user_failed_is_gone_even_if_they_vouched(place: Place) -> None:
    pool = place.pool()
    with suppress(ZeroDivisionError):
        async with pool.claim(place.store, place.trees[0], WHOLE) as workspace:
            workspace.keep()
            _ = 1 // 0
    await pool.aclose()
    assert place.slots() == []


def _same_size_and_time(tree: Path) -> None:
    before = (tree / "a.py").stat()
    (tree / "a.py").write_text("a = 9\n")
    os.utime(tree / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))


def _written_and_back(tree: Path) -> None:
    before = (tree / "a.py").stat()
    with (tree / "a.py").open("r+") as file:
        file.write("a = 9\n")
        file.seek(0)
        file.write("a = 1\n")
    os.utime(tree / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))


def _hard_link(tree: Path) -> None:
    os.link(tree / "a.py", tree.parent.parent / "outside")


def _another_link_in_its_place(tree: Path) -> None:
    other = tree.parent.parent / "outside"
    shutil.copy2(tree / "a.py", other)
    os.replace(other, tree / "a.py")


def _symlink(tree: Path) -> None:
    (tree / "a.py").unlink()
    (tree / "a.py").symlink_to(tree.parent / "note")


def _linked_folder(tree: Path) -> None:
    (tree / "b").rename(tree.parent / "moved")
    (tree / "b").symlink_to("../moved")


def _linked_whole(tree: Path) -> None:
    tree.rename(tree.parent / "moved")
    tree.symlink_to("moved")


def _swapped(tree: Path) -> None:
    (tree / "a.py").rename(tree / "x")
    (tree / "b" / "c.py").rename(tree / "a.py")
    (tree / "x").rename(tree / "b" / "c.py")


def _hidden_folder(tree: Path) -> None:
    times = tree.stat()
    (tree / "build").mkdir()
    (tree / "build" / "conftest.py").write_text("evil")
    os.utime(tree, ns=(times.st_atime_ns, times.st_mtime_ns))


def _attribute(tree: Path) -> None:
    try:
        os.setxattr(tree / "a.py", "user.x", b"x")
    except OSError:  # this file system has none: then a time
        os.utime(tree / "a.py")


def _note_says(tree: Path) -> None:
    note = tree.parent / "note"
    note.write_bytes(note.read_bytes().replace(b'"layout":"whole"', b'"layout":"WHOLE"'))
    (tree / "a.py").write_text("a = 9\n")


def _note_of_another(tree: Path) -> None:
    held = disk.hold(tree.parent)
    assert held is not None
    note = held.note()
    assert note is not None
    (tree / "a.py").write_text("a = 9\n")
    held.unseal()
    note = disk.Note(
        **{name: getattr(note, name) for name in note.__struct_fields__ if name != "circumstances"}, circumstances="x"
    )
    held.seal(note)
    held.release()


ALTERED: dict[str, Callable[[Path], object]] = {
    "content, with the same size and time": _same_size_and_time,
    "content and back again, with the same time": _written_and_back,
    "a file's mode": lambda tree: (tree / "a.py").chmod(0o755),
    "a mode and back again": lambda tree: ((tree / "a.py").chmod(0o755), (tree / "a.py").chmod(0o644)),
    "a folder's mode": lambda tree: (tree / "b").chmod(0o700),
    "a setuid bit": lambda tree: (tree / "a.py").chmod(0o4755),
    "a hard link to the outside": _hard_link,
    "a copy in a file's place": _another_link_in_its_place,
    "a symbolic link in a file's place": _symlink,
    "a symbolic link in a folder's place": _linked_folder,
    "a symbolic link in its own place": _linked_whole,
    "two files in each other's place": _swapped,
    "a new file": lambda tree: (tree / "x.log").write_text("x"),
    "a new file in a folder that git ignores": _hidden_folder,
    "an empty folder": lambda tree: (tree / "b" / "empty").mkdir(),
    "a pipe": lambda tree: os.mkfifo(tree / "pipe"),
    "a file gone": lambda tree: (tree / "b" / "c.py").unlink(),
    "a file emptied": lambda tree: (tree / "a.py").write_bytes(b""),
    "an extended attribute": _attribute,
    "everything gone": shutil.rmtree,
    "its note edited": _note_says,
    "a note from other circumstances": _note_of_another,
    "its note cut short": lambda tree: os.truncate(tree.parent / "note", 100),
    "its note gone": lambda tree: (tree.parent / "note").unlink(),
}


@pytest.mark.parametrize("altered", ALTERED)
async def test_what_was_altered_while_it_lay_there_is_never_handed_out(place: Place, altered: str) -> None:
    await place.used(place.trees[0])
    slot = place.slots()[0]
    ALTERED[altered](place.kept())
    await place.used(place.trees[0])
    assert not slot.exists()


async def test_alterations_right_after_it_was_laid_out_are_seen(place: Place) -> None:
    """Within the same step of the kernel's clock a changed file would have the same time of change."""
    for _ in range(20):
        pool = place.pool()
        async with pool.claim(place.store, place.trees[0], WHOLE) as workspace:
            _same_size_and_time(workspace.folder)
            slot = workspace.folder.parent
            workspace.keep()  # a lie
        await pool.aclose()
        await place.used(place.trees[0])
        assert not slot.exists()


GUEST = """
import os, pathlib
before = os.stat("a.py")
open("a.py", "w").write("a = 9\\n"); os.utime("a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
os.link("a.py", "hard"); os.symlink("/etc/passwd", "soft"); os.chmod("b/c.py", 0o777)
os.mkdir("build"); open("build/x.log", "w").write("hidden"); os.mkfifo("pipe")
os.mkdir("closed"); open("closed/in", "w").close(); os.chmod("closed", 0)
open("tree", "w").write("note"); open("note", "w").write("{}")
folder = pathlib.Path("deep")
for _ in range(40):
    folder.mkdir(); folder = folder / "deep"
try:
    open("../note", "w").write("{}")
except OSError:
    print("held")
"""


async def test_what_a_guest_was_let_into_is_never_seen_again(place: Place) -> None:
    """The decision: no comparison can be wrong that isn't made."""
    sandbox = await open_sandbox(
        cache=place.top / "probes",
        python=PYTHON,
        home=Path.home(),
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )
    await place.used(place.trees[0])
    slot = place.slots()[0]
    pool = place.pool()
    async with pool.claim(place.store, place.trees[0], WHOLE) as workspace:
        assert workspace.folder.parent == slot
        command = Command(
            argv=(str(PYTHON), "-I", "-c", GUEST),
            workspace=workspace.folder,
            readable=interpreter_roots(PYTHON, home=Path.home()),
        )
        result = await sandbox.run(command, Limits(wall_s=20))
        assert (result.exit_code, result.stdout) == (0, b"held\n"), result.stderr
        assert stat.S_ISFIFO((workspace.folder / "pipe").lstat().st_mode)
    await pool.aclose()
    assert not slot.exists()
    await place.used(place.trees[0])


async def test_two_hundred_claims_in_bursts_never_get_the_same_folder(place: Place) -> None:
    pool = place.pool(Bounds(8, 64 << 20))
    in_use: set[Path] = set()

    async def one(number: int) -> None:
        tree = place.trees[number % 2]
        async with pool.claim(place.store, tree, WHOLE) as workspace:
            assert workspace.folder not in in_use
            in_use.add(workspace.folder)
            assert (workspace.folder / "a.py").read_text() == TREES[number % 2]["a.py"][0]
            await asyncio.sleep(0)
            in_use.remove(workspace.folder)
            if number % 3:
                workspace.keep()

    for start in range(0, 200, 25):
        await asyncio.gather(*(one(number) for number in range(start, start + 25)))
    await pool.aclose()
    assert 0 < len(place.slots()) <= 8


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_pool import Place, WHOLE, TREES, shown
async def main():
    place = Place(Path(sys.argv[1]))
    place.top = Path(sys.argv[1]) / sys.argv[3]
    for number in range(30):
        tree = place.trees[(number + int(sys.argv[3])) % 2]
        await place.used(tree, keep=number % 4 != 0)
asyncio.run(main())
"""


def test_several_processes_share_a_pool(place: Place) -> None:
    """Each of them checks each of its claims, while the others move, remove and make."""
    arguments = [str(place.top), str(Path(__file__).parent)]
    children = [
        subprocess.Popen([sys.executable, "-c", CHILD, *arguments, str(number)], stderr=subprocess.PIPE)
        for number in range(3)
    ]
    assert [child.communicate()[1] for child in children] == [b""] * 3
    assert [child.returncode for child in children] == [0] * 3
    assert len(place.slots()) <= BOUNDS.slots


async def test_the_bounds_hold_and_the_one_used_longest_ago_goes_first(place: Place) -> None:
    for project in ("p1", "p2", "p3", "p4", "p5", "p1"):
        pool = PooledWorkspaces(place.folder, ProjectId(project), Bounds(3, 64 << 20), SystemClock(), SystemEntropy())
        async with pool.claim(place.store, place.trees[0], WHOLE) as workspace:
            workspace.keep()
        await pool.aclose()
    ready = sorted(look(place.folder), key=lambda slot: slot.used)
    assert [slot.key and slot.key.project for slot in ready] == ["p4", "p5", "p1"]
    small = PooledWorkspaces(place.folder, PROJECT, Bounds(3, 1), SystemClock(), SystemEntropy())
    async with small.claim(place.store, place.trees[0], WHOLE) as workspace:
        workspace.keep()
    await small.aclose()
    assert place.slots() == []


async def test_what_a_killed_process_left_goes_and_what_another_has_stays(place: Place) -> None:
    await place.used(place.trees[0])
    theirs = place.slots()[0]
    held = disk.hold(theirs)
    assert held is not None
    left = place.folder / "left"
    (left / "tree").mkdir(parents=True)
    await place.used(place.trees[1])
    assert theirs.exists()
    assert not left.exists()
    held.release()


def test_the_pool_is_filled_in_the_background_and_that_stops_with_whoever_asked(place: Place) -> None:
    order = Order(str(place.folder), str(place.top / "content.git"), PROJECT, place.trees[0], Bounds(3, 64 << 20))
    with refilling(order):
        wait_until(lambda: [slot.status for slot in look(place.folder)] == ["ready"] * 3, "three workspaces lie ready")
    assert sorted(slot.key.layout for slot in look(place.folder) if slot.key) == [SOURCES.name, WHOLE.name, WHOLE.name]
    asyncio.run(place.used(place.trees[1]))
