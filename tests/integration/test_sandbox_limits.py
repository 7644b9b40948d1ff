"""Limits, each reported as itself. Bug class this catches: a limit that is hit and told as another, or not at all; groups left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_kit import LIMITS, inside, opened, system_python_as_user

from cavalcade.sandbox.cgroups import Groups, find_groups
from cavalcade.sandbox.port import Limits, Sandbox

GROUPS = find_groups()
"""None where the kernel lets this user make no groups: then only the watcher is tested here."""
QUIET = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"


@pytest.fixture
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await opened(tmp_path_factory.getbasetemp() / "sandbox-verdict")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


HITS = {
    "wall": ("import signal\nsignal.pause()", Limits(wall_s=0.3)),
    "cpu": ("while True: pass", Limits(cpu_s=0.3)),
    "memory": (
        "import os, signal\nfor _ in range(8):\n    if os.fork() == 0: break\nx = bytearray(b'x') * (120 << 20)\nsignal.pause()",
        LIMITS,
    ),
    "processes": (
        "import os, signal\nwhile True:\n    try:\n        if os.fork() == 0: signal.pause()\n    except OSError: pass",
        LIMITS,
    ),
    "file_size": (QUIET + "f = open('big', 'wb', 0)\nwhile True: f.write(b'x' * (1 << 20))", LIMITS),
    "disk": ("import signal\nfor n in range(10): open(f'f{n}', 'wb').write(b'x' * (8 << 20))\nsignal.pause()", LIMITS),
    "files": ("import signal\nfor n in range(999): open(f'f{n}', 'w').close()\nsignal.pause()", LIMITS),
    "output": ("while True: print('x' * 9999)", LIMITS),
}


@pytest.mark.parametrize("name", HITS)
async def test_each_limit_ends_the_command_and_is_told_by_its_name(
    name: str, sandbox: Sandbox, workspace: Path
) -> None:
    code, limits = HITS[name]
    result = await inside(sandbox, workspace, code, limits)
    assert (result.hit, result.exit_code) == (name, None)


async def test_too_many_open_files_are_an_error_inside_and_told_when_seen(sandbox: Sandbox, workspace: Path) -> None:
    """The guest holds them until the watcher must have looked: it is ended by the clock."""
    code = (
        "import signal\nkept = []\ntry:\n    while True: kept.append(open('/dev/null'))\n"
        "except OSError as e: print(e.errno, flush=True)\nsignal.pause()"
    )
    result = await inside(sandbox, workspace, code, replace(LIMITS, open_files=64, wall_s=1))
    assert result.stdout == b"24\n"
    assert (result.hit, result.met) == ("wall", ("open_files",))


async def test_a_file_that_met_its_limit_is_told_though_the_guest_went_on(sandbox: Sandbox, workspace: Path) -> None:
    """It waits until the watcher must have looked."""
    code = (
        "import signal\nf = open('big', 'wb', 0)\ntry:\n    while True: f.write(b'x' * (1 << 20))\n"
        "except OSError: print('on', flush=True)\nsignal.pause()"
    )
    result = await inside(sandbox, workspace, code, replace(LIMITS, wall_s=2))
    assert (result.hit, result.stdout, result.met) == ("wall", b"on\n", ("file_size",))


async def test_honest_work_meets_nothing(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(sandbox, workspace, "open('f', 'wb').write(b'x' * (1 << 20))")
    assert (result.exit_code, result.hit, result.met, result.refused) == (0, "", (), ())


async def test_it_says_who_holds_the_limits(sandbox: Sandbox) -> None:
    assert sandbox.describe()["limits"] == ("kernel groups and a watcher" if GROUPS else "a watcher")


with_groups = pytest.mark.skipif(GROUPS is None, reason="no control groups can be made here: the watcher holds alone")


def folders(groups: Groups) -> set[str]:
    return {path.name for parent in (groups.memory, groups.pids) for path in parent.glob(f"cavalcade-{os.getpid()}-*")}


async def test_nothing_is_left_of_a_group_when_its_command_ended(sandbox: Sandbox, workspace: Path) -> None:
    for code in ("pass", HITS["memory"][0], HITS["processes"][0]):
        await inside(sandbox, workspace, code)
    assert not (GROUPS and folders(GROUPS))


@with_groups
def test_the_kernel_counts_a_fork_that_it_refused() -> None:
    assert GROUPS is not None
    with GROUPS.group(1 << 30, 3) as group:
        code = "i=0; while [ $i -lt 9 ]; do sleep 0 & i=$((i+1)); done; wait"
        done = subprocess.run([*group.joining(), "/bin/sh", "-c", code], capture_output=True, check=False, timeout=20)
        assert group.hit() == "processes", done


@with_groups
def test_the_kernel_ends_what_takes_too_much_together() -> None:
    assert GROUPS is not None
    code = "import os\nfor _ in range(3):\n    if os.fork() == 0: break\nx = b'x' * (40 << 20)\ntry: os.wait()\nexcept OSError: pass"
    with GROUPS.group(64 << 20, 100) as group:
        subprocess.run(
            [*group.joining(), sys.executable, "-I", "-S", "-c", code], capture_output=True, check=False, timeout=20
        )
        assert group.hit() == "memory"


CRASHES = """
import os, subprocess, sys
from cavalcade.sandbox.cgroups import find_groups
with find_groups().group(1 << 30, 100) as group:
    left = subprocess.Popen([*group.joining(), "sleep", "600"], stdout=subprocess.DEVNULL)
    while not group.folders[0].joinpath("cgroup.procs").read_text(): pass
    print(group.folders[0], left.pid, flush=True)
    os._exit(9)
