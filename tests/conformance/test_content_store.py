"""What every content store must do. An adapter is added as one more parameter of the fixture."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change, ContentStore, Entry, FileMove, LineOrigin
from cavalcade.content.trees import EMPTY_TREE
from cavalcade.kernel.errors import ContentError, ObjectMissing, VersionConflict
from cavalcade.kernel.ids import BlobId, CommitId, TreeId
from cavalcade.testing.memory_content import MemoryContent

WHEN = datetime(2024, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)
NOWHERE = "0123456789" * 4
TEXT = "".join(f"line {number}\n" for number in range(1, 21))


@pytest.fixture(params=["git", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ContentStore:
    return MemoryContent() if request.param == "memory" else GitContentStore(tmp_path / "content.git")


ON_DISK = pytest.mark.parametrize("store", ["git"], indirect=True)
"""What only a repository on disk can do, or what is said of its files."""


def commit(
    store: ContentStore,
    files: Mapping[str, str | bytes | None],
    *parents: CommitId,
    mode: int = 0o100644,
    message: str = "edit",
    when: datetime = WHEN,
) -> CommitId:
    changes = [
        Change(path, None if data is None else store.write(data.encode() if isinstance(data, str) else data), mode)
        for path, data in files.items()
    ]
    return store.commit(parents, changes, message=message, trailers={}, when=when)


def tree(store: ContentStore, files: Mapping[str, str | bytes], mode: int = 0o100644) -> TreeId:
    return store.tree_of(commit(store, files, mode=mode))


def content(store: ContentStore, of: TreeId) -> dict[str, str]:
    return {path: store.read(entry.blob).decode() for path, entry in store.entries(of).items()}


def replaced(text: str, line: int, new: str) -> str:
    lines = text.splitlines(keepends=True)
    lines[line - 1] = new
    return "".join(lines)


class TestObjects:
    def test_a_blob_is_read_back_and_named_as_git_names_it(self, store: ContentStore) -> None:
        blob = store.write(b"hello\n")
        assert blob == store.write(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
        assert store.read(blob) == b"hello\n"
        assert store.read(store.write(b"")) == b""

    def test_large_and_binary_contents_come_back(self, store: ContentStore) -> None:
        data = bytes(range(256)) * 20_000
        assert store.read(store.write(data)) == data

    @pytest.mark.parametrize("name", [NOWHERE, "", "zz", "abc"])
    def test_what_is_not_there_is_missing(self, store: ContentStore, name: str) -> None:
        with pytest.raises(ObjectMissing):
            store.read(BlobId(name))
        with pytest.raises(ObjectMissing):
            store.entries(TreeId(name))
        with pytest.raises(ObjectMissing):
            store.info(CommitId(name))

    @ON_DISK
    def test_another_handle_on_the_same_folder_sees_everything(self, store: ContentStore, tmp_path: Path) -> None:
        other = GitContentStore(tmp_path / "content.git")
        made = commit(store, {"a/b": "x\n"})
        assert content(other, other.tree_of(made)) == {"a/b": "x\n"}
        later = commit(other, {"c": "y\n"}, made)
        assert content(store, store.tree_of(later)) == {"a/b": "x\n", "c": "y\n"}

    def test_many_contents_are_written_in_one_go(self, tmp_path: Path) -> None:
        store = GitContentStore(tmp_path / "many.git")
        contents = [b"same", *(b"%d" % number for number in range(50)), b"same"]
        blobs = store.write_all(contents)
        assert [store.read(blob) for blob in blobs] == contents

    @ON_DISK
    def test_git_finds_the_store_sound(self, store: ContentStore, tmp_path: Path) -> None:
        first = commit(store, {"a": "1\n", "a.b": "2\n", "a0": "3\n", "d/e/f": "4\n", "d.e": "5\n"})
        store.set_ref("refs/runs/r/head", commit(store, {"d/e/f": None, "a/b": "6\n", "a": None}, first), expected=None)
        done = subprocess.run(
            ["git", "-C", str(tmp_path / "content.git"), "fsck", "--strict", "--no-dangling"],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


class TestCommits:
    def test_the_same_arguments_give_the_same_id(self, store: ContentStore, tmp_path: Path) -> None:
        other = GitContentStore(tmp_path / "other.git")
        east = WHEN.astimezone(timezone(timedelta(hours=5)))
        assert commit(store, {"a": "x"}) == commit(store, {"a": "x"}) == commit(other, {"a": "x"}, when=east)

    def test_what_was_said_is_read_back(self, store: ContentStore) -> None:
        parent = commit(store, {"a": "x"})
        made = store.commit(
            [parent],
            [],
            message="title\n\nA body: with a colon.\n",
            trailers={"Cavalcade-Run": "r1", "Cavalcade-Event": "e: 2"},
            when=WHEN,
        )
        info = store.info(made)
        assert info.message == "title\n\nA body: with a colon."
        assert info.trailers == {"Cavalcade-Run": "r1", "Cavalcade-Event": "e: 2"}
        assert info.parents == (parent,)
        assert info.tree == store.tree_of(parent)
        assert info.time == WHEN.replace(microsecond=0)
        assert info.author == "Cavalcade <cavalcade@localhost>"

    def test_a_message_of_one_line_has_no_trailers(self, store: ContentStore) -> None:
        assert store.info(commit(store, {}, message="fix: it")).trailers == {}

    @pytest.mark.parametrize("trailers", [{"a b": "x"}, {"a": "two\nlines"}, {"": "x"}])
    def test_what_can_not_be_read_back_is_refused(self, store: ContentStore, trailers: dict[str, str]) -> None:
        with pytest.raises(ContentError):
            store.commit([], [], message="m", trailers=trailers, when=WHEN)

    def test_changes_apply_to_the_first_parent_s_tree(self, store: ContentStore) -> None:
        first = commit(store, {"a": "1", "b/c": "2", "b/d": "3", "e/f/g": "4"})
        second = commit(store, {"other": "5"})
        merged = commit(store, {"a": "new", "b/c": None, "e/f/g": None, "h/i": "6"}, first, second)
        assert content(store, store.tree_of(merged)) == {"a": "new", "b/d": "3", "h/i": "6"}
        assert store.info(merged).parents == (first, second)

    def test_removing_everything_leaves_the_empty_tree(self, store: ContentStore) -> None:
        made = commit(store, {"a/b": None}, commit(store, {"a/b": "x"}))
        assert store.tree_of(made) == EMPTY_TREE
        assert store.entries(EMPTY_TREE) == {}
        assert store.tree_of(store.commit_tree([], EMPTY_TREE, message="m", trailers={}, when=WHEN)) == EMPTY_TREE

    def test_removing_what_is_not_there_changes_nothing(self, store: ContentStore) -> None:
        first = commit(store, {"a/b": "x"})
        gone = commit(store, {"a/c": None, "z/y": None, "a": None, "a/b/c": None}, first)
        assert store.tree_of(gone) == store.tree_of(first)

    def test_a_file_becomes_a_folder_and_back(self, store: ContentStore) -> None:
        file = commit(store, {"a": "file", "z": "z"})
        folder = commit(store, {"a": None, "a/b/c": "folder"}, file)
        assert content(store, store.tree_of(folder)) == {"a/b/c": "folder", "z": "z"}
        assert store.tree_of(commit(store, {"a": "file", "a/b/c": None}, folder)) == store.tree_of(file)

    @pytest.mark.parametrize(("there", "wanted"), [("a", "a/b"), ("a/b", "a"), ("x/y/z", "x/y")])
    def test_a_path_can_not_be_file_and_folder(self, store: ContentStore, there: str, wanted: str) -> None:
        with pytest.raises(ContentError, match="file and a folder"):
            commit(store, {wanted: "y"}, commit(store, {there: "x"}))
        with pytest.raises(ContentError, match="file and a folder"):
            commit(store, {wanted: "y", there: "x"})

    @pytest.mark.parametrize(
        "path",
        ["", "/abs", "a//b", "a/", "..", "a/../b", "./a", "a\0b", ".git", ".GIT/config", "a/.Git/hooks/x", "git~1", ".git ",
         ".git. .", ".git::$INDEX_ALLOCATION", ".g\u200cit/config", ".gi\ufefft", "a\\.git\\x"],
    )  # fmt: skip
    def test_paths_that_could_leave_the_folder_or_reach_a_repository_are_refused(
        self, store: ContentStore, path: str
    ) -> None:
        with pytest.raises(ContentError, match="can't be part of a tree"):
            commit(store, {path: "x"})

    @pytest.mark.parametrize(
        "path", [".gitignore", ".github/x", "a.git", "git", "..a", "caf\udce9", "☃", "a b", "a\nb"]
    )
    def test_paths_that_only_look_like_it_are_fine(self, store: ContentStore, path: str) -> None:
        assert set(store.entries(tree(store, {path: "x"}))) == {path}

    def test_a_change_names_a_blob_that_is_there_and_a_path_once(self, store: ContentStore) -> None:
        with pytest.raises(ObjectMissing):
            store.commit([], [Change("a", BlobId(NOWHERE))], message="m", trailers={}, when=WHEN)
        with pytest.raises(ContentError, match="twice"):
            store.commit([], [Change("a", None), Change("a", None)], message="m", trailers={}, when=WHEN)

    def test_a_tree_that_is_not_there_is_not_committed(self, store: ContentStore) -> None:
        with pytest.raises(ObjectMissing):
            store.commit_tree([], TreeId(NOWHERE), message="m", trailers={}, when=WHEN)


class TestEntries:
    def test_entries_are_sorted_with_their_modes_and_can_not_be_changed(self, store: ContentStore) -> None:
        made = commit(store, {"b": "x"}, commit(store, {"c/d": "target"}, mode=0o120000), mode=0o100755)
        made = commit(store, {"a": "y", "c.x": "z"}, made)
        entries = store.entries(store.tree_of(made))
        assert [(path, entry.mode) for path, entry in entries.items()] == [
            ("a", 0o100644), ("b", 0o100755), ("c.x", 0o100644), ("c/d", 0o120000),
        ]  # fmt: skip
        with pytest.raises(TypeError):
            entries["a"] = Entry(BlobId(NOWHERE), 0o100644)  # type: ignore[index]  # pyright: ignore[reportIndexIssue]

    def test_asking_again_gives_the_same_mapping(self, store: ContentStore) -> None:
        made = tree(store, {"a": "x"})
        assert store.entries(made) is store.entries(made)


class TestDiff:
    def test_every_status_is_told(self, store: ContentStore) -> None:
        old = commit(store, {"changed": "a\nb\n", "gone": "g\n", "kind": "k\n", "moved": TEXT, "same": "s\n"})
        new = commit(
            store, {"changed": "a\nc\n", "gone": None, "new/file": "n\n", "moved": None, "to/moved": TEXT + "z\n"}, old
        )
        new = commit(store, {"kind": "k"}, new, mode=0o120000)
        found = store.diff(store.tree_of(old), store.tree_of(new))
        assert [(d.status, d.old_path, d.path, d.added, d.removed) for d in found] == [
            ("M", "changed", "changed", 1, 1),
            ("D", "gone", "gone", 0, 1),
            ("T", "kind", "kind", 1, 1),
            ("A", "new/file", "new/file", 1, 0),
            ("R", "moved", "to/moved", 1, 0),
        ]
        assert found[0].patch.endswith("@@ -1,2 +1,2 @@\n a\n-b\n+c\n")

    def test_equal_trees_do_not_differ(self, store: ContentStore) -> None:
        made = tree(store, {"a": "x"})
        assert store.diff(made, made) == []

    def test_binary_files_have_no_patch(self, store: ContentStore) -> None:
        (found,) = store.diff(tree(store, {"a": b"\0one"}), tree(store, {"a": b"\0two"}))
        assert (found.binary, found.patch, found.added, found.removed) == (True, "", 0, 0)

    def test_context_is_as_asked(self, store: ContentStore) -> None:
        old, new = tree(store, {"a": TEXT}), tree(store, {"a": replaced(TEXT, 10, "ten\n")})
        assert "@@ -10 +10 @@" in store.diff(old, new, context=0)[0].patch
        assert "@@ -7,7 +7,7 @@" in store.diff(old, new)[0].patch

    def test_patches_are_what_git_apply_takes(self, store: ContentStore, tmp_path: Path) -> None:
        old = commit(
            store, {"a": TEXT, "gone": "g\n", "dir/moved": TEXT * 2, "no end": "x", 'q"uo\te': "q\n", "same": "s\n"}
        )
        changed = replaced(replaced(TEXT, 2, "two\n"), 19, "no newline at")
        new = commit(store, {"a": changed, "gone": None, "dir/moved": None, "moved to": TEXT * 2, "no end": "x\n"}, old)
        new = commit(store, {'q"uo\te': "changed\n", "e": "", "same": "s\n"}, new, mode=0o100755)
        store.restore(store.tree_of(old), tmp_path / "out")
        patch = "".join(each.patch for each in store.diff(store.tree_of(old), store.tree_of(new)))
        subprocess.run(
            ["git", "apply", "-"], input=patch.encode(), cwd=tmp_path / "out", check=True, capture_output=True
        )
        store.restore(store.tree_of(new), tmp_path / "expected")
        assert on_disk(tmp_path / "out") == on_disk(tmp_path / "expected")


def on_disk(folder: Path) -> dict[str, tuple[str, bytes]]:
    found: dict[str, tuple[str, bytes]] = {}
    for top, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(top, name)
            if path.is_symlink():
                found[str(path.relative_to(folder))] = "link", os.fsencode(os.readlink(path))
            elif path.is_dir():
                found[str(path.relative_to(folder))] = "folder", b""
            else:
                found[str(path.relative_to(folder))] = (
                    ("exec" if path.stat().st_mode & 0o100 else "file"),
                    path.read_bytes(),
                )
    return found


class TestMerge:
    def merged(
        self, store: ContentStore, base: Mapping[str, str], ours: Mapping[str, str], theirs: Mapping[str, str]
    ) -> dict[str, str] | list[str]:
        """The merged files, or the paths in conflict; the same whichever side is ours."""
        trees = [tree(store, files) for files in (base, ours, theirs)]
        merge = store.merge(*trees)
        mirrored = store.merge(trees[0], trees[2], trees[1])
        assert merge.tree == mirrored.tree
        assert [c.path for c in merge.conflicts] == [c.path for c in mirrored.conflicts]
        return content(store, merge.tree) if merge.tree else [conflict.path for conflict in merge.conflicts]

    def test_changes_of_different_files_go_together(self, store: ContentStore) -> None:
        base = {"a": "1", "b/c": "2", "d": "3"}
        assert self.merged(store, base, {**base, "a": "x"}, {"b/c": "y", "a": "1", "e": "z"}) == {
            "a": "x", "b/c": "y", "e": "z",
        }  # fmt: skip

    def test_changes_of_different_lines_go_together(self, store: ContentStore) -> None:
        ours, theirs = replaced(TEXT, 2, "mine\n"), replaced(TEXT, 18, "yours\nand more\n")
        assert self.merged(store, {"a": TEXT}, {"a": ours}, {"a": theirs}) == {
            "a": replaced(ours, 18, "yours\nand more\n")
        }

    def test_changes_of_the_same_line_conflict_and_are_named(self, store: ContentStore) -> None:
        texts = [TEXT, replaced(TEXT, 5, "mine\n"), replaced(TEXT, 5, "yours\n")]
        merge = store.merge(*(tree(store, {"a": text, "b": "b"}) for text in texts))
        assert merge.tree is None
        (conflict,) = merge.conflicts
        assert conflict == ("a", *(store.write(text.encode()) for text in texts))

    def test_changes_of_neighbouring_lines_conflict(self, store: ContentStore) -> None:
        assert self.merged(
            store, {"a": TEXT}, {"a": replaced(TEXT, 5, "mine\n")}, {"a": replaced(TEXT, 6, "yours\n")}
        ) == ["a"]

    def test_equal_changes_are_no_conflict(self, store: ContentStore) -> None:
        both = replaced(TEXT, 5, "both\n")
        assert self.merged(
            store,
            {"a": TEXT},
            {"a": replaced(both, 1, "mine\n"), "n": "n"},
            {"a": replaced(both, 20, "yours\n"), "n": "n"},
        ) == {"a": replaced(replaced(both, 1, "mine\n"), 20, "yours\n"), "n": "n"}

    def test_a_file_removed_on_both_sides_is_gone(self, store: ContentStore) -> None:
        assert self.merged(store, {"a": "1", "b": "2"}, {"b": "2"}, {"b": "3"}) == {"b": "3"}

    def test_a_file_changed_here_and_removed_there_conflicts(self, store: ContentStore) -> None:
        assert self.merged(store, {"a": "1", "b": "2"}, {"b": "2"}, {"a": "3", "b": "2"}) == ["a"]

    def test_different_new_files_of_one_name_conflict(self, store: ContentStore) -> None:
        assert self.merged(store, {"a": "1"}, {"a": "1", "n": "mine"}, {"a": "1", "n": "yours"}) == ["n"]

    def test_a_file_here_and_a_folder_there_conflict(self, store: ContentStore) -> None:
        assert self.merged(store, {"a": "1"}, {"a": "1", "n": "file"}, {"a": "1", "n/x": "folder"}) in (["n"], ["n/x"])

    def test_binary_files_are_not_merged_by_lines(self, store: ContentStore) -> None:
        ours, theirs = "\0" + replaced(TEXT, 2, "mine\n"), "\0" + replaced(TEXT, 18, "yours\n")
        assert self.merged(store, {"a": "\0" + TEXT}, {"a": ours}, {"a": theirs}) == ["a"]

    def test_other_encodings_are_merged_as_bytes(self, store: ContentStore) -> None:
        base = b"caf\xe9\n" + TEXT.encode()
        ours, theirs = base.replace(b"line 2\n", b"\xe0\n"), base.replace(b"line 19\n", b"\xfc\r\n")
        merge = store.merge(*(tree(store, {"a": data}) for data in (base, ours, theirs)))
        assert merge.tree is not None
        assert store.read(store.entries(merge.tree)["a"].blob) == ours.replace(b"line 19\n", b"\xfc\r\n")

    def test_a_mode_changed_here_and_content_changed_there_go_together(self, store: ContentStore) -> None:
        base, ours, theirs = tree(store, {"a": "1"}), tree(store, {"a": "1"}, 0o100755), tree(store, {"a": "2"})
        merge = store.merge(base, ours, theirs)
        assert merge.tree == tree(store, {"a": "2"}, 0o100755)

    def test_a_change_follows_a_file_that_the_other_side_moved(self, store: ContentStore) -> None:
        changed = replaced(TEXT, 3, "changed\n")
        assert self.merged(store, {"old": TEXT, "z": "z"}, {"new/name": TEXT, "z": "z"}, {"old": changed, "z": "z"}) == {
            "new/name": changed, "z": "z",
        }  # fmt: skip
        both = replaced(changed, 18, "moved\n")
        assert self.merged(store, {"old": TEXT}, {"new": replaced(TEXT, 18, "moved\n")}, {"old": changed}) == {
            "new": both
        }

    def test_a_file_moved_alike_on_both_sides_is_merged(self, store: ContentStore) -> None:
        ours, theirs = replaced(TEXT, 3, "mine\n"), replaced(TEXT, 18, "yours\n")
        assert self.merged(store, {"old": TEXT}, {"new": ours}, {"new": theirs}) == {
            "new": replaced(ours, 18, "yours\n")
        }

    def test_a_file_moved_to_two_places_conflicts(self, store: ContentStore) -> None:
        assert self.merged(store, {"old": TEXT}, {"one": TEXT}, {"two": TEXT}) == ["old"]

    def test_a_file_moved_here_and_removed_there_conflicts(self, store: ContentStore) -> None:
        assert self.merged(store, {"old": TEXT, "z": "z"}, {"new": TEXT, "z": "z"}, {"z": "z"}) == ["new"]

    def test_a_move_onto_a_new_file_of_the_other_side_conflicts(self, store: ContentStore) -> None:
        assert "new" in self.merged(
            store, {"old": TEXT}, {"new": TEXT}, {"old": replaced(TEXT, 3, "changed\n"), "new": "another\n"}
        )


class TestRestore:
    def test_a_folder_holds_exactly_the_tree(self, store: ContentStore, tmp_path: Path) -> None:
        made = commit(store, {"a/b/c": "x\n", "d": ""})
        made = commit(store, {"run": "#!/bin/sh\n"}, made, mode=0o100755)
        made = commit(store, {"a/link": "../d"}, made, mode=0o120000)
        assert store.restore(store.tree_of(made), tmp_path / "new/out") == 4
        assert on_disk(tmp_path / "new/out") == {
            "a": ("folder", b""), "a/b": ("folder", b""), "a/b/c": ("file", b"x\n"), "a/link": ("link", b"../d"),
            "d": ("file", b""), "run": ("exec", b"#!/bin/sh\n"),
        }  # fmt: skip

    def test_only_what_differs_is_touched(self, store: ContentStore, tmp_path: Path) -> None:
        old = commit(store, {"a/b": "1", "a/c": "2", "d/e/f": "3", "same": "s"})
        new = commit(store, {"a/b": "changed", "d/e/f": None}, old)
        store.restore(store.tree_of(old), tmp_path / "out")
        before = (tmp_path / "out/same").stat()
        assert store.restore(store.tree_of(new), tmp_path / "out", was=store.tree_of(old)) == 2
        assert (tmp_path / "out/same").stat() == before
        assert set(on_disk(tmp_path / "out")) == {"a", "a/b", "a/c", "same"}

    def test_a_folder_with_something_in_it_is_refused(self, store: ContentStore, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("mine")
        made = tree(store, {"a": "x"})
        with pytest.raises(ContentError, match="not empty"):
            store.restore(made, tmp_path / "out")
        with pytest.raises(ContentError, match="no folder"):
            store.restore(made, tmp_path / "out/mine")
        assert on_disk(tmp_path / "out") == {"mine": ("file", b"mine")}

    def test_read_only_files_are_replaced(self, store: ContentStore, tmp_path: Path) -> None:
        old, new = tree(store, {"a": "1", "b": "1"}), tree(store, {"a": "2"})
        store.restore(old, tmp_path / "out")
        for name in ("a", "b"):
            (tmp_path / "out" / name).chmod(0o444)
        store.restore(new, tmp_path / "out", was=old)
        assert on_disk(tmp_path / "out") == {"a": ("file", b"2")}

    def test_a_hard_link_in_the_folder_is_not_written_through(self, store: ContentStore, tmp_path: Path) -> None:
        old, new = tree(store, {"a": "1"}), tree(store, {"a": "2"})
        store.restore(old, tmp_path / "out")
        os.link(tmp_path / "out/a", tmp_path / "elsewhere")
        store.restore(new, tmp_path / "out", was=old)
        assert (tmp_path / "elsewhere").read_text() == "1"

    def test_links_planted_in_the_folder_are_never_followed(self, store: ContentStore, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "b").write_text("precious")
        old, new = tree(store, {"a/b": "1", "a/c": "1", "d": "1"}), tree(store, {"a/b": "2", "d": "2"})
        out = tmp_path / "out"
        store.restore(old, out)
        for path in (out / "a/b", out / "a/c", out / "d"):
            path.unlink()
        (out / "a").rmdir()
        (out / "a").symlink_to(outside)
        (out / "d").symlink_to(outside / "b")
        store.restore(new, out, was=old)
        assert on_disk(outside) == {"b": ("file", b"precious")}
        assert on_disk(out) == {"a": ("folder", b""), "a/b": ("file", b"2"), "d": ("file", b"2")}

    def test_files_that_are_in_neither_tree_stay(self, store: ContentStore, tmp_path: Path) -> None:
        old, new = tree(store, {"a/b": "1", "c": "1"}), tree(store, {"c": "2"})
        store.restore(old, tmp_path / "out")
        (tmp_path / "out/a/cache").write_text("x")
        store.restore(new, tmp_path / "out", was=old)
        assert set(on_disk(tmp_path / "out")) == {"a", "a/cache", "c"}
        with pytest.raises(ContentError, match="folder stands where"):
            store.restore(tree(store, {"a": "file"}), tmp_path / "out", was=old)

    def test_after_a_kill_the_same_call_finishes_the_work(self, store: ContentStore, tmp_path: Path) -> None:
        old = tree(store, {"a": "1", "b/c": "1", "d/e": "1", "f": "1", "same": "s"})
        new = tree(store, {"a/x": "2", "b": "2", "d/e": "2", "g/h": "2", "same": "s"})
        for stage in range(5):
            out = tmp_path / f"out{stage}"
            store.restore(new if stage == 4 else old, out)
            if stage in (1, 2):
                (out / "a").unlink()
            if stage == 2:
                (out / "a").mkdir()
                (out / "a/x").write_text("half")
            if stage == 3:
                (out / "d/e").write_text("")
                (out / "f").unlink()
            store.restore(new, out, was=old)
            store.restore(new, tmp_path / f"fresh{stage}")
            assert on_disk(out) == on_disk(tmp_path / f"fresh{stage}")

    def test_a_tree_that_would_leave_the_folder_is_not_begun(self, tmp_path: Path) -> None:
        store = GitContentStore(tmp_path / "content.git")
        evil = plant(tmp_path / "content.git", "100644 blob {blob}\ta\n040000 tree {below}\t..\n")
        hooks = plant(tmp_path / "content.git", "100644 blob {blob}\ta\n040000 tree {below}\t.GIT\n")
        for bad in (evil, hooks):
            with pytest.raises(ContentError, match="can't be part of a tree"):
                store.restore(bad, tmp_path / "out/inner")
        assert not (tmp_path / "out").exists()


def plant(folder: Path, rows: str) -> TreeId:
    """A tree that this store would not make, by git's plumbing."""

    def run(*args: str, data: str) -> str:
        command = ["git", "-C", str(folder), *args]
        return subprocess.run(command, input=data, text=True, check=True, capture_output=True).stdout.strip()

    blob = run("hash-object", "-w", "--stdin", data="evil")
    below = run("mktree", data=f"100644 blob {blob}\tevil\n")
    return TreeId(run("mktree", data=rows.format(blob=blob, below=below)))


