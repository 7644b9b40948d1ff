"""Bug class: an edit writes where it must not, or what is dangerous to check out."""

from __future__ import annotations

import json

import pytest

from cavalcade.gates.fence import FenceGate
from cavalcade.gates.port import Judgement, Question
from cavalcade.testing.trees import File, MemoryTree

LINK = 0o120000


async def judge(
    before: dict[str, File],
    after: dict[str, File],
    allowed: list[str] | None = None,
    paths: tuple[str, ...] | None = None,
) -> Judgement:
    reader = MemoryTree()
    config = {} if allowed is None else {"fence.allowed": json.dumps(allowed)}
    asked = tuple({*before, *after}) if paths is None else paths
    return await FenceGate().judge(Question(reader.tree(before), reader.tree(after), asked, config), reader)


def codes(judgement: Judgement) -> set[str]:
    return {finding.code for finding in judgement.findings}


@pytest.mark.parametrize(
    ("path", "allowed", "inside"),
    [
        ("src/a.py", ["src/a.py"], True),
        ("src/a.py", ["src/**"], True),
        ("src/deep/er/a.py", ["src/**"], True),
        ("anything", ["**"], True),
        ("src/a.py", [], False),
        ("src/a.py", ["src/a.p"], False),
        ("srcs/a.py", ["src/**"], False),
        ("src", ["src/**"], False),
        ("src/a.py", ["src/*"], False),
        ("src/b.py", ["src/a.py"], False),
        ("src/a.py", ["SRC/a.py"], False),
    ],
)
async def test_only_exact_paths_and_folder_patterns_let_through(path: str, allowed: list[str], inside: bool) -> None:
    assert ("outside-fence" not in codes(await judge({}, {path: "x"}, allowed))) is inside


async def test_without_a_setting_nothing_is_allowed() -> None:
    assert codes(await judge({"a": "1"}, {"a": "2"})) == {"outside-fence"}


async def test_changes_that_the_caller_did_not_list_are_judged_too() -> None:
    judgement = await judge({"a": "1", "b": "1"}, {"a": "2", "b": "2"}, ["a"], paths=("a",))
    assert [(finding.path, finding.code) for finding in judgement.findings] == [("b", "outside-fence")]


async def test_a_removal_is_a_change() -> None:
    assert codes(await judge({"a": "1", "b": "1"}, {"a": "1"}, ["a"])) == {"outside-fence"}


@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../x", "/etc/passwd", "a//b", "./a", "a/.", "", "C:/x", "c:x", "\\x", "a\\..\\b", "a\nb", "a\0b", "x" * 5000,
        ".git/config", "sub/.git/hooks/x", ".GIT/config", ".Git/x", "git~1/x", "GIT~1/config", ".git /x", ".git./x", ".git. . /x",
        ".git::$INDEX_ALLOCATION/x", ".git:stream/x", ".g\u200cit/config", ".\ufeffgit/x", "\u202e.git/x", "a\\.git\\config",
    ],
)  # fmt: skip
async def test_a_path_that_could_leave_the_tree_or_enter_git_is_refused_even_when_allowed(path: str) -> None:
    assert "malformed-path" in codes(await judge({}, {path: "x"}, [path, "**"]))
    assert "malformed-path" in codes(await judge({}, {}, [path, "**"], paths=(path,)))


@pytest.mark.parametrize(
    "path",
    [
        ".gitmodules", ".gitattributes", "sub/.gitattributes", ".github/workflows/ci.yml", ".GitHub/workflows/x.yml", ".gitlab-ci.yml",
        ".circleci/config.yml", "Jenkinsfile", ".ci/run", "uv.lock", "poetry.lock", "web/package-lock.json", "Cargo.lock", "go.sum",
        ".env", ".env.production", "prod.env", "deploy/server.pem", "id_rsa", "id_ed25519.pub", "keys/id_work", ".netrc",
        "home/.ssh/config", ".ssh/known_hosts", ".aws/credentials", ".npmrc",
    ],
)  # fmt: skip
async def test_protected_files_need_their_exact_name(path: str) -> None:
    assert codes(await judge({}, {path: "x"}, ["**"])) == {"protected"}
    assert (await judge({}, {path: "x"}, [path])).verdict == "passed"


@pytest.mark.parametrize(
    "path", ["id_map.py", "src/identity.py", ".env.example", "locks.py", "environment.py", ".gitkeep", "ci.py"]
)
async def test_names_that_only_resemble_protected_ones_are_free(path: str) -> None:
    assert (await judge({}, {path: "x"}, ["**"])).verdict == "passed"


