"""Credentials lent to a command. Bug class this catches: a value that gets in unasked, comes out, or is recorded."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox_kit import LIMITS, opened, python_command

from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.redaction import Redactor
from cavalcade.sandbox.brokering import Broker, Brokered, mask_files
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox, SecretRef, Told

VALUE = "q7Zt/x9+LmWc2=RbVd8Ks"
CONFIGURED = {"DEPLOY_TOKEN": VALUE, "OTHER_TOKEN": "never-lent-0a8f6c2b", "SHORT": "abc", "WORDY": "password"}
TOLD = list[tuple[str, bytes]]


@pytest.fixture
async def bare(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await opened(tmp_path_factory.getbasetemp() / "sandbox-verdict")


@pytest.fixture
def sandbox(bare: Sandbox) -> Brokered:
    return Brokered(bare, Broker(CONFIGURED), Redactor({}))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


async def lent(sandbox: Sandbox, workspace: Path, code: str, **more: object) -> tuple[Result, TOLD]:
    told: TOLD = []
    command = python_command(workspace, code, secrets={"TOKEN": SecretRef("DEPLOY_TOKEN")}, **more)
    result = await sandbox.run(command, LIMITS, told=lambda channel, data: told.append((channel, data)))
    assert b"".join(data for channel, data in told if channel == "stdout") == result.stdout
    assert b"".join(data for channel, data in told if channel == "stderr") == result.stderr
    return result, told


async def test_the_command_gets_the_value_and_nothing_else_of_what_is_configured(
    sandbox: Sandbox, workspace: Path
) -> None:
    code = (
        "import hashlib, os\nprint(hashlib.sha256(os.environ['TOKEN'].encode()).hexdigest()[:20])\n"
        "print('OTHER_TOKEN' in os.environ, 'DEPLOY_TOKEN' in os.environ)"
    )
    result, _ = await lent(sandbox, workspace, code)
    assert result.stdout.decode().split() == [hashlib.sha256(VALUE.encode()).hexdigest()[:20], "False", "False"]


async def test_a_command_that_names_none_gets_none(sandbox: Sandbox, workspace: Path) -> None:
    result = await sandbox.run(python_command(workspace, "import os\nprint('TOKEN' in os.environ)"), LIMITS)
    assert result.stdout == b"False\n"


async def test_a_sandbox_by_itself_lends_none(bare: Sandbox, workspace: Path) -> None:
    result, _ = await lent(bare, workspace, "import os\nprint('TOKEN' in os.environ)")
    assert result.stdout == b"False\n"


WAYS: dict[str, tuple[str, Callable[[str], str]]] = {
    "as it is": ("print(t)", str),
    "in standard error": ("print(t, file=sys.stderr)", str),
    "letter by letter": ("for c in t: os.write(1, c.encode())\nprint()", str),
    "without an end of line": ("os.write(1, t.encode())", str),
    "by a child": ("subprocess.run(['/bin/sh', '-c', 'echo $TOKEN; echo $TOKEN >&2'])", str),
    "by a daemon": ("os.fork() or (os.setsid(), print(t, flush=True), os._exit(0))\nos.wait()", str),
    "in base64": ("print(base64.b64encode(b'user: ' + t.encode()).decode())", lambda v: base64.b64encode(v.encode()).decode()[:20]),
    "URL-encoded": ("print('https://h/?t=' + urllib.parse.quote(t, safe=''))", lambda v: urllib.parse.quote(v, safe="")),
    "as JSON": ("print(json.dumps({'a': json.dumps({'t': t})}))", str),
    "in a traceback": ("raise ValueError(t)", str),
    "among bytes that are no text": ("os.write(1, b'\\xff\\xfe' + t.encode() + b'\\xff\\n')", str),
    "behind much else": ("print('x' * 70000 + ' ' + t + ' ' + 'y' * 70000)", str),
}  # fmt: skip


@pytest.mark.parametrize("name", WAYS)
async def test_the_value_does_not_come_out(name: str, sandbox: Sandbox, bare: Sandbox, workspace: Path) -> None:
    """The same code under the sandbox alone, with the value as a plain variable, does print it."""
    body, written = WAYS[name]
    code = "import base64, json, os, subprocess, sys, urllib.parse\nt = os.environ['TOKEN']\n" + body
    control = await bare.run(python_command(workspace, code, env={"TOKEN": VALUE}), LIMITS)
    assert written(VALUE).encode() in control.stdout + control.stderr
    result, told = await lent(sandbox, workspace, code)
    assert told
    assert written(VALUE).encode() not in result.stdout + result.stderr
    assert b"[redacted:configured:TOKEN]" in result.stdout + result.stderr


async def test_a_value_of_several_lines_is_masked_line_by_line(bare: Sandbox, workspace: Path) -> None:
    lines = ["kd83jLq0vbE2", "Zz91mwQp44tY"]
    sandbox = Brokered(bare, Broker({"DEPLOY_TOKEN": "\n".join(lines)}), Redactor({}))
    code = "import os\nfor l in os.environ['TOKEN'].splitlines(): print(l, flush=True)"
    result, _ = await lent(sandbox, workspace, code)
    assert result.stdout
    assert not any(line.encode() in result.stdout for line in lines)


def test_a_file_that_is_too_large_to_look_into_is_removed(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(65 << 20)
    mask_files(tmp_path, Redactor({}))
    assert list(tmp_path.iterdir()) == []


class Speaks:
    """A sandbox that runs nothing and tells given pieces."""

    name = "speaks"

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def describe(self) -> dict[str, str]:
        return {}

    async def run(self, command: Command, limits: Limits, *, told: Told | None = None) -> Result:
        for piece in self._pieces:
            if told:
                told("stdout", piece)
        return Result(
            exit_code=0, signal=0, hit="", stdout=b"".join(self._pieces), stderr=b"", duration_s=0, peak_rss_bytes=0
        )


@pytest.mark.parametrize("cut", range(len(VALUE) + 1))
async def test_a_value_across_the_border_of_two_pieces_is_masked(cut: int, tmp_path: Path) -> None:
    before, after = VALUE[:cut].encode(), VALUE[cut:].encode()
    sandbox = Brokered(Speaks([b"a\n\xc3" + before, after + b"\nz\n"]), Broker(CONFIGURED), Redactor({}))
    result, _ = await lent(sandbox, tmp_path, "")
    assert result.stdout == b"a\n\xc3[redacted:configured:TOKEN]\nz\n"


async def test_a_value_told_byte_by_byte_is_masked(tmp_path: Path) -> None:
    text = f"é {VALUE} é".encode()
    sandbox = Brokered(Speaks([text[n : n + 1] for n in range(len(text))]), Broker(CONFIGURED), Redactor({}))
    assert (await lent(sandbox, tmp_path, ""))[0].stdout == "é [redacted:configured:TOKEN] é".encode()


async def test_files_of_results_are_masked_and_no_link_is_followed(
    sandbox: Sandbox, workspace: Path, tmp_path: Path
) -> None:
    results, outside = tmp_path / "results", tmp_path / "outside"
    results.mkdir()
    outside.write_text(f"here {VALUE}")
    code = (
        "import os\nos.makedirs('/results/a/b')\nt = os.environ['TOKEN']\nopen('/results/a/b/report', 'w').write('x ' + t + ' y')\n"
        f"os.symlink({str(outside)!r}, '/results/link')\nopen('/results/plain', 'wb').write(b'\\xff\\x00')"
    )
    await lent(sandbox, workspace, code, results=results)
    assert (results / "a/b/report").read_text() == "x [redacted:configured:TOKEN] y"
    assert (results / "plain").read_bytes() == b"\xff\x00"
    assert outside.read_text() == f"here {VALUE}"


async def test_the_command_and_its_result_hold_the_reference_never_the_value(sandbox: Sandbox, workspace: Path) -> None:
    command = python_command(
        workspace, "import os\nprint(os.environ['TOKEN'])", secrets={"TOKEN": SecretRef("DEPLOY_TOKEN")}
    )
    result = await sandbox.run(command, LIMITS)
    assert "DEPLOY_TOKEN" in repr(command)
    assert VALUE not in repr(command) + repr(result) + repr(sandbox.describe())


@pytest.mark.parametrize("reference", ["MISSING", "SHORT", "WORDY"])
async def test_what_is_not_there_or_could_not_be_masked_is_not_lent(
    reference: str, sandbox: Sandbox, workspace: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        await sandbox.run(python_command(workspace, "", secrets={"TOKEN": SecretRef(reference)}), LIMITS)
    assert reference in str(caught.value)
    assert CONFIGURED.get(reference, "-") not in str(caught.value).replace("password, number", "")


async def test_a_variable_is_not_set_twice(sandbox: Sandbox, workspace: Path) -> None:
    command = python_command(workspace, "", env={"TOKEN": "x"}, secrets={"TOKEN": SecretRef("DEPLOY_TOKEN")})
    with pytest.raises(UsageError, match="set twice"):
        await sandbox.run(command, LIMITS)


async def test_the_value_is_on_no_command_line_of_this_machine(sandbox: Sandbox, workspace: Path) -> None:
    lines: list[bytes] = []

    def look(channel: str, data: bytes) -> None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(entry.read_bytes())
            except OSError:
                continue
        (workspace / "go").touch()

    code = "import os\nprint('up', flush=True)\nwhile not os.path.exists('go'): pass\nprint(os.environ['TOKEN'])"
    command = python_command(workspace, code, secrets={"TOKEN": SecretRef("DEPLOY_TOKEN")})
    await sandbox.run(command, LIMITS, told=look)
    assert any(b"os.path.exists" in line for line in lines)
    assert not any(VALUE.encode() in line for line in lines)


def environment_inside(workspace: Path) -> Command:
    return python_command(workspace, "import os\nprint('\\n'.join(f'{k}={v}' for k, v in sorted(os.environ.items())))")


CALLER = """
import asyncio, os, sys
from pathlib import Path
from sandbox_kit import LIMITS, opened
from test_sandbox_secrets import environment_inside
async def main():
    sandbox = await opened(Path(sys.argv[1]) / 'verdict')
    (Path(sys.argv[1]) / 'w').mkdir()
    print((await sandbox.run(environment_inside(Path(sys.argv[1]) / 'w'), LIMITS)).stdout.decode())
asyncio.run(main())
"""


def test_the_environment_inside_is_built_from_nothing(tmp_path: Path) -> None:
    """The caller's own has credentials, loader settings and a proxy."""
    planted = {
        "OPENAI_API_KEY": VALUE,
        "AWS_SECRET_ACCESS_KEY": VALUE,
        "PLANTED": VALUE,
        "HTTPS_PROXY": f"http://{VALUE}",
        "BASH_ENV": VALUE,
    }
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": path, **planted}
    done = subprocess.run(
        [sys.executable, "-c", CALLER, str(tmp_path)], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert VALUE not in done.stdout
    names = {line.partition("=")[0] for line in done.stdout.split("\n") if line}
    assert names == {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "TMPDIR", "USER"}
