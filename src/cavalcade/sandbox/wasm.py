"""The WebAssembly sandbox: CPython compiled for WASI, under wasmtime, in a process of its own. No system call is the guest's own.

The guest sees the folders it is given and nothing else: no network, processes, signals or other memory exist for it. It runs
Python without native extensions, subprocesses and threads. Memory is limited by the engine; wall-clock time, CPU, disk, files and
output by the watcher, who kills the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import SandboxUnavailable, UsageError
from cavalcade.sandbox import wasm_worker
from cavalcade.sandbox.guest import inside, memory_file
from cavalcade.sandbox.port import RESULTS, WORK, Command, Limits
from cavalcade.sandbox.scratch import discard
from cavalcade.sandbox.usage import FolderUse, folder_use
from cavalcade.sandbox.wasm_guests import PYTHON, Provision, own_folder
from cavalcade.sandbox.watch import Growth, Line, Outcome, Watch
from cavalcade.sandbox.watched import Watched

_COMPILE_S = 300
_LATER_S = 1.0
"""The engine's own deadline comes after the watcher's."""


def find_wasmtime() -> str:
    """Its version. Raises SandboxUnavailable."""
    try:
        return version("wasmtime")
    except PackageNotFoundError as exc:
        raise SandboxUnavailable("wasmtime is not installed", hint="install it: pip install 'cavalcade[wasm]'") from exc


def compiled(provision: Provision, python: Path, wasmtime: str) -> Path:
    """The guest's native code; compiled on first use, which takes some seconds. `python` has wasmtime. Raises SandboxUnavailable."""
    own_folder(provision.cache)
    with open(provision.cache / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second start waits for the first one's work
        source = provision.find(PYTHON)
        target = provision.cache / f"{PYTHON.sha256[:16]}-{wasmtime}-{os.uname().machine}-blake2.cwasm"
        if not target.exists():
            _compile(source, target, python)
    return target


def _compile(source: Path, target: Path, python: Path) -> None:
    argv = [str(python), "-I", "-B", wasm_worker.__file__, "compile", str(source), str(target)]
    try:
        subprocess.run(argv, capture_output=True, timeout=_COMPILE_S, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as exc:
        raise SandboxUnavailable(f"{source} can't be compiled: {exc}", hint="pip install -U 'cavalcade[wasm]'") from exc


class Wasm(Watched):
    """A `Sandbox`. `python` has wasmtime and runs the worker; `module` comes from `compiled`."""

    name = "wasm"

    def __init__(self, module: Path, python: Path, wasmtime: str, clock: Clock) -> None:
        self._module, self._python, self._version, self._clock = module, python, wasmtime, clock

    def describe(self) -> dict[str, str]:
        return {
            "tool": "wasmtime",
            "version": self._version,
            "kernel": os.uname().release,
            "identity": "the caller's own uid, outside the guest's reach",
            "limits": "the engine and a watcher",
            "contains": "files, network, processes, system calls, memory, CPU, disk, output, wall-clock time",
            "partial": "runs Python without native extensions, subprocesses and threads",
        }

    def _run(self, command: Command, limits: Limits, line: Line) -> Outcome:
        if command.network or command.read_only:
            raise SandboxUnavailable(
                "wasm has no network, and can't close a part of a folder that may be written to",
                hint="install bubblewrap",
            )
        if not Path(command.argv[0]).name.startswith("python"):
            raise SandboxUnavailable(f"wasm can't run {command.argv[0]}", expected="python", hint="install bubblewrap")
        with ExitStack() as stack:
            private = Path(tempfile.mkdtemp(prefix=".sandbox-", dir=command.workspace.parent))
            stack.callback(discard, private)
            folders = (*((command.workspace, command.results) if command.results else (command.workspace,)), private)
            try:
                base = sum((folder_use(folder, large_bytes=limits.file_bytes) for folder in folders), FolderUse())
            except OSError as exc:
                raise UsageError(f"folder {exc.filename} can't be used: {exc.strerror}", expected="a folder") from exc
            growth = Growth(folders, base, limits, self._clock)
            stack.callback(growth.close)
            order = stack.enter_context(memory_file(json.dumps(self._order(command, limits, private)).encode()))
            stdin = stack.enter_context(memory_file(command.stdin))
            status, status_end = os.pipe()
            stack.callback(os.close, status)
            argv = [str(self._python), "-I", "-B", wasm_worker.__file__, str(status_end), str(order)]
            return Watch(limits, growth, self._clock, line, own=1).run(argv, stdin, (order,), status, status_end)

    def _order(self, command: Command, limits: Limits, private: Path) -> dict[str, object]:
        own = {"HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PWD": str(WORK / inside(command.cwd))}
        return {
            "module": str(self._module),
            "argv": ["python", *command.argv[1:]],
            "env": own | dict(command.env),
            "folders": list(_folders(command, private)),
            "memory_bytes": limits.memory_bytes,
            "deadline_s": limits.wall_s + _LATER_S,
            "parent": os.getpid(),
            "limits": {
                "core": 0,
                "cpu": int(limits.cpu_s) + 2,
                "fsize": limits.file_bytes,
                "nofile": limits.open_files,
            },
        }


def _folders(command: Command, private: Path) -> Iterator[tuple[str, str, bool]]:
    """Host path, path inside, writable."""
    whole = "." in command.writable
    yield str(command.workspace / inside(command.cwd)), ".", whole
    yield str(command.workspace), str(WORK), whole
    for part in command.writable:
        path = (command.workspace / part).resolve()
        if not path.is_relative_to(command.workspace.resolve()):
            raise UsageError(
                f"{part!r} is not below the workspace", expected="a relative path without '..' or a link out"
            )
        if path.is_dir() and not whole:
            yield str(path), str(WORK / part), True
    yield str(private), "/tmp", True
    if command.results:
        yield str(command.results), str(RESULTS), True
    for path in command.readable:
        if path.is_dir():
            yield str(path), str(path), False