@pytest.mark.parametrize(
    ("existing", "new"),
    [
        ("src/a.py", "src/A.py"),
        ("src/a.py", "SRC/b.py"),
        ("src/é.py", "src/e\u0301.py"),
        ("src/strasse.py", "src/straße.py"),
        ("src/file.py", "src/\ufb01le.py"),
        ("src/app.py", "src/\u0430pp.py"),
        ("src/scope.py", "src/\u0455\u0441\u043e\u0440\u0435.py"),
        ("src/app.py", "src/a\u200bpp.py"),
        ("src/k.py", "src/\u212a.py"),
    ],
)
async def test_a_new_path_that_can_be_taken_for_another_is_refused(existing: str, new: str) -> None:
    assert "collision" in codes(await judge({existing: "x"}, {existing: "x", new: "y"}, ["**"]))


async def test_two_new_paths_must_not_collide_either() -> None:
    assert codes(await judge({}, {"a.py": "x", "A.py": "y"}, ["**"])) == {"collision"}


async def test_a_file_may_be_renamed_to_another_case_and_old_collisions_stay() -> None:
    assert (await judge({"a.py": "x"}, {"A.py": "x"}, ["**"])).verdict == "passed"
    assert (await judge({"a.py": "x", "A.py": "x"}, {"a.py": "y", "A.py": "x"}, ["**"])).verdict == "passed"


async def test_mixed_alphabets_and_invisible_characters_are_refused_and_other_languages_are_not() -> None:
    assert codes(await judge({}, {"p\u0430yload.py": "x"}, ["**"])) == {"mixed-scripts"}
    assert codes(await judge({}, {"a\u202eyp.b": "x"}, ["**"])) == {"invisible-characters"}
    assert (
        await judge({}, {"docs/отчёт.md": "x", "docs/αβγ.md": "x", "docs/日本.md": "x", "é.md": "x"}, ["**"])
    ).verdict == "passed"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("l", "/etc/passwd"),
        ("l", "../x"),
        ("d/l", "../../x"),
        ("l", "a/../../x"),
        ("l", ".git/config"),
        ("l", "C:\\x"),
        ("l", "..\\x"),
    ],
)
async def test_a_symlink_must_stay_inside(path: str, target: str) -> None:
    assert codes(await judge({}, {path: (target, LINK)}, ["**"])) == {"symlink"}


async def test_a_symlink_inside_is_free_and_one_through_another_is_followed() -> None:
    assert (await judge({}, {"d/l": ("../a", LINK), "a": "x"}, ["**"])).verdict == "passed"
    through: dict[str, File] = {"d/e/f/x": "x", "s": ("d/e/f", LINK), "l": ("s/../../../../x", LINK)}
    assert codes(await judge({}, through, ["**"])) == {"symlink"}
    assert codes(await judge({}, {"a": ("b", LINK), "b": ("a", LINK)}, ["**"])) == {"symlink"}


async def test_a_symlink_that_another_edit_turns_outside_is_found() -> None:
    before: dict[str, File] = {"d/e/x": "x", "s": ("d/e", LINK), "l": ("s/../../y", LINK)}
    after: dict[str, File] = {**before, "s": ("d", LINK)}
    judgement = await judge(before, after, ["s"])
    assert [(finding.path, finding.code) for finding in judgement.findings] == [("l", "symlink")]


async def test_a_file_must_not_become_a_symlink_submodule_or_oddity() -> None:
    assert codes(await judge({"a": "x"}, {"a": ("b", LINK)}, ["**"])) == {"became-symlink"}
    assert codes(await judge({"a": "x"}, {"a": ("b", 0o160000)}, ["**"])) == {"gitlink"}
    assert codes(await judge({}, {"a": ("b", 0o160000)}, ["**"])) == {"gitlink"}
    assert codes(await judge({}, {"a": ("b", 0o104755)}, ["**"])) == {"mode"}
    assert (await judge({"a": "x"}, {"a": ("x", 0o100755)}, ["**"])).verdict == "passed"


async def test_paths_in_the_tree_that_no_one_touches_are_not_judged() -> None:
    odd: dict[str, File] = {".env": "x", "../up": "x", "l": ("/abs", LINK)}
    assert (await judge({**odd, "a": "1"}, {**odd, "a": "2"}, ["a"], paths=("a",))).verdict == "passed"
