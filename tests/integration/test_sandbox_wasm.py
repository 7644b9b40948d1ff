"""Attacks on the WebAssembly sandbox. Bug class this catches: a guest that reaches past the folders it was given, or outlives a limit."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from attacks import GAPS, PRETENDED, REACHES_OUT, attack

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox.choosing import open_sandbox
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox
from cavalcade.sandbox.wasm_guests import PYTHON, Provision, digest_of_file

CACHE = Path(__file__).parent.parent.parent / ".cache" / "sandbox"
"""Kept between runs: the guest is fetched and compiled once."""
LIMITS = Limits(
    wall_s=20,
    cpu_s=10,
    memory_bytes=256 << 20,
    file_bytes=16 << 20,
    disk_bytes=32 << 20,
    files=300,
    output_bytes=1 << 20,
)


@pytest.fixture
async def sandbox() -> Sandbox:
    return await open_sandbox(
        cache=CACHE / "verdicts",
        python=Path(sys.executable),
        home=Path.home(),
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
        asked="wasm",
        needs=frozenset(),
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "workspace").mkdir()
    return tmp_path / "workspace"


@pytest.fixture
def outside() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="outside-"))
    (folder / "id_ed25519").write_text("planted key")
    yield folder
    shutil.rmtree(folder)


async def inside(sandbox: Sandbox, workspace: Path, code: str, limits: Limits = LIMITS) -> Result:
    return await sandbox.run(Command(argv=("python", "-I", "-c", code), workspace=workspace), limits)


async def test_nothing_outside_is_reached_processes_and_sockets_included(
    sandbox: Sandbox, workspace: Path, outside: Path
) -> None:
    """All in one guest: an attack that is stopped ends nothing here."""
    around = {"outside": outside, "pid": os.getpid(), "started": "1", "tcp": 1, "abstract": "x"}
    names = "import os, socket, sys\n"
    code = names + "\n".join(
        f"print({name!r}, end=' ')\ntry:\n"
        + "\n".join(f"    {line}" for line in body.format(**around).splitlines())
        + "\n    print('reached')\nexcept (OSError, AttributeError, AssertionError): print('stopped')"
        for name, body in REACHES_OUT.items()
    )
    before = (outside / "id_ed25519").stat()
    result = await inside(sandbox, workspace, code)
    reached = GAPS["wasm"] | PRETENDED["wasm"]
    said = [f"{name} {'reached' if name in reached else 'stopped'}" for name in REACHES_OUT]
    assert result.stdout.decode().splitlines() == said
    after = (outside / "id_ed25519").stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert (outside / "id_ed25519").read_text() == "planted key"
    assert os.listdir(outside) == ["id_ed25519"]


@pytest.mark.parametrize("way", ["ctypes", "_posixsubprocess", "fcntl", "mmap", "resource"])
async def test_no_module_leads_to_the_system(way: str, sandbox: Sandbox, workspace: Path) -> None:
    code = f"try:\n    import {way}\n    print('reached')\nexcept ImportError: print('stopped')"
    assert (await inside(sandbox, workspace, code)).stdout == b"stopped\n"


@pytest.mark.parametrize(
    "code", ["os.fork()", "os.execv('/bin/sh', ['sh'])", "os.kill(1, 9)", "os.system('true')", "os.setuid(0)"]
)
async def test_there_are_no_processes(code: str, sandbox: Sandbox, workspace: Path) -> None:
    text = f"import os\ntry:\n    {code}\n    print('reached')\nexcept (OSError, AttributeError): print('stopped')"
    assert (await inside(sandbox, workspace, text)).stdout == b"stopped\n"


async def test_a_link_that_the_host_left_is_not_followed_out(sandbox: Sandbox, workspace: Path, outside: Path) -> None:
    (workspace / "link").symlink_to(outside)
    result = await inside(sandbox, workspace, attack("open('link/id_ed25519').read()"))
    assert b"stopped" in result.stdout


@pytest.mark.parametrize(
    ("code", "hit"),
    [
        ("while True: pass", "cpu"),
        ("import time\ntime.sleep(60)", "wall"),
        ("for n in range(999): open(f'f{n}', 'w').close()\nwhile True: pass", "files"),
        ("for n in range(10): open(f'f{n}', 'wb').write(b'x' * (8 << 20))", "disk"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "output"),
    ],
)
async def test_each_limit_ends_it_and_is_told(code: str, hit: str, sandbox: Sandbox, workspace: Path) -> None:
    narrow = {"cpu": replace(LIMITS, cpu_s=1), "wall": replace(LIMITS, wall_s=1)}.get(hit, LIMITS)
    assert (await inside(sandbox, workspace, code, narrow)).hit == hit


async def test_memory_is_limited_by_the_engine(sandbox: Sandbox, workspace: Path) -> None:
    code = "try: bytearray(1 << 30)\nexcept MemoryError: print('refused')"
    assert (await inside(sandbox, workspace, code)).stdout == b"refused\n"


async def test_it_works_in_its_folder_with_input_and_status_of_its_own(sandbox: Sandbox, workspace: Path) -> None:
    code = "import os, sys\nopen('made', 'w').write(sys.stdin.read())\nprint(sorted(os.environ))\nsys.exit(7)"
    command = Command(argv=("python", "-c", code), workspace=workspace, stdin=b"given")
    result = await sandbox.run(command, LIMITS)
    assert (workspace / "made").read_text() == "given"
    assert result.exit_code == 7
    assert result.stdout.decode().strip() == str(["HOME", "LANG", "PWD", "TMPDIR"])


async def test_only_the_named_folder_can_be_written_to(sandbox: Sandbox, workspace: Path) -> None:
    for name in ("open", "closed"):
        (workspace / name).mkdir()
    code = "\n".join(attack(f"open('/sandbox/{name}/f', 'w').close()") for name in ("open", "closed"))
    await sandbox.run(Command(argv=("python", "-c", code), workspace=workspace, writable=("open",)), LIMITS)
    assert os.listdir(workspace / "open") == ["f"]
    assert os.listdir(workspace / "closed") == []


async def test_cancelling_ends_it(sandbox: Sandbox, workspace: Path) -> None:
    task = asyncio.create_task(inside(sandbox, workspace, "while True: pass"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.listdir(workspace.parent) == ["workspace"]


async def test_what_it_can_t_do_it_refuses(sandbox: Sandbox, workspace: Path) -> None:
    for command in (
        Command(argv=("/bin/true",), workspace=workspace),
        Command(argv=("python",), workspace=workspace, network=("localhost:1",)),
    ):
        with pytest.raises(SandboxUnavailable, match="wasm"):
            await sandbox.run(command, LIMITS)


def test_a_guest_of_another_digest_is_not_used(tmp_path: Path) -> None:
    (tmp_path / PYTHON.name).write_bytes(b"something else")
    with pytest.raises(SandboxUnavailable, match="not what it should be"):
        Provision(tmp_path / "cache", "", tmp_path).find(PYTHON)


def test_without_npm_and_folder_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="npm") as caught:
        Provision(tmp_path / "cache", str(tmp_path)).find(PYTHON)
    assert "CAVALCADE_WASM_GUESTS" in caught.value.hint


async def test_native_code_that_has_changed_is_not_run(sandbox: Sandbox, tmp_path: Path, workspace: Path) -> None:
    from cavalcade.sandbox.wasm import Wasm, find_wasmtime

    (module,) = (CACHE / "wasm").glob(f"*-{find_wasmtime()}-*.cwasm")
    changed = tmp_path / "changed.cwasm"
    changed.write_bytes(module.read_bytes()[:-1] + b"x")
    assert digest_of_file(changed) != digest_of_file(module)
    with pytest.raises(SandboxUnavailable, match="has changed since it was compiled"):
        await inside(Wasm(changed, Path(sys.executable), find_wasmtime(), SystemClock()), workspace, "pass")
