"""What a sandbox costs: starting one that was not ready, against the bare tool in the same round, and how much slower code runs.

The peers are bubblewrap alone with the same namespaces and mounts, a plain interpreter (Landlock is no program of its own), and the
wasmtime API alone in a new process with the same compiled guest. All run the same program, in alternation; the probe's verdict is there.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.table import Row

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.sandbox.choosing import TIERS, Surroundings, consider
from cavalcade.sandbox.interpreter import interpreter_roots
from cavalcade.sandbox.port import Command, Limits, Sandbox
from cavalcade.sandbox.wasm import compiled, find_wasmtime
from cavalcade.sandbox.wasm_guests import Provision

ROUNDS, WASM_ROUNDS = 60, 20
PYTHON = "/usr/bin/python3"
CACHE = Path(__file__).parent.parent / ".cache" / "sandbox"
NOTHING, BUSY = "pass", "x = 0\nfor n in range(2_000_000): x += n & 7"
_API = """
import os, sys, wasmtime
config = wasmtime.Config(); config.epoch_interruption = True
engine = wasmtime.Engine(config)
with open(sys.argv[1], "rb") as file: file.seek(32); module = wasmtime.Module.deserialize(engine, file.read())
wasi = wasmtime.WasiConfig(); wasi.argv = ["python", "-I", "-S", "-c", sys.argv[2]]; wasi.preopen_dir(".", ".")
store = wasmtime.Store(engine); store.set_epoch_deadline(1); store.set_wasi(wasi)
linker = wasmtime.Linker(engine); linker.define_wasi()
try: linker.instantiate(store, module).exports(store)["_start"](store)
except wasmtime.ExitTrap as trap: os._exit(trap.code)
"""


@dataclass(frozen=True)
class Pair:
    """One sandbox and its tool alone (`bare`; else there is none, and no target): each runs Python source once, from nothing."""

    name: str
    peer_name: str
    rounds: int
    bare: bool
    ours: Callable[[str], None]
    peer: Callable[[str], None]


def run() -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        scratch = Path(folder)
        for pair in _pairs(scratch, runner):
            pair.ours(NOTHING)
            pair.peer(NOTHING)
            times = [(_timed(pair.ours, NOTHING), _timed(pair.peer, NOTHING)) for _ in range(pair.rounds)]
            ours, peers = [own for own, _ in times], [other for _, other in times]
            for name, at in (("p50", 0.5), ("p99", 0.99)):
                own, other = _quantile(ours, at), _quantile(peers, at)
                target = 1.3 if at == 0.5 and pair.bare else None
                rows.append(
                    _row(f"sandbox: {pair.name}, cold start {name} (against {pair.peer_name})", own, other, target)
                )
            own = statistics.median(_timed(pair.ours, BUSY) for _ in range(5))
            other = statistics.median(_timed(_native, BUSY) for _ in range(5))
            base = statistics.median(_timed(_native, NOTHING) for _ in range(5))
            rows.append(
                _row(f"sandbox: {pair.name}, CPU (against no sandbox)", own - _quantile(ours, 0.5), other - base, None)
            )
    return rows


def _pairs(scratch: Path, runner: asyncio.Runner) -> list[Pair]:
    around = Surroundings(
        cache=CACHE / "verdicts",
        python=Path(sys.executable),
        home=Path.home(),
        search_path=os.environ["PATH"],
        clock=SystemClock(),
        entropy=SystemEntropy(),
    )
    opened = {tier.name: runner.run(consider(tier, around)).sandbox for tier in TIERS}
    workspace = scratch / "workspace"
    workspace.mkdir()
    pairs: list[Pair] = []
    if sandbox := opened["bubblewrap"]:
        ours = _ours(sandbox, PYTHON, workspace, runner)
        pairs.append(Pair("bubblewrap", "bwrap alone", ROUNDS, True, ours, partial(_bwrap, workspace)))
    if sandbox := opened["landlock"]:
        ours = _ours(sandbox, PYTHON, workspace, runner)
        pairs.append(Pair("landlock", "no sandbox", ROUNDS, False, ours, _native))
    if sandbox := opened["wasm"]:
        module = compiled(Provision(CACHE / "wasm", os.environ["PATH"]), Path(sys.executable), find_wasmtime())
        ours = _ours(sandbox, "python", workspace, runner)
        pairs.append(Pair("wasm", "wasmtime alone", WASM_ROUNDS, True, ours, partial(_wasmtime, module, workspace)))
    return pairs


def _ours(sandbox: Sandbox, python: str, workspace: Path, runner: asyncio.Runner) -> Callable[[str], None]:
    def once(code: str) -> None:
        readable = interpreter_roots(Path(python), home=Path.home()) if os.path.isabs(python) else ()
        command = Command(argv=(python, "-I", "-S", "-c", code), workspace=workspace, readable=readable)
        result = runner.run(sandbox.run(command, Limits()))
        assert result.exit_code == 0, result

    return once


def _native(code: str) -> None:
    _called([PYTHON, "-I", "-S", "-c", code], Path("/"))


def _wasmtime(module: Path, workspace: Path, code: str) -> None:
    _called([sys.executable, "-I", "-c", _API, str(module), code], workspace)


def _bwrap(workspace: Path, code: str) -> None:
    mounts = ["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"]
    mounts += ["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    inside = ["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    argv = ["bwrap", *inside, *mounts, "--bind", str(workspace), "/sandbox", "--chdir", "/sandbox"]
    _called([*argv, PYTHON, "-I", "-S", "-c", code], Path("/"))


def _called(argv: list[str], cwd: Path) -> None:
    subprocess.run(argv, check=True, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True)


def _timed(once: Callable[[str], None], code: str) -> float:
    begun = time.perf_counter()
    once(code)
    return time.perf_counter() - begun


def _quantile(times: list[float], at: float) -> float:
    return sorted(times)[min(int(len(times) * at), len(times) - 1)]


def _row(name: str, ours_s: float, peer_s: float, target: float | None) -> Row:
    ratio = ours_s / peer_s
    met = target is None or ratio <= target
    told = "" if target is None else f"<= {target}"
    return Row(name, f"{ours_s * 1000:.1f} ms", f"{peer_s * 1000:.1f} ms", ratio, told, met)