class TestCompacting:
    @ON_DISK
    def test_what_was_loose_is_read_as_before_here_and_by_those_who_had_it_open(
        self, store: ContentStore, tmp_path: Path
    ) -> None:
        folder = tmp_path / "content.git"
        made = GitContentStore(folder)
        other = GitContentStore(folder)
        last = commit(made, {"a/b": TEXT})
        for number in range(30):
            last = commit(made, {"a/b": replaced(TEXT, 3, f"{number}\n"), f"c/{number}": "x\n"}, last)
        assert other.tree_of(last) == made.tree_of(last)
        before = made.restore(made.tree_of(last), tmp_path / "before")
        assert made.compact(enough=1) > 90
        assert not [path for path in (folder / "objects").glob("??/*") if path.parent.name != "pa"]
        for each in (other, made, GitContentStore(folder)):
            assert each.info(last).message == "edit"
        assert other.restore(other.tree_of(last), tmp_path / "after") == before
        assert on_disk(tmp_path / "after") == on_disk(tmp_path / "before")
        assert made.write(TEXT.encode()) == other.write(TEXT.encode())
        assert made.compact(enough=1) == 0
        subprocess.run(["git", "-C", str(folder), "fsck", "--strict", "--no-dangling"], check=True, capture_output=True)

    def test_readers_notice_nothing_while_objects_are_put_together(self, tmp_path: Path) -> None:
        store = GitContentStore(tmp_path / "content.git")
        contents = [b"%d\n" % number * 9 for number in range(1500)]
        blobs = store.write_all(contents)

        def read(_: int) -> bool:
            mine = GitContentStore(tmp_path / "content.git")
            return [mine.read(blob) for blob in blobs] == contents

        with ThreadPoolExecutor(4) as pool:
            reading = pool.map(read, range(8))
            assert store.compact(enough=1) == 1500
            assert all(reading)

    def test_few_loose_objects_stay_as_they_are(self, store: ContentStore) -> None:
        commit(store, {"a": "x\n"})
        assert store.compact() == 0


