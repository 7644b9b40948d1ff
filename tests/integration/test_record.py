"""Any program recorded: every state that it left can be brought back, its output and end are told, and the user's tree is its own."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from projects import Project, a_project, assert_untouched, files_in, files_of, git, state_of

PROGRAM = Path(__file__).with_name("eventful.py")
FILES = {
    "prices.py": "def total(items):\n    return sum(items)\n",
    "README.md": "Call `total()`.\n",
    ".gitignore": "*.log\nbuild/\n",
    "sub/inner.txt": "inner\n",
}


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return a_project(tmp_path, FILES)


def record(shop: Project, *words: str) -> Any:
    """What is told of the recording of a program; it must have ended well."""
    said = shop("record", "--repo", str(shop.folder), "--json", *words)
    assert said.status == 0, said
    return said.data


def sh(shop: Project, script: str, *flags: str) -> Any:
    return record(shop, *flags, "--", "sh", "-c", script)


def events(shop: Project, run: str) -> list[Any]:
    return [json.loads(line)["event"] for line in shop("log", run, "--json").out.splitlines()]


def changes(shop: Project, run: str) -> list[Any]:
    return [each["data"] for each in events(shop, run) if each["type"] == "cavalcade.files.changed.v1"]


def is_found_in_order(wanted: Sequence[Any], among: Iterator[Any]) -> bool:
    return all(any(one == other for other in among) for one in wanted)


@pytest.mark.parametrize("where", ["copy", "in place"])
def test_every_state_that_a_program_left_is_on_record_and_can_be_restored(
    shop: Project, tmp_path: Path, where: str
) -> None:
    log, store = tmp_path / "log.jsonl", shop.home / "store"
    shop("record", "--repo", str(shop.folder), "--", "true")  # makes the store
    store.symlink_to(shop.store)
    flags = ("--in-place",) if where == "in place" else ()
    told = record(shop, *flags, "--", sys.executable, str(PROGRAM), str(log), str(store))
    left = [json.loads(line) for line in log.read_text().splitlines()]
    trees = [change["tree"] for change in changes(shop, told["run"])]
    kept = [_listed(store, tree) for tree in trees]
    assert is_found_in_order(left, iter(kept))
    assert kept[-1] == left[-1]
    assert told["looks"] == len(kept)
    for number in (0, len(left) // 2, len(left) - 1):
        tree = trees[kept.index(left[number])]
        version = next(
            index
            for index, event in enumerate(events(shop, told["run"]), start=1)
            if event["data"].get("tree") == tree and event["type"] == "cavalcade.files.changed.v1"
        )
        into = tmp_path / f"back{number}"
        assert shop("restore", told["run"], "--at", str(version), "--into", str(into)).status == 0
        assert files_in(into) == files_of(store, tree)
    if where == "in place":
        assert {
            path: [mode, _hash(data)] for path, (mode, data) in files_in(shop.folder).items() if ".log" not in path
        } == left[-1]


def _listed(store: Path, tree: str) -> dict[str, list[str]]:
    return {path: [mode, _hash(data)] for path, (mode, data) in files_of(store, tree).items()}


def _hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def test_a_recording_in_a_copy_leaves_the_users_tree_alone_and_makes_a_branch(shop: Project) -> None:
    (shop.folder / "README.md").write_text("not committed\n")
    before = state_of(shop.folder)
    told = sh(shop, "cat README.md >&2; echo more >> prices.py; git status --short >&2")
    assert_untouched(before, shop.folder)
    assert told["branch"] == f"cavalcade/{told['run']}"
    assert shop.git("show", f"{told['branch']}:prices.py").endswith("more\n")
    assert shop.git("show", f"{told['branch']}:README.md") == "not committed\n"
    assert not (shop.home / "cache" / "workspaces" / told["run"]).exists()


def test_a_program_that_changes_nothing_makes_no_branch(shop: Project) -> None:
    told = sh(shop, "cat prices.py > /dev/null; touch README.md; echo > build.log; mkdir build; echo > build/x")
    assert (told["looks"], told["branch"]) == (0, "")
    assert shop.branches() == []


def test_the_copy_is_a_repository_at_the_users_commit_with_the_users_uncommitted_work(shop: Project) -> None:
    (shop.folder / "prices.py").write_text("changed = 1\n")
    (shop.folder / "extra.txt").write_text("untracked\n")
    told = sh(shop, "git log --format=%s; git branch --show-current; git status --short; git commit -qam x || true")
    out = "".join(each["data"].get("text", "") for each in events(shop, told["run"]) if "channel" in each["data"])
    assert out.splitlines()[:4] == ["A shop", "main", " M prices.py", "?? extra.txt"]
    assert shop.git("log", "--format=%s").split("\n")[0] == "A shop"


def test_in_place_writes_nothing_to_git_and_makes_no_branch(shop: Project) -> None:
    before = {name: seen for name, seen in state_of(shop.folder).items() if name.startswith(".git/")}
    told = sh(shop, "echo more >> prices.py", "--in-place")
    after = {name: seen for name, seen in state_of(shop.folder).items() if name.startswith(".git/")}
    assert after == before
    assert (told["looks"], told["branch"], told["in_place"]) == (1, "", True)
    assert (shop.folder / "prices.py").read_text().endswith("more\n")


def test_it_starts_in_the_same_subfolder_of_the_copy(shop: Project) -> None:
    said = shop("record", "--repo", str(shop.folder / "sub"), "--json", "--", "sh", "-c", "cat inner.txt; pwd")
    assert said.status == 0
    assert "inner\n" in said.err
    assert "/workspaces/" in said.err


def test_renames_deletes_and_modes_are_told_as_such(shop: Project) -> None:
    told = sh(
        shop, "git mv prices.py costs.py; rm README.md; chmod +x sub/inner.txt; ln -s costs.py link", "--in-place"
    )
    statuses = {
        (c["status"], c.get("old_path", ""), c["path"]) for each in changes(shop, told["run"]) for c in each["paths"]
    }
    whole = {("R", "prices.py", "costs.py"), ("D", "", "README.md"), ("T", "", "sub/inner.txt"), ("A", "", "link")}
    split = {("A", "", "costs.py"), ("D", "", "prices.py")}  # when a look fell between the two halves
    assert whole <= statuses or (whole - {("R", "prices.py", "costs.py")}) | split <= statuses


def test_a_burst_of_a_hundred_files_is_complete_and_few_looks(shop: Project) -> None:
    script = "import pathlib\nfor n in range(100): pathlib.Path(f'f{n}.txt').write_text(str(n))"
    told = record(shop, "--", sys.executable, "-c", script)
    tree = files_of(shop.store, told["tree"])
    assert {path for path in tree if path.startswith("f")} == {f"f{n}.txt" for n in range(100)}
    assert told["looks"] < 100


def test_more_paths_than_an_event_has_room_for_are_counted(shop: Project) -> None:
    script = "import pathlib\nfor n in range(900): pathlib.Path(f'a-rather-long-name-of-a-file-{n}.txt').touch()"
    told = record(shop, "--", sys.executable, "-c", script)
    assert sum(len(each["paths"]) + each.get("more", 0) for each in changes(shop, told["run"])) == 900


def test_the_exit_status_is_the_programs_and_128_more_than_a_signal(shop: Project) -> None:
    assert shop("record", "--repo", str(shop.folder), "--", "sh", "-c", "exit 7").status == 7
    assert shop("record", "--repo", str(shop.folder), "--", "sh", "-c", "kill -9 $$").status == 137
    run = shop("runs", "--repo", str(shop.folder), "--json").data[-1]
    assert run["phase"] == "completed"
    assert shop("show", run["run"], "--json").data["recording"]["exit_status"] == -9


def test_a_program_that_is_not_there_is_said_and_the_recording_ended(shop: Project) -> None:
    said = shop("record", "--repo", str(shop.folder), "--", "no-such-program")
    assert said.status == 8
    assert "no-such-program can't be started" in said.err
    assert shop("show", "last", "--json").data["phase"] == "completed"


def test_output_goes_through_apart_and_is_on_record(shop: Project) -> None:
    script = "printf 'a\\377b'; echo to-stderr >&2; cat"
    command = [sys.executable, "-m", "cavalcade", "record", "--repo", str(shop.folder), "--", "sh", "-c", script]
    done = subprocess.run(command, env=shop.all_environ(), input=b"typed", capture_output=True, check=True)
    assert done.stdout == b"a\xffbtyped"
    assert b"to-stderr\n" in done.stderr
    written = [each["data"] for each in events(shop, "last") if each["type"] == "cavalcade.output.written.v1"]
    assert {each["channel"]: (each["text"], each["size_bytes"]) for each in written} == {
        "stdout": ("a�btyped", 8),
        "stderr": ("to-stderr\n", 10),
    }


def test_much_output_lies_in_the_content_store(shop: Project) -> None:
    record(shop, "--", sys.executable, "-c", "print('x' * 200_000)")
    written = [each["data"] for each in events(shop, "last") if each["type"] == "cavalcade.output.written.v1"]
    assert sum(each["size_bytes"] for each in written) == 200_001
    text = "".join(
        git(shop.store, "cat-file", "blob", each["blob"]) if each.get("blob") else each["text"] for each in written
    )
    assert text == "x" * 200_000 + "\n"


def test_its_run_is_in_the_programs_environment(shop: Project) -> None:
    told = sh(shop, 'printf "%s" "$CAVALCADE_RUN" > run.txt')
    assert files_of(shop.store, told["tree"])["run.txt"][1] == told["run"].encode()


def test_secrets_in_output_are_marked_also_where_they_come_in_pieces(shop: Project) -> None:
    secret = "hk-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"
    script = 'printf "key: hk-4f9a8b7c6d5e"; sleep 0.4; printf "4f3a2b1c0d9e8f7a6b5c\n"; echo done'
    said = shop("record", "--repo", str(shop.folder), "--", "sh", "-c", script, SHOP_API_KEY=secret)
    assert said.status == 0
    assert secret in said.out, "what the program writes is passed on untouched"
    written = "".join(event["data"].get("text", "") for event in events(shop, "last"))
    assert written == "key: [redacted:configured:SHOP_API_KEY]\ndone\n"


def test_another_repository_below_and_its_files_are_left_out(shop: Project) -> None:
    told = sh(shop, "git init -q other; echo x > other/file; echo y > seen.txt")
    assert [path for path in files_of(shop.store, told["tree"]) if path.startswith("other")] == []
    assert "seen.txt" in files_of(shop.store, told["tree"])


def test_a_tracked_file_is_recorded_though_it_is_ignored(tmp_path: Path) -> None:
    shop = a_project(tmp_path, {"kept.log": "1\n", "build/kept": "1\n", "a.txt": "\n"})
    (shop.folder / ".gitignore").write_text("*.log\nbuild/\n")
    told = sh(shop, "echo 2 >> kept.log; echo 2 >> build/kept; echo 2 > build/new; echo 2 > new.log")
    tree = files_of(shop.store, told["tree"])
    assert tree["kept.log"][1] == tree["build/kept"][1] == b"1\n2\n"
    assert not {"build/new", "new.log"} & set(tree)


def test_what_was_ignored_is_recorded_once_it_is_not(shop: Project) -> None:
    told = sh(shop, "echo 1 > a.log; echo > .gitignore")
    assert "a.log" in files_of(shop.store, told["tree"])


def test_line_ends_are_kept_as_git_keeps_them(tmp_path: Path) -> None:
    shop = a_project(tmp_path, {".gitattributes": "*.txt text eol=crlf\n", "a.txt": "one\n"})
    (shop.folder / "a.txt").write_bytes(b"one\r\n")
    told = sh(shop, "printf 'one\\r\\ntwo\\r\\n' > a.txt", "--in-place")
    assert files_of(shop.store, told["tree"])["a.txt"][1] == b"one\ntwo\n"


def test_why_names_the_recording_that_made_a_line_merged_or_in_place(shop: Project) -> None:
    told = sh(shop, "echo 'price = 1' >> prices.py")
    shop.git("merge", "-q", told["branch"])
    why = shop("why", "prices.py:3", "--repo", str(shop.folder), "--json").data
    assert (why["kind"], why["recorded"]["run"]) == ("recorded", told["run"])
    assert why["recorded"]["hunk"] == "+price = 1"
    placed = sh(shop, "echo 'tax = 2' >> prices.py", "--in-place")
    for commit in (False, True):
        if commit:
            shop.git("commit", "-qam", "by hand")
        why = shop("why", "prices.py:4", "--repo", str(shop.folder), "--json").data
        assert why["recorded"]["run"] == placed["run"]
        assert why["recorded"]["command"][0] == "sh"
    assert shop("why", "prices.py:1", "--repo", str(shop.folder), "--json").data["kind"] == "git"
    said = shop("why", "prices.py:4", "--repo", str(shop.folder))
    assert "recorded" in said.out
    assert "tax = 2" in said.out


def test_recordings_are_listed_shown_compared_and_reported_like_runs(shop: Project) -> None:
    told = sh(shop, "echo 1 >> prices.py; echo hello")
    (line,) = shop("runs", "--repo", str(shop.folder), "--json").data
    assert (line["run"], line["phase"], line["branch"]) == (told["run"], "completed", told["branch"])
    shown = shop("show", told["run"])
    assert "echo hello" in shown.out
    assert "1 state" in shown.out
    assert "+1\n" in shop("diff", told["run"]).out
    assert "hello" in shop("log", told["run"]).out
    assert shop("restore", told["run"], "--at", "last", "--branch", "back").status == 0


@pytest.mark.parametrize("command", ["approve", "abort"])
def test_what_is_for_plans_is_refused(shop: Project, command: str) -> None:
    sh(shop, "true")
    assert shop(command, "last").status == 4


def test_outside_of_a_repository_nothing_is_started(tmp_path: Path, shop: Project) -> None:
    said = shop("record", "--repo", str(tmp_path), "--", "touch", str(tmp_path / "started"))
    assert said.status == 5
    assert not (tmp_path / "started").exists()
