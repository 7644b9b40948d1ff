"""Attacks on the fence where it is written, as a guest in the sandbox. (Where a change is stored: `test_gates_fence`.)

Bug class this catches: a path that says one thing and reaches another; something that stays though it was outside.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_kit import HOME, LIMITS, PYTHON, opened, python_command

from cavalcade.gates.boundary import Boundary, run_fenced
from cavalcade.kernel.errors import UsageError
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.port import Command, Sandbox

FILES = {
    "src/a.py": "a",
    "src/b.py": "b",
    "src/deep/c.py": "c",
    "src/deep/.env": "KEY=planted",
    "docs/guide.md": "guide",
    ".github/workflows/ci.yml": "ci",
    "uv.lock": "lock",
    ".git/config": "[core]",
    ".gitattributes": "* text",
    "README.md": "readme",
}


@pytest.fixture
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await opened(tmp_path_factory.getbasetemp() / "sandbox-verdict")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "link.md").symlink_to("docs/guide.md")
    return folder


def tree(workspace: Path) -> dict[str, str]:
    """Path to text, or to `-> target` for a link; empty folders as well."""
    found: dict[str, str] = {}
    for base, folders, files in os.walk(workspace):
        for name in (*folders, *files):
            path = Path(base, name)
            key = str(path.relative_to(workspace))
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[key] = path.read_text()
            elif not path.is_dir():
                found[key] = "special"
            elif not any(path.iterdir()):
                found[key] = "empty folder"
    return found


def attack(code: str) -> str:
    body = "\n".join(f"    {line}" for line in code.splitlines())
    return f"import os, shutil, socket\ntry:\n{body}\n    print('done')\nexcept OSError as error:\n    print('stopped', error.errno)"


HELD = {
    "writes beside": "open('src/b.py', 'w')",
    "appends beside": "open('README.md', 'a')",
    "removes beside": "os.unlink('src/b.py')",
    "makes beside": "open('new', 'w')",
    "truncates beside": "os.truncate('src/b.py', 0)",
    "changes a mode": "os.chmod('src/b.py', 0o777)",
    "moves over a neighbour": "os.rename('src/a.py', 'src/b.py')",
    "goes by dots": "open('src/../docs/guide.md', 'w')",
    "goes by its own process": "open('/proc/self/cwd/docs/guide.md', 'w')",
    "goes by a link that is there": "open('link.md', 'w')",
    "makes a link in temporary storage": "os.symlink('/sandbox/docs/guide.md', '/tmp/l')\nopen('/tmp/l', 'w')",
    "makes a second name in temporary storage": "os.link('docs/guide.md', '/tmp/g')\nopen('/tmp/g', 'w')",
    "writes to git's folder": "open('.git/config', 'a')",
    "plants a hook": "os.makedirs('.git/hooks')",
    "changes CI": "open('.github/workflows/ci.yml', 'w')",
    "changes a lock file": "open('uv.lock', 'w')",
    "changes a secret": "open('src/deep/.env', 'w')",
}


@pytest.mark.parametrize("name", HELD)
async def test_with_one_file_allowed_the_mount_holds_all_else(name: str, sandbox: Sandbox, workspace: Path) -> None:
    before = tree(workspace)
    command = python_command(workspace, attack(HELD[name]))
    result, outside = await run_fenced(sandbox, command, LIMITS, ["src/a.py"])
    assert result.stdout.startswith(b"stopped"), result
    assert outside == ()
    assert tree(workspace) == before


async def test_what_is_allowed_can_be_written(sandbox: Sandbox, workspace: Path) -> None:
    code = attack(
        "open('src/a.py', 'w').write('new')\nos.makedirs('docs/more')\nopen('docs/more/x.md', 'w').write('x')"
    )
    allowed = ["src/a.py", "docs/**", "uv.lock"]
    result, outside = await run_fenced(sandbox, python_command(workspace, code), LIMITS, allowed)
    assert (result.stdout, outside) == (b"done\n", ())
    assert (workspace / "src/a.py").read_text() == "new"
    assert (workspace / "docs/more/x.md").read_text() == "x"


async def test_a_file_that_is_named_is_opened_though_it_is_protected(sandbox: Sandbox, workspace: Path) -> None:
    code = attack("open('uv.lock', 'w').write('new')\nopen('.github/workflows/ci.yml', 'w').write('new')")
    allowed = ["**", "uv.lock", ".github/workflows/ci.yml"]
    result, outside = await run_fenced(sandbox, python_command(workspace, code), LIMITS, allowed)
    assert (result.stdout, outside) == (b"done\n", ())
    assert (workspace / "uv.lock").read_text() == (workspace / ".github/workflows/ci.yml").read_text() == "new"


async def test_a_new_file_is_made_and_its_neighbours_stay_read_only(sandbox: Sandbox, workspace: Path) -> None:
    code = attack("open('src/new.py', 'w').write('new')") + "\n" + attack("open('src/b.py', 'w').write('x')")
    result, outside = await run_fenced(sandbox, python_command(workspace, code), LIMITS, ["src/new.py"])
    assert result.stdout.startswith(b"done\nstopped")
    assert outside == ()
    assert (workspace / "src/new.py").read_text() == "new"


async def test_a_new_file_in_new_folders_is_made(sandbox: Sandbox, workspace: Path) -> None:
    code = attack(
        "os.makedirs('src/one/two')\nopen('src/one/two/new.py', 'w').write('new')\nopen('src/one/other', 'w')"
    )
    result, outside = await run_fenced(sandbox, python_command(workspace, code), LIMITS, ["src/one/two/new.py"])
    assert (result.stdout, outside) == (b"done\n", ("src/one/other",))
    assert (workspace / "src/one/two/new.py").read_text() == "new"


UNDONE = {
    "a file beside the new one": (["src/new.py"], "open('src/other.py', 'w')", "src/other.py"),
    "a folder beside the new one": (["src/new.py"], "os.makedirs('src/x/y')", "src/x"),
    "a git folder": (["**"], "os.makedirs('src/.git/hooks')\nopen('src/.git/hooks/post-checkout', 'w')", "src/.git"),
    "a git folder in capitals": (["src/**"], "os.makedirs('src/.GIT')\nopen('src/.GIT/config', 'w')", "src/.GIT/config"),
    "a git folder with a character that is left out": (["src/**"], "os.mkdir('src/.g\\u200cit')", "src/.g\u200cit"),
    "a git folder by its short name": (["src/**"], "os.mkdir('src/GIT~1')", "src/GIT~1"),
    "a new secret": (["**"], "open('src/.env', 'w')", "src/.env"),
    "a new secret in capitals": (["**"], "open('src/.ENV', 'w')", "src/.ENV"),
    "a new secret in wide letters": (["**"], "open('src/.\\uff45nv', 'w')", "src/.\uff45nv"),
    "a new lock file": (["**"], "open('poetry.lock', 'w')", "poetry.lock"),
    "a new workflow": (["**"], "open('.github/workflows/own.yml', 'w')", ".github/workflows/own.yml"),
    "a link for a secret": (["**"], "os.symlink('/etc/passwd', 'src/.env')", "src/.env"),
    "a pipe": (["**"], "os.mkfifo('src/pipe')", "src/pipe"),
    "a socket": (["**"], "socket.socket(socket.AF_UNIX).bind('src/sock')", "src/sock"),
    "a secret moved with its folder": (["**"], "os.rename('src/deep', 'src/moved')", "src/deep/.env"),
    "a secret replaced by moving": (
        ["**"],
        "os.rename('src/deep', 'src/moved')\nos.mkdir('src/deep')\nopen('src/deep/.env', 'w').write('forged')",
        "src/deep/.env",
    ),
    "a link in place of a secret's folder": (
        ["**"],
        "os.rename('src/deep', 'src/moved')\nos.symlink('/tmp', 'src/deep')",
        "src/deep/.env",
    ),
    "CI moved away": (["**"], "os.rename('.github', 'github')", ".github/workflows/ci.yml"),
    "a link replaced": (["new"], "os.unlink('link.md')\nos.symlink('/etc/passwd', 'link.md')", "link.md"),
    "a link removed": (["new"], "os.unlink('link.md')", "link.md"),
    "a second name beside": (["src/new.py"], "open('src/new.py', 'w')\nos.link('src/new.py', 'src/second')", "src/second"),
    "a folder that can't be entered": (["src/new.py"], "os.makedirs('src/x/y')\nos.chmod('src/x', 0)", "src/x"),
    "folders too deep to be named": (["src/**"], "os.chdir('src')\nfor _ in range(280): os.mkdir('d'); os.chdir('d')", "src" + "/d" * 200),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDONE)
async def test_what_a_mount_can_t_hold_is_undone(name: str, sandbox: Sandbox, workspace: Path) -> None:
    allowed, code, path = UNDONE[name]
    result, outside = await run_fenced(sandbox, python_command(workspace, attack(code)), LIMITS, allowed)
    assert result.stdout == b"done\n", result
    assert path in outside
    after = tree(workspace)
    protected = ("src/deep/.env", ".github/workflows/ci.yml", "uv.lock", ".git/config", ".gitattributes")
    assert {name: after[name] for name in protected} == {name: FILES[name] for name in protected}
    assert after["link.md"] == "-> docs/guide.md"
    assert path in FILES or path == "link.md" or path not in after
    assert not any("outside-" in left for left in after)


async def test_it_is_undone_too_when_the_command_meets_a_limit(sandbox: Sandbox, workspace: Path) -> None:
    code = "open('src/other.py', 'w').close()\nwhile True: print('x' * 9999)"
    result, outside = await run_fenced(sandbox, python_command(workspace, code), LIMITS, ["src/new.py"])
    assert (result.hit, outside) == ("output", ("src/other.py",))
    assert not (workspace / "src/other.py").exists()


async def test_a_folder_with_many_neighbours_is_restored_though_they_are_not_mounted(
    sandbox: Sandbox, workspace: Path
) -> None:
    for number in range(600):
        (workspace / f"docs/{number}").write_text(str(number))
    code = attack("os.unlink('docs/5')\nopen('docs/6', 'w').write('changed')\nopen('docs/new', 'w').write('n')")
    result, outside = await run_fenced(sandbox, python_command(workspace, code), LIMITS, ["docs/new"])
    assert (result.stdout, outside) == (b"done\n", ("docs/5", "docs/6"))
    assert [(workspace / f"docs/{name}").read_text() for name in ("5", "6", "new")] == ["5", "6", "n"]


def test_a_file_with_a_second_name_is_not_opened(workspace: Path) -> None:
    os.link(workspace / "src/a.py", workspace / "src/same.py")
    with pytest.raises(UsageError, match="hard link"):
        Boundary(workspace, ["src/a.py"])


PATHS = ["../outside", "/etc", "src/../../x", "missing", "link.md", "via/x", ""]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["writable", "read_only"])
async def test_a_part_that_is_none_of_the_workspace_is_refused(
    kind: str, path: str, sandbox: Sandbox, workspace: Path, tmp_path: Path
) -> None:
    """A mount would open what a link leads to."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x").write_text("x")
    (workspace / "via").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError):
        await sandbox.run(replace(python_command(workspace, ""), **{kind: (path,)}), LIMITS)


async def test_the_innermost_part_decides_and_read_only_counts_when_both_are_named(
    sandbox: Sandbox, workspace: Path
) -> None:
    code = "import os\nprint([p for p in ('.', 'src', 'src/deep', 'src/deep/c.py', 'docs') if os.access(p, os.W_OK)])"
    command = Command(
        argv=(str(PYTHON), "-I", "-c", code),
        workspace=workspace,
        readable=interpreter_roots(PYTHON, home=HOME),
        writable=("src", "docs", "src/deep/c.py"),
        read_only=("src/deep", "docs"),
    )
    assert (await sandbox.run(command, LIMITS)).stdout == b"['src', 'src/deep/c.py']\n"
