"""Attacks on the sandbox. Bug class this catches: something that looks contained and is not, or that contains by running nothing.

Each attack prints `reached` when it succeeds. Where that harms nobody, the same code is run outside first and must succeed there.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import select
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import (
    CALLS,
    FAMILIES,
    GAPS,
    HITS,
    NAMESPACES,
    NATIVE,
    OTHERS,
    PRETENDED,
    PRIVATE,
    REACHES_OUT,
    SETUID,
    attack,
    call,
    namespace,
    opens,
    raw_socket,
)

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox.choosing import open_sandbox
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.port import Command, Limits, Result, Sandbox
from cavalcade.sandbox.scratch import discard

PYTHON = Path(sys.executable)
HOME = Path.home()
LIMITS = Limits(
    wall_s=20,
    cpu_s=10,
    memory_bytes=512 << 20,
    processes=32,
    file_bytes=16 << 20,
    disk_bytes=32 << 20,
    files=300,
    output_bytes=1 << 20,
)
NOBODY = 65534


async def opened(cache: Path, search_path: str | None = None, asked: str = "bubblewrap") -> Sandbox:
    path = os.environ["PATH"] if search_path is None else search_path
    return await open_sandbox(
        cache=cache,
        python=PYTHON,
        home=HOME,
        search_path=path,
        clock=SystemClock(),
        entropy=SystemEntropy(),
        asked=asked,
    )


@pytest.fixture(params=NATIVE)
async def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await opened(tmp_path_factory.getbasetemp() / "sandbox-verdict", asked=request.param)


@pytest.fixture
async def bubblewrap(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await opened(tmp_path_factory.getbasetemp() / "sandbox-verdict")


@pytest.fixture
async def landlock(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    return await opened(tmp_path_factory.getbasetemp() / "sandbox-verdict", asked="landlock")


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that everybody may enter and write to: only the sandbox is in the way."""
    folder = Path(tempfile.mkdtemp(prefix="outside-"))
    folder.chmod(0o777)
    (folder / "id_ed25519").write_text("planted key")
    (folder / "id_ed25519").chmod(0o666)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process of one's own that has nothing to do with it."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process.pid


async def inside(sandbox: Sandbox, workspace: Path, code: str, limits: Limits = LIMITS) -> Result:
    argv = (str(PYTHON), "-I", "-c", code)
    return await sandbox.run(
        Command(argv=argv, workspace=workspace, readable=interpreter_roots(PYTHON, home=HOME)), limits
    )


def bare(code: str, cwd: Path) -> str:
    done = subprocess.run([PYTHON, "-I", "-c", code], capture_output=True, text=True, timeout=20, check=False, cwd=cwd)
    return done.stdout


def start_time() -> str:
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


def modes(folder: Path) -> list[int]:
    return [path.lstat().st_mode for path in folder.iterdir()]


def look(folder: Path) -> list[tuple[str, int, int]]:
    """Names, modes and times of all in it."""
    return sorted((path.name, path.lstat().st_mode, path.lstat().st_mtime_ns) for path in folder.iterdir())


@pytest.mark.parametrize("name", REACHES_OUT)
async def test_no_attack_reaches_the_outside_though_each_succeeds_unsandboxed(
    name: str, sandbox: Sandbox, workspace: Path, outside: Path, tmp_path: Path
) -> None:
    abstract = uuid.uuid4().hex
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as by_path,
        socket.socket(socket.AF_UNIX) as by_name,
    ):
        by_path.bind(str(outside / "socket"))
        (outside / "socket").chmod(0o777)
        by_name.bind(f"\0{abstract}")
        for server in (by_path, by_name):
            server.listen()
        started = start_time()
        code = attack(
            REACHES_OUT[name].format(
                outside=outside, pid=os.getpid(), started=started, tcp=tcp.getsockname()[1], abstract=abstract
            )
        )
        control = bare(code, tmp_path)
        before = look(outside)
        result = await inside(sandbox, workspace, code)
    assert control == "reached\n"
    harmless = name in GAPS[sandbox.name] | PRETENDED[sandbox.name]
    assert (result.stdout == b"reached\n") == harmless
    assert look(outside) == before