@ON_DISK
class TestBlame:
    def lines(
        self, store: ContentStore, at: CommitId, path: str, stop: CommitId | None = None
    ) -> list[tuple[CommitId, int, str]]:
        found = store.blame(at, path, stop=stop)
        assert [line.line for line in found] == list(range(1, len(found) + 1))
        return [(line.commit, line.original_line, line.original_path) for line in found]

    def test_each_line_has_the_commit_that_made_it(self, store: ContentStore) -> None:
        first = commit(store, {"a": "1\n2\n3\n"})
        second = commit(store, {"a": "0\n1\n2\n3\n"}, first)
        third = commit(store, {"a": "0\n1\ntwo\n3\n", "b": "b"}, second)
        assert self.lines(store, third, "a") == [(second, 1, "a"), (first, 1, "a"), (third, 3, "a"), (first, 3, "a")]

    def test_renames_are_followed_even_when_the_file_changes_on_the_way(self, store: ContentStore) -> None:
        first = commit(store, {"old": TEXT, "other": "x"})
        second = commit(store, {"old": None, "new/name": replaced(TEXT, 2, "two\n")}, first)
        third = commit(store, {"new/name": None, "newer": replaced(TEXT, 2, "two\n") + "end\n"}, second)
        found = self.lines(store, third, "newer")
        assert found[:3] == [(first, 1, "old"), (second, 2, "new/name"), (first, 3, "old")]
        assert found[-1] == (third, 21, "newer")

    def test_merges_are_followed_to_both_sides(self, store: ContentStore) -> None:
        base = commit(store, {"a": TEXT})
        ours = commit(store, {"a": replaced(TEXT, 2, "mine\n")}, base, when=WHEN + timedelta(seconds=1))
        theirs = commit(store, {"a": replaced(TEXT, 18, "yours\n")}, base, when=WHEN + timedelta(seconds=2))
        merge = store.merge(*(store.tree_of(each) for each in (base, ours, theirs)))
        assert merge.tree is not None
        merged = store.commit_tree(
            [ours, theirs], merge.tree, message="merge", trailers={}, when=WHEN + timedelta(seconds=3)
        )
        found = self.lines(store, merged, "a")
        assert {found[0], found[1], found[17]} == {(base, 1, "a"), (ours, 2, "a"), (theirs, 18, "a")}

    def test_older_lines_are_put_down_to_where_it_stops(self, store: ContentStore) -> None:
        first = commit(store, {"a": "1\n2\n"})
        second = commit(store, {"a": "1\n2\n3\n"}, first)
        third = commit(store, {"a": "1\n2\n3\n4\n"}, second)
        assert [commit for commit, _, _ in self.lines(store, third, "a", stop=second)] == [
            second,
            second,
            second,
            third,
        ]

    def test_one_line_is_traced_with_the_moves_of_its_file(self, store: ContentStore) -> None:
        first = commit(store, {"old": TEXT, "other": "x"})
        second = commit(store, {"old": None, "new/name": replaced(TEXT, 2, "two\n")}, first)
        third = commit(store, {"new/name": None, "newer": "0\n" + replaced(TEXT, 2, "two\n")}, second)
        there, back = FileMove(second, "old", "new/name"), FileMove(third, "new/name", "newer")
        assert store.trace(third, "newer", 1) == LineOrigin(third, "newer", 1)
        assert store.trace(third, "newer", 2) == LineOrigin(first, "old", 1, (there, back))
        assert store.trace(third, "newer", 3) == LineOrigin(second, "new/name", 2, (back,))
        assert store.trace(third, "newer", 2, stop=second) == LineOrigin(second, "new/name", 1, (back,))
        for path, line in (("newer", 0), ("newer", 99), ("old", 1)):
            with pytest.raises(ContentError):
                store.trace(third, path, line)

    def test_a_file_that_is_not_there_is_refused(self, store: ContentStore) -> None:
        made = commit(store, {"a/b": "x"})
        for path in ("c", "a", "a/b/c"):
            with pytest.raises(ContentError, match="no file"):
                store.blame(made, path)
        with pytest.raises(ContentError):
            store.blame(CommitId(NOWHERE), "a/b")