"""


@with_groups
def test_what_a_crash_left_behind_is_ended_and_removed() -> None:
    assert GROUPS is not None
    done = subprocess.run([sys.executable, "-c", CRASHES], stdout=subprocess.PIPE, text=True, check=False, timeout=20)
    folder, pid = done.stdout.split()
    left = os.pidfd_open(int(pid))
    assert Path(folder).exists()
    while Path(folder).exists():
        GROUPS.sweep()
    os.close(left)


@with_groups
def test_groups_of_living_processes_are_left_alone() -> None:
    assert GROUPS is not None
    with GROUPS.group(1 << 30, 100) as group:
        GROUPS.sweep()
        assert all(folder.exists() for folder in group.folders)


def test_without_groups_the_answer_is_none(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/user.slice\n")
    assert find_groups(tmp_path, own) is None
    assert find_groups(tmp_path, tmp_path / "missing") is None


def test_version_2_is_told_the_same_limits(tmp_path: Path) -> None:
    """On a folder laid out like one: its own files hold what a kernel would be told."""
    own = tmp_path / "own"
    own.write_text("0::/user.slice/app\n")
    here = tmp_path / "user.slice" / "app"
    here.mkdir(parents=True)
    (here.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    groups = find_groups(tmp_path, own)
    assert groups is not None
    assert groups.memory == here.parent
    with groups.group(100, 5) as group:
        (folder,) = group.folders
        assert [(folder / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max")] == [
            "100",
            "0",
            "5",
        ]
        assert group.hit() == ""
        (folder / "pids.events").write_text("max 2\n")
        assert group.hit() == "processes"
        (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
        assert group.hit() == "memory"


def test_an_ordinary_user_is_held_by_the_same_limits_fence_network_and_secrets() -> None:
    outcome = system_python_as_user("limits_as_user.py")
    assert outcome == {
        "limits": ["wall", "cpu", "memory", "processes", "file_size", "disk", "files", "output"],
        "open files": ["wall", ["open_files"]],
        "fence": [
            ["src/.env", "src/other.py", "src/shut", "src/shut/inner"],
            "stopped stopped done\n",
            ["a.py", "b.py", "new.py"],
            "b",
        ],
        "network": ["this is allowed\n403\n", [["bad.example", 1]]],
        "secrets": ["21 [redacted:configured:TOKEN]\n", True],
    }