async def test_a_datagram_does_not_arrive(sandbox: Sandbox, workspace: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        code = attack(f"socket.socket(2, 2).sendto(b'x', ('127.0.0.1', {receiver.getsockname()[1]}))")
        assert bare(code, tmp_path) == "reached\n"
        assert receiver.recv(10) == b"x"
        await inside(sandbox, workspace, code)
        with pytest.raises(BlockingIOError):
            receiver.recv(10)


async def test_its_own_loopback_works(bubblewrap: Sandbox, workspace: Path) -> None:
    code = attack("s = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(s.getsockname(), 2)")
    assert (await inside(bubblewrap, workspace, code)).stdout == b"reached\n"


async def test_without_a_network_of_its_own_no_socket_is_made_but_pairs(landlock: Sandbox, workspace: Path) -> None:
    code = "\n".join(attack(f"socket.socket({family}, {kind})") for family in (1, 2, 10) for kind in (1, 2))
    result = await inside(landlock, workspace, code + "\n" + attack("socket.socketpair()"))
    assert result.stdout.decode() == f"stopped {errno.EACCES}\n" * 6 + "reached\n"


@pytest.mark.parametrize("name", OTHERS)
async def test_other_processes_are_out_of_reach_though_of_the_same_user(
    name: str, landlock: Sandbox, workspace: Path, tmp_path: Path, bystander: int
) -> None:
    code = attack(OTHERS[name].format(pid=bystander, group=bystander))
    assert bare(code, tmp_path) == "reached\n"
    result = await inside(landlock, workspace, code)
    assert (result.stdout == b"reached\n") == (name in GAPS["landlock"])


@pytest.mark.parametrize("path", PRIVATE)
async def test_private_parts_of_the_system_are_not_there(path: str, bubblewrap: Sandbox, workspace: Path) -> None:
    result = await inside(bubblewrap, workspace, f"import os\nprint(os.path.exists({path + '/x'!r}))")
    assert result.stdout == b"False\n"


@pytest.mark.parametrize("path", [*PRIVATE, "/", "/tmp", "/home", "/etc", "/proc", "/dev/shm", "/var/tmp"])
async def test_private_parts_of_the_system_can_not_be_opened(path: str, landlock: Sandbox, workspace: Path) -> None:
    assert b"stopped" in (await inside(landlock, workspace, opens(path))).stdout


@pytest.mark.parametrize(
    "folder", ["/", "/tmp", "/var/tmp", "/dev/shm", "/usr", "/etc", "/home", "/run", "/dev", "..", "../.."]
)
async def test_no_folder_outside_can_be_written_to(folder: str, sandbox: Sandbox, workspace: Path) -> None:
    made = f"{folder}/made-{uuid.uuid4().hex}"
    await inside(sandbox, workspace, attack(f"open({made!r}, 'w').close()"))
    assert not await asyncio.to_thread(os.path.lexists, workspace / made)


async def test_nothing_but_its_own_folders_can_be_written_to(bubblewrap: Sandbox, workspace: Path) -> None:
    code = (
        "import os\nfor base, folders, _ in os.walk('/'):\n"
        "    folders[:] = [f for f in folders if os.path.join(base, f) not in ('/proc', '/usr')]\n"
        "    if os.access(base, os.W_OK): print(base); folders.clear()"
    )
    result = await inside(bubblewrap, workspace, code)
    assert set(result.stdout.decode().split()) == {"/tmp", "/dev/shm", "/home/sandbox", "/sandbox"}


@pytest.mark.parametrize("name", CALLS)
async def test_dangerous_system_calls_are_refused_by_the_filter(name: str, sandbox: Sandbox, workspace: Path) -> None:
    """Called with arguments that do nothing: outside the kernel answers otherwise."""
    number, arguments, expected = CALLS[name]
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    libc.syscall(number, *(ctypes.c_long(argument) for argument in arguments))
    assert ctypes.get_errno() != expected
    assert (await inside(sandbox, workspace, call(number, arguments))).stdout == f"-1 {expected}\n".encode()


@pytest.mark.parametrize("flag", NAMESPACES)
async def test_no_namespace_can_be_made(flag: int, sandbox: Sandbox, workspace: Path) -> None:
    assert (
        await inside(sandbox, workspace, namespace(flag))
    ).stdout == f"-1 {errno.EPERM}\n-1 {errno.EPERM}\n".encode()


@pytest.mark.parametrize("family", FAMILIES)
async def test_sockets_that_reach_the_kernel_or_the_host_are_refused(
    family: int, sandbox: Sandbox, workspace: Path
) -> None:
    result = await inside(sandbox, workspace, raw_socket(family))
    assert result.stdout in (f"stopped {errno.EAFNOSUPPORT}\n".encode(), f"stopped {errno.EPERM}\n".encode())


@pytest.mark.parametrize("code", SETUID)
async def test_no_setuid_file_is_left_behind(code: str, sandbox: Sandbox, workspace: Path, tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    assert bare(attack(code), control) == "reached\n"
    assert (control / "f").stat().st_mode & 0o6000
    assert (await inside(sandbox, workspace, attack(code))).stdout == f"stopped {errno.EPERM}\n".encode()
    assert not any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in modes(workspace))


async def test_a_fork_bomb_is_killed(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(sandbox, workspace, "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass")
    assert result.hit == "processes"


async def test_the_kernel_holds_the_number_of_processes_between_two_looks(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import os, signal\ncount = 0\ntry:\n    while True:\n        if os.fork() == 0: signal.pause()\n        count += 1\n"
        "except OSError: open('count', 'w').write(str(count))"
    )
    await inside(sandbox, workspace, code)
    assert int((workspace / "count").read_text()) <= LIMITS.processes


async def test_one_process_gets_no_more_memory_than_its_limit(sandbox: Sandbox, workspace: Path) -> None:
    code = "try: bytearray(8 << 30)\nexcept MemoryError: print('refused')"
    assert (await inside(sandbox, workspace, code)).stdout == b"refused\n"


async def test_the_memory_of_many_processes_is_summed(sandbox: Sandbox, workspace: Path) -> None:
    code = "import os, signal\nfor _ in range(8):\n    if os.fork() == 0: break\nx = bytearray(b'x') * (120 << 20)\nsignal.pause()"
    result = await inside(sandbox, workspace, code)
    assert result.hit == "memory"
    assert result.peak_rss_bytes > LIMITS.memory_bytes


async def test_shared_pages_count_once(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import os, time\nx = bytearray(b'x') * (150 << 20)\nchildren = []\nfor _ in range(6):\n    pid = os.fork()\n"
        "    if pid == 0: time.sleep(0.4); os._exit(0)\n    children.append(pid)\nfor pid in children: os.waitpid(pid, 0)\nprint('done')"
    )
    assert (await inside(sandbox, workspace, code)).stdout == b"done\n"


async def test_an_infinite_loop_ends_at_the_processor_limit(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(sandbox, workspace, "while True: pass", Limits(wall_s=20, cpu_s=0.5))
    assert (result.hit, result.exit_code, result.signal) == ("cpu", None, 9)


async def test_a_sleeper_ends_at_the_wall_clock_limit(sandbox: Sandbox, workspace: Path) -> None:
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"
    assert (await inside(sandbox, workspace, code, Limits(wall_s=0.3))).hit == "wall"


async def test_a_file_does_not_grow_beyond_its_limit(sandbox: Sandbox, workspace: Path) -> None:
    code = attack("f = open('big', 'wb')\nfor _ in range(100): f.write(b'x' * (1 << 20)); f.flush()")
    assert (await inside(sandbox, workspace, code)).stdout == f"stopped {errno.EFBIG}\n".encode()
    assert (workspace / "big").stat().st_size <= LIMITS.file_bytes


@pytest.mark.parametrize(
    ("code", "hit"),
    [
        ("for n in range(10): open(f'f{n}', 'wb').write(b'x' * (8 << 20))", "disk"),
        ("for n in range(9999): open(f'f{n}', 'w').close()", "files"),
        (
            "import os, signal\nfor n in range(9999): open(os.environ['TMPDIR'] + f'/f{n}', 'w').close()\nsignal.pause()",
            "files",
        ),
        ("import os\nfor n in range(600): os.mkdir('d'); os.chdir('d'); open('f', 'w').close()", "files"),
    ],
)
async def test_growth_is_stopped(code: str, hit: str, sandbox: Sandbox, workspace: Path) -> None:
    assert (await inside(sandbox, workspace, code)).hit == hit


async def test_what_a_guest_leaves_can_be_removed(sandbox: Sandbox, workspace: Path, outside: Path) -> None:
    code = (
        f"import os\nos.symlink('{outside}', 'out'); os.mkdir('locked'); open('locked/f', 'w').close(); os.chmod('locked', 0)\n"
        "for n in range(3000): os.mkdir('d'); os.chdir('d')"
    )
    assert (await inside(sandbox, workspace, code, Limits())).exit_code == 0
    await asyncio.to_thread(discard, workspace)
    assert os.listdir(workspace.parent) == []
    assert "id_ed25519" in os.listdir(outside)


async def test_files_without_a_name_count(sandbox: Sandbox, workspace: Path) -> None:
    code = (
        "import os, signal\nkept = []\nfor n in range(10):\n    kept.append(open('f', 'wb'))\n    os.unlink('f')\n"
        "    kept[-1].write(b'x' * (8 << 20)); kept[-1].flush()\nsignal.pause()"
    )
    assert (await inside(sandbox, workspace, code)).hit == "disk"


async def test_every_temporary_folder_has_a_size(bubblewrap: Sandbox, workspace: Path) -> None:
    code = (
        "import errno\nfor folder in ('/tmp', '/dev/shm', '/home/sandbox'):\n    try:\n        for n in range(100):\n"
        "            with open(f'{folder}/{n}', 'wb') as f: f.write(b'x' * (8 << 20))\n"
        "    except OSError as error: print(errno.errorcode[error.errno])"
    )
    assert (await inside(bubblewrap, workspace, code)).stdout.split() == [b"ENOSPC"] * 3


async def test_a_flood_of_output_is_cut(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(
        sandbox, workspace, "import sys\nwhile True: sys.stdout.write('x' * 65536); sys.stderr.write('y' * 65536)"
    )
    assert result.hit == "output"
    assert len(result.stdout) + len(result.stderr) == LIMITS.output_bytes


DAEMON = """
import os, signal, sys
for name in ('SIGTERM', 'SIGHUP', 'SIGINT'): signal.signal(getattr(signal, name), signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        code = 'import signal; print(1, flush=True)\\nwhile True: signal.pause()'
        os.execv(sys.executable, [sys.executable, '-I', '-c', code, '{marker}'])
    os._exit(0)
"""


def alive(marker: str) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(int(entry.name))
    return found


async def test_a_daemon_does_not_outlive_its_command(sandbox: Sandbox, workspace: Path) -> None:
    marker = uuid.uuid4().hex
    result = await inside(sandbox, workspace, DAEMON.format(marker=marker) + "os.wait()\nprint('left', flush=True)")
    assert b"left" in result.stdout
    assert alive(marker) == []


async def test_killing_everything_it_sees_kills_only_itself(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(
        sandbox, workspace, "import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(1, 9)\nprint('still here')"
    )
    assert result.hit == ""
    assert b"still here" not in result.stdout


async def wait_for_file(path: Path) -> None:
    """Without a clock: the guest tells that it has begun by making a file."""
    async with asyncio.timeout(20):
        await asyncio.to_thread(until_there, path)


def until_there(path: Path) -> None:
    while not path.exists():
        os.sched_yield()


async def test_cancelling_kills_everything_and_leaves_nothing(sandbox: Sandbox, workspace: Path) -> None:
    marker = uuid.uuid4().hex
    before = sorted(os.listdir("/proc/self/fd"))
    code = DAEMON.format(marker=marker) + "open('started', 'w').close()\nwhile True: signal.pause()"
    task = asyncio.create_task(inside(sandbox, workspace, code))
    await wait_for_file(workspace / "started")
    assert alive(marker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(marker) == []
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert [path.name for path in sorted(workspace.parent.iterdir())] == ["workspace"]


async def test_cancelling_at_once_is_as_clean(sandbox: Sandbox, workspace: Path) -> None:
    marker = uuid.uuid4().hex
    task = asyncio.create_task(inside(sandbox, workspace, f"while True: pass # {marker}"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert alive(marker) == []


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_sandbox_attacks import inside, opened
async def main():
    await inside(await opened(Path({cache!r}), asked={asked!r}), Path({workspace!r}), {code!r})
asyncio.run(main())
"""


@pytest.mark.parametrize("asked", NATIVE)
def test_when_its_owner_is_killed_the_guest_dies_too(asked: str, workspace: Path, tmp_path: Path) -> None:
    marker = uuid.uuid4().hex
    code = f"import signal\nopen('started', 'w').close()\nwhile True: signal.pause() # {marker}"
    source = KILLED.format(
        asked=asked,
        here=str(Path(__file__).parent),
        cache=str(tmp_path / "verdict"),
        workspace=str(workspace),
        code=code,
    )
    with subprocess.Popen([PYTHON, "-c", source]) as owner:
        until_there(workspace / "started")
        guests = [os.pidfd_open(pid) for pid in alive(marker) if pid != owner.pid]
        owner.kill()
    assert guests
    for guest in guests:
        assert select.select([guest], [], [], 10)[0]
        os.close(guest)


async def test_exit_status_and_output_are_its_own(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(sandbox, workspace, "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.exit(7)")
    assert (result.exit_code, result.signal, result.hit, result.stdout, result.stderr) == (7, 0, "", b"out\n", b"err\n")


async def test_a_signal_is_told_apart(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(sandbox, workspace, "import os\nos.kill(os.getpid(), 11)")
    assert (result.exit_code, result.signal) == (None, 11)


async def test_nothing_of_the_callers_environment_is_inherited(sandbox: Sandbox, workspace: Path) -> None:
    result = await inside(sandbox, workspace, "import os\nprint(sorted(os.environ))")
    names = ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "TMPDIR", "USER"]
    assert result.stdout.decode().strip() == str(names)


async def test_many_commands_run_side_by_side(sandbox: Sandbox, tmp_path: Path) -> None:
    folders = [tmp_path / f"w{n}" for n in range(6)]
    for folder in folders:
        folder.mkdir()
    results = await asyncio.gather(*(inside(sandbox, folder, "open('x', 'w').write('1')") for folder in folders))
    assert [result.exit_code for result in results] == [0] * 6
    assert all((folder / "x").read_text() == "1" for folder in folders)


async def test_without_bubblewrap_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable) as caught:
        await opened(tmp_path / "verdict", search_path=str(tmp_path))
    assert "apt install bubblewrap" in caught.value.hint
    assert caught.value.places == ("bubblewrap: bubblewrap is not installed: tests can't be run safely",)


def fake_tools(folder: Path, bwrap: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "bwrap").write_text(f"#!/bin/sh\nif [ $1 = --version ]; then echo bubblewrap 9.9; exit; fi\n{bwrap}\n")
    (folder / "bwrap").chmod(0o755)
    return os.pathsep.join((str(folder), "/usr/bin", "/bin"))


CONTAINS_NOTHING = """
option() { tr '\\0' '\\n' < "$1" | grep -A1 -e "$2" | tail -1; }
arguments=/proc/self/fd/$2
status=$(option "$arguments" --json-status-fd)
cd "$(option "$arguments" '^--bind$')"
while [ "$1" != /sandbox ]; do shift; done
shift
echo '{"child-pid": '$$'}' > /proc/self/fd/$status
"$@"
echo '{"exit-code": '$?'}' > /proc/self/fd/$status
"""
"""Takes bubblewrap's arguments and runs the command bare."""


async def test_a_tool_that_contains_nothing_is_not_used(tmp_path: Path) -> None:
    path = fake_tools(tmp_path / "tools", CONTAINS_NOTHING)
    with pytest.raises(SandboxUnavailable) as caught:
        await opened(tmp_path / "verdict", search_path=path)
    assert {
        "bubblewrap: read_outside succeeds inside",
        "bubblewrap: write_outside succeeds inside",
        "bubblewrap: write_through_symlink succeeds inside",
        "bubblewrap: open_socket succeeds inside",
        "bubblewrap: see_process succeeds inside",
        "bubblewrap: read_environment succeeds inside",
        "bubblewrap: trace_process succeeds inside",
        "bubblewrap: system call filter: not in force inside",
    } <= set(caught.value.places)
    assert "user namespaces" in caught.value.hint
    assert "verdict" not in os.listdir(tmp_path)


async def test_a_tool_that_runs_nothing_is_not_used(tmp_path: Path) -> None:
    path = fake_tools(tmp_path / "tools", "exit 0")
    with pytest.raises(SandboxUnavailable) as caught:
        await opened(tmp_path / "verdict", search_path=path)
    assert "could not be set up" in caught.value.places[0]


async def test_a_kept_verdict_does_not_cover_another_tool(tmp_path: Path) -> None:
    cache = tmp_path / "verdict"
    await opened(cache)
    assert cache.read_text()
    with pytest.raises(SandboxUnavailable):
        await opened(cache, search_path=fake_tools(tmp_path / "tools", "exit 0"))


def test_an_ordinary_user_is_as_well_protected() -> None:
    """Run as root this drops to another uid; as an ordinary user it is one more pass."""
    folder = Path(tempfile.mkdtemp(prefix="as-user-"))
    try:
        package = Path(sys.modules["cavalcade"].__file__ or "").parent
        shutil.copytree(package, folder / "lib" / "cavalcade", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("sandbox_as_user.py", "attacks.py"):
            shutil.copy(Path(__file__).with_name(name), folder)
        (folder / "scratch").mkdir()
        user = NOBODY if os.geteuid() == 0 else None
        if user is not None:
            os.chown(folder / "scratch", user, user)
        folder.chmod(0o755)
        python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
        env = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(folder / "lib"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/nonexistent",
        }
        done = subprocess.run(
            [python, "-B", str(folder / "sandbox_as_user.py"), python, str(folder / "scratch")],
            capture_output=True, text=True, timeout=120, check=False, env=env, cwd=folder,
            user=user, group=user, extra_groups=None if user is None else [],
        )  # fmt: skip
        assert done.stderr == ""
        outcome = json.loads(done.stdout)
    finally:
        discard(folder)
    for name in NATIVE:
        said, hits = outcome[name]["said"], outcome[name]["hits"]
        assert outcome[name]["identity"] == ("user namespace" if name == "bubblewrap" else "the caller's own uid")
        assert hits == HITS
        stopped = {attack for attack in REACHES_OUT if "reached" not in said[attack]}
        assert stopped == set(REACHES_OUT) - GAPS[name] - PRETENDED[name]
        assert {call: said[call] for call in CALLS} == {call: f"-1 {CALLS[call][2]}\n" for call in CALLS}
        for flag in NAMESPACES:
            assert said[f"namespace {flag}"] == f"-1 {errno.EPERM}\n-1 {errno.EPERM}\n"
        for other in (*map(opens, PRIVATE), *map(raw_socket, FAMILIES), *map(attack, SETUID)):
            assert said[other].startswith("stopped"), other
        assert outcome[name]["others"] == {other: other in GAPS[name] | PRETENDED[name] for other in OTHERS}
        assert outcome[name]["work"] == [0, "x\n"]
        assert len(said) + len(hits) + len(OTHERS) >= 60


async def test_standard_input_is_given_whole_and_can_t_be_written_to(sandbox: Sandbox, workspace: Path) -> None:
    code = "import os, sys\nprint(len(sys.stdin.buffer.read()))\n" + attack(
        "os.write(os.open('/proc/self/fd/0', os.O_RDWR), b'x')"
    )
    command = Command(
        argv=(str(PYTHON), "-I", "-c", code),
        workspace=workspace,
        readable=interpreter_roots(PYTHON, home=HOME),
        stdin=b"x" * 3_000_000,
    )
    result = await sandbox.run(command, LIMITS)
    assert result.stdout.startswith(b"3000000\nstopped"), result


async def test_output_is_told_as_it_comes_and_is_in_the_result_too(sandbox: Sandbox, workspace: Path) -> None:
    """The guest waits for a file that is made when its first words have been told."""
    code = (
        "import os, sys\nprint('first', flush=True)\nwhile not os.path.exists('/sandbox/go'): pass\n"
        "print('second', flush=True); print('third', file=sys.stderr)"
    )
    told: list[tuple[str, bytes]] = []

    def hear(channel: str, data: bytes) -> None:
        told.append((channel, data))
        (workspace / "go").touch()

    command = Command(
        argv=(str(PYTHON), "-I", "-c", code), workspace=workspace, readable=interpreter_roots(PYTHON, home=HOME)
    )
    result = await sandbox.run(command, LIMITS, told=hear)
    assert told[0] == ("stdout", b"first\n")
    assert b"".join(data for channel, data in told if channel == "stdout") == result.stdout == b"first\nsecond\n"
    assert b"".join(data for channel, data in told if channel == "stderr") == result.stderr == b"third\n"
