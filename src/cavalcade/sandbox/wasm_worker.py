"""Runs one WebAssembly command under WASI. Run by file name in an interpreter that has wasmtime; nothing of this package.

Arguments: descriptor to report on (JSON lines as bubblewrap writes them), descriptor of the order (JSON). The first process only
waits: the second may be killed at any moment, since a guest that sleeps in a call of its host is not interrupted by any deadline.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import resource
import signal
import sys
import threading
import time
from typing import Any

_TRAPPED = 134
_PDEATHSIG = 1
_LIMITS = {
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "fsize": resource.RLIMIT_FSIZE,
    "nofile": resource.RLIMIT_NOFILE,
}


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def compile_to(source: str, target: str) -> None:
    """Native code, its digest before it, in one file that appears whole."""
    import wasmtime

    with open(source, "rb") as file:
        data = bytes(wasmtime.Module(_engine(), file.read()).serialize())
    made = f"{target}.{os.getpid()}"
    with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_digest(data) + data)
    os.replace(made, target)


def _digest(data: bytes) -> bytes:
    """BLAKE2: at each start there are 27 MB to read."""
    return hashlib.blake2b(data, digest_size=32).digest()


def _engine() -> Any:
    import wasmtime

    config = wasmtime.Config()
    config.epoch_interruption = True
    return wasmtime.Engine(config)


def _module(engine: Any, path: str) -> Any:
    """Checks what it read and takes that, not the file again."""
    import wasmtime

    with open(path, "rb") as file:
        expected, data = file.read(32), file.read()
    if _digest(data) != expected:
        raise OSError(f"{path} has changed since it was compiled: remove it")
    return wasmtime.Module.deserialize(engine, data)


def _interrupt(engine: Any, after_s: float) -> None:
    time.sleep(after_s)
    engine.increment_epoch()


def _run(order: dict[str, Any]) -> int:
    import wasmtime

    engine = _engine()
    module = _module(engine, order["module"])
    for name, value in order["limits"].items():
        hard = resource.getrlimit(_LIMITS[name])[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(_LIMITS[name], (most, most))
    wasi = wasmtime.WasiConfig()
    wasi.argv = order["argv"]
    wasi.env = list(order["env"].items())
    for host, inside, writable in order["folders"]:
        wasi.preopen_dir(host, inside, writable)
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    store = wasmtime.Store(engine)
    store.set_limits(memory_size=order["memory_bytes"])
    store.set_epoch_deadline(1)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    start = linker.instantiate(store, module).exports(store)["_start"]
    threading.Thread(target=_interrupt, args=(engine, order["deadline_s"]), daemon=True).start()
    try:
        start(store)  # pyright: ignore[reportCallIssue, reportUnknownVariableType]
    except wasmtime.ExitTrap as trap:
        return trap.code
    except (wasmtime.Trap, wasmtime.WasmtimeError) as error:
        os.write(2, str(error).encode())
        return _TRAPPED
    return 0


def _worker(order: dict[str, Any], parent: int, problem: int) -> None:
    _die_with_parent(parent)
    code = 1
    try:
        code = _run(order)
    except (OSError, ImportError) as error:
        os.write(problem, str(error).encode())
    finally:
        os._exit(code)  # after a trap wasmtime may not survive its own end


def main(report: int, order: dict[str, Any]) -> None:
    _die_with_parent(order["parent"])
    problems, problem = os.pipe()
    own = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.close(report)
        _worker(order, own, problem)
    os.close(problem)
    os.write(report, json.dumps({"child-pid": worker}).encode() + b"\n")
    _, status = os.waitpid(worker, 0)
    text = os.read(problems, 4096)
    code = os.waitstatus_to_exitcode(status)
    if text:
        os.write(2, text)
    else:
        os.write(report, json.dumps({"exit-code": code if code >= 0 else 128 - code}).encode() + b"\n")


if __name__ == "__main__":
    if sys.argv[1] == "compile":
        compile_to(sys.argv[2], sys.argv[3])
    else:
        with open(int(sys.argv[2]), encoding="utf-8") as _file, contextlib.suppress(ChildProcessError):
            main(int(sys.argv[1]), json.load(_file))
