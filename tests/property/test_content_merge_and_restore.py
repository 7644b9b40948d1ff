"""Random trees through the content store: commit, entries, diff, merge and restore agree with each other and with git itself.

Bug classes this catches: tree order, folders that become files, subtrees shared or emptied, a restore that leaves or loses
something, a merge that depends on which side is whose or drops a change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavalcade.content.git import GitContentStore
from cavalcade.content.lines import hunks, merge_lines, split_lines
from cavalcade.content.port import Change
from cavalcade.content.trees import EMPTY_TREE
from cavalcade.kernel.ids import CommitId, TreeId

WHEN = datetime(2024, 5, 6, tzinfo=UTC)

NAMES = st.sampled_from(["a", "b", "a.b", "a-b", "a0", "B", "é", "\udcff", "c d"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENTS = st.lists(
    st.sampled_from([b"one\n", b"two\n", b"three\n", b"\n", b"end", b"\0", b"\xff\r\n"]), max_size=6
).map(b"".join)
FILES = st.tuples(CONTENTS.filter(bool), st.sampled_from([0o100644, 0o100755, 0o120000]))
LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n"]), max_size=12).map(b"".join)


class Stored(NamedTuple):
    folder: Path
    content: GitContentStore


@pytest.fixture(scope="module")
def stored() -> Iterator[Stored]:
    folder = Path(tempfile.mkdtemp(prefix="cavalcade-property-"))
    yield Stored(folder, GitContentStore(folder / "content.git"))
    shutil.rmtree(folder)


def without_clashes(files: Mapping[str, tuple[bytes, int]]) -> dict[str, tuple[bytes, int]]:
    """Leaves out files that stand where another needs a folder; links hold no NUL, which no file system takes."""
    folders = {path[:at] for path in files for at, char in enumerate(path) if char == "/"}
    return {
        path: (data.replace(b"\0", b"0") if mode == 0o120000 else data, mode)
        for path, (data, mode) in files.items()
        if path not in folders
    }


TREES = st.dictionaries(PATHS, FILES, max_size=8).map(without_clashes)


def committed(store: GitContentStore, files: Mapping[str, tuple[bytes, int]], *parents: CommitId) -> CommitId:
    gone = store.entries(store.tree_of(parents[0])).keys() - files.keys() if parents else set[str]()
    changes = [Change(path, store.write(data), mode) for path, (data, mode) in files.items()]
    changes += [Change(path, None) for path in gone]
    return store.commit(parents, changes, message="m", trailers={}, when=WHEN)


def tree_of(store: GitContentStore, files: Mapping[str, tuple[bytes, int]]) -> TreeId:
    return store.tree_of(committed(store, files))


def files_of(store: GitContentStore, tree: TreeId) -> dict[str, tuple[bytes, int]]:
    return {path: (store.read(entry.blob), entry.mode) for path, entry in store.entries(tree).items()}


def on_disk(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Files by path, empty folders as such."""
    found: dict[str, tuple[bytes, int]] = {}
    for top, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(top, name)
            inside = str(path.relative_to(folder))
            if path.is_symlink():
                found[inside] = os.fsencode(os.readlink(path)), 0o120000
            elif path.is_file():
                found[inside] = path.read_bytes(), 0o100755 if path.stat().st_mode & 0o100 else 0o100644
            elif not any(path.iterdir()):
                found[inside] = b"", 0o040000
    return found


@given(first=TREES, second=TREES)
def test_what_is_committed_is_what_the_entries_say(
    stored: Stored, first: dict[str, tuple[bytes, int]], second: dict[str, tuple[bytes, int]]
) -> None:
    store = stored.content
    one = committed(store, first)
    assert files_of(store, store.tree_of(one)) == first
    two = committed(store, second, one)
    assert files_of(store, store.tree_of(two)) == second
    assert store.tree_of(two) == tree_of(store, second)
    assert list(store.entries(store.tree_of(two))) == sorted(second)
    fresh = GitContentStore(stored.folder / "content.git")
    assert dict(fresh.entries(store.tree_of(two))) == dict(store.entries(store.tree_of(two)))


@given(first=TREES, second=TREES)
def test_restoring_by_steps_equals_restoring_afresh(
    stored: Stored, first: dict[str, tuple[bytes, int]], second: dict[str, tuple[bytes, int]]
) -> None:
    store = stored.content
    one, two = tree_of(store, first), tree_of(store, second)
    with tempfile.TemporaryDirectory(dir=stored.folder) as folder:
        store.restore(one, Path(folder, "steps"))
        assert on_disk(Path(folder, "steps")) == first
        store.restore(two, Path(folder, "steps"), was=one)
        assert on_disk(Path(folder, "steps")) == second
        assert store.restore(two, Path(folder, "fresh")) == len(second)
        assert on_disk(Path(folder, "fresh")) == second