class TestReferences:
    def test_a_reference_moves_by_compare_and_set(self, store: ContentStore) -> None:
        one, two = commit(store, {"a": "1"}), commit(store, {"a": "2"})
        name = "refs/runs/r1/tasks/t1"
        assert store.ref(name) is None
        store.set_ref(name, one, expected=None)
        store.set_ref(name, one, expected=None)
        with pytest.raises(VersionConflict):
            store.set_ref(name, two, expected=None)
        with pytest.raises(VersionConflict):
            store.set_ref(name, two, expected=CommitId(NOWHERE))
        assert store.ref(name) == one
        store.set_ref(name, two, expected=one)
        assert store.ref(name) == two

    def test_it_names_only_what_is_there(self, store: ContentStore) -> None:
        with pytest.raises(ObjectMissing):
            store.set_ref("refs/runs/r/head", CommitId(NOWHERE), expected=None)

    @pytest.mark.parametrize(
        "name", ["HEAD", "refs/../config", "refs/runs/a b", "refs/runs/x.lock", "/refs/runs/x", "config"]
    )
    def test_names_outside_refs_are_refused(self, store: ContentStore, name: str) -> None:
        made = commit(store, {"a": "1"})
        with pytest.raises(ContentError, match="no reference name"):
            store.set_ref(name, made, expected=None)
        with pytest.raises(ContentError, match="no reference name"):
            store.ref(name)

    def test_a_name_in_another_s_way_is_refused(self, store: ContentStore) -> None:
        made = commit(store, {"a": "1"})
        store.set_ref("refs/runs/r/head", made, expected=None)
        for name in ("refs/runs/r", "refs/runs/r/head/below"):
            assert store.ref(name) is None
            with pytest.raises(ContentError):
                store.set_ref(name, made, expected=None)

    @ON_DISK
    def test_references_packed_by_hand_are_still_seen(self, store: ContentStore, tmp_path: Path) -> None:
        made = commit(store, {"a": "1"})
        store.set_ref("refs/runs/r/head", made, expected=None)
        subprocess.run(["git", "-C", str(tmp_path / "content.git"), "pack-refs", "--all"], check=True)
        assert store.ref("refs/runs/r/head") == made
        later = commit(store, {"a": "2"}, made)
        store.set_ref("refs/runs/r/head", later, expected=made)
        assert store.ref("refs/runs/r/head") == later

    @ON_DISK
    def test_of_many_threads_and_processes_each_step_is_won_by_one(self, store: ContentStore, tmp_path: Path) -> None:
        counter = commit(store, {"count": "0"})
        store.set_ref("refs/runs/r/count", counter, expected=None)
        context = multiprocessing.get_context("spawn")
        children = [context.Process(target=count_up, args=(tmp_path / "content.git", 10)) for _ in range(2)]
        for child in children:
            child.start()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count_up_with, [store] * 4, [5] * 4, ["a", "b", "c", "d"]))
        for child in children:
            child.join()
            assert child.exitcode == 0
        head = store.ref("refs/runs/r/count")
        assert head is not None
        assert content(store, store.tree_of(head)) == {"count": "40"}


def count_up(folder: Path, times: int) -> None:
    count_up_with(GitContentStore(folder), times, f"process {os.getpid()}")


def count_up_with(store: ContentStore, times: int, who: str) -> None:
    done = 0
    while done < times:
        head = store.ref("refs/runs/r/count")
        assert head is not None
        count = int(store.read(store.entries(store.tree_of(head))["count"].blob))
        try:
            made = commit(store, {"count": str(count + 1)}, head, message=who)
            store.set_ref("refs/runs/r/count", made, expected=head)
        except VersionConflict:
            continue
        done += 1