@given(first=TREES, second=TREES, data=st.data())
def test_a_restore_stopped_anywhere_is_finished_by_the_same_call(
    stored: Stored, first: dict[str, tuple[bytes, int]], second: dict[str, tuple[bytes, int]], data: st.DataObject
) -> None:
    """Any mixture of both trees that removing and writing in order can leave."""
    store = stored.content
    one, two = tree_of(store, first), tree_of(store, second)
    gone = sorted(first.keys() - second.keys())
    kept = data.draw(st.integers(0, len(gone)))
    halfway = {path: file for path, file in first.items() if path not in gone[:kept]}
    if kept == len(gone):
        written = data.draw(st.sets(st.sampled_from(sorted(second)))) if second else set[str]()
        halfway |= {path: second[path] for path in written}
        halfway = without_clashes(halfway)
    with tempfile.TemporaryDirectory(dir=stored.folder) as folder:
        store.restore(tree_of(store, halfway), Path(folder, "out"))
        store.restore(two, Path(folder, "out"), was=one)
        assert on_disk(Path(folder, "out")) == second
        store.restore(two, Path(folder, "out"), was=EMPTY_TREE)
        assert on_disk(Path(folder, "out")) == second


@given(first=TREES, second=TREES)
def test_a_merge_with_nothing_new_is_clean(
    stored: Stored, first: dict[str, tuple[bytes, int]], second: dict[str, tuple[bytes, int]]
) -> None:
    store = stored.content
    one, two = tree_of(store, first), tree_of(store, second)
    for base, ours, theirs, expected in [
        (one, one, one, one),
        (one, two, two, two),
        (one, one, two, two),
        (one, two, one, two),
        (EMPTY_TREE, one, one, one),
    ]:
        assert store.merge(base, ours, theirs) == (expected, ())


@given(base=TREES, ours=TREES, theirs=TREES)
def test_a_merge_does_not_depend_on_whose_side_is_whose_and_its_own_merge_is_itself(
    stored: Stored,
    base: dict[str, tuple[bytes, int]],
    ours: dict[str, tuple[bytes, int]],
    theirs: dict[str, tuple[bytes, int]],
) -> None:
    store = stored.content
    trees = [tree_of(store, files) for files in (base, ours, theirs)]
    merge, mirrored = store.merge(*trees), store.merge(trees[0], trees[2], trees[1])
    assert merge.tree == mirrored.tree
    if merge.tree is None:
        assert merge.conflicts
        return
    merged = files_of(store, merge.tree)
    assert merged == without_clashes(merged)
    for path in base.keys() & ours.keys() & theirs.keys():
        if path in merged and base[path] == ours[path]:
            assert merged[path] == theirs[path]
    assert store.merge(trees[0], merge.tree, trees[1]).tree in (merge.tree, None)


@given(base=LINES, ours=LINES, theirs=LINES)
@settings(max_examples=300)
def test_lines_merge_as_git_merge_file_merges_them(stored: Stored, base: bytes, ours: bytes, theirs: bytes) -> None:
    """Where git merges by different hunks than ours it may be more or less careful; where both merge, they agree."""
    files = [stored.folder / name for name in ("ours", "base", "theirs")]
    for file, data in zip(files, (ours, base, theirs), strict=True):
        file.write_bytes(data)
    done = subprocess.run(
        ["git", "merge-file", "--stdout", "--diff-algorithm=myers", *map(str, files)], capture_output=True, check=False
    )
    if done.returncode == 129:  # a git that has no such option uses myers anyway
        done = subprocess.run(["git", "merge-file", "-p", *map(str, files)], capture_output=True, check=False)
    merged = merge_lines(base, ours, theirs)
    if merged is not None and done.returncode == 0:
        assert merged == done.stdout


@given(old=CONTENTS, new=CONTENTS)
def test_hunks_turn_the_old_lines_into_the_new(old: bytes, new: bytes) -> None:
    before, after = split_lines(old), split_lines(new)
    rebuilt: list[bytes] = []
    at = 0
    for hunk in hunks(old, new):
        rebuilt += before[at : hunk.old_start] + after[hunk.new_start : hunk.new_end]
        at = hunk.old_end
    assert b"".join(rebuilt + before[at:]) == new


@given(first=TREES, second=TREES)
@settings(max_examples=60)
def test_git_finds_every_object_sound_and_makes_the_same_tree(
    stored: Stored, first: dict[str, tuple[bytes, int]], second: dict[str, tuple[bytes, int]]
) -> None:
    store = stored.content
    two = store.tree_of(committed(store, second, committed(store, first)))
    rows = [f"{mode:o} {store.entries(two)[path].blob}\t{path}\0" for path, (_, mode) in second.items()]
    environment = {"PATH": os.environ["PATH"], "GIT_DIR": str(stored.folder / "content.git")}
    with tempfile.TemporaryDirectory(dir=stored.folder) as folder:
        environment["GIT_INDEX_FILE"] = str(Path(folder, "index"))
        data = "".join(rows).encode("utf-8", "surrogateescape")
        subprocess.run(["git", "update-index", "-z", "--index-info"], input=data, env=environment, check=True)
        made = subprocess.run(["git", "write-tree"], env=environment, check=True, capture_output=True, text=True)
    assert made.stdout.strip() == two
