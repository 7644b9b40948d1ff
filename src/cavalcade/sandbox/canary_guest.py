"""The attacks of the live probe. Its text is run inside the sandbox, and the same functions outside, where they must succeed.

Standard library only, any Python from 3.8, also one compiled to WebAssembly: it runs under the sandbox's interpreter.
"""

import contextlib
import json
import os
import signal
import sys
import time
import typing

_LONGEST_S = 10


def read_outside(target: typing.Dict[str, str]) -> bool:  # noqa: UP006 - Python 3.8
    with open(target["secret"], encoding="utf-8") as file:
        return file.read() == target["content"]


def write_outside(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    path = os.path.join(target["folder"], "written-by-" + str(os.getpid()))
    with open(path, "w", encoding="utf-8") as file:
        file.write("x")
    return True


def write_through_symlink(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    os.symlink(target["folder"], target["link"])
    with open(os.path.join(target["link"], "through-" + str(os.getpid())), "w", encoding="utf-8") as file:
        file.write("x")
    return True


def open_socket(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    import socket

    with socket.create_connection(("127.0.0.1", int(target["port"])), timeout=2):
        return True


def see_process(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    """The process of that number and start time: inside, low numbers may be taken by others."""
    with open("/proc/" + target["pid"] + "/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19] == target["started"]


def read_environment(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    with open("/proc/" + target["pid"] + "/environ", encoding="utf-8", errors="replace") as file:
        return target["content"] in file.read()


def trace_process(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    import ctypes

    attach, detach, stop_and_clone = 16, 17, 0x40000000
    libc, pid = ctypes.CDLL(None, use_errno=True), int(target["pid"])
    if not see_process(target) or libc.ptrace(attach, pid, None, None) != 0:
        return False
    os.waitpid(pid, stop_and_clone)
    return bool(libc.ptrace(detach, pid, None, None) == 0)


ATTACKS = (
    read_outside,
    write_outside,
    write_through_symlink,
    open_socket,
    see_process,
    read_environment,
    trace_process,
)


def attempt(target: typing.Dict[str, str]) -> typing.Dict[str, bool]:  # noqa: UP006
    """Name of each attack: did it succeed?"""
    outcome: typing.Dict[str, bool] = {}  # noqa: UP006
    for attack in ATTACKS:
        try:
            outcome[attack.__name__] = attack(target)
        except (OSError, ImportError, AttributeError):
            outcome[attack.__name__] = False
    return outcome


def _power(libc: typing.Any) -> int:
    """Capabilities held, one bit each. None is to be had where no new privileges are."""
    import ctypes
    import struct

    held = ctypes.create_string_buffer(24)
    libc.capget(struct.pack("=Ii", 0x20080522, 0), held)
    effective, permitted, inherited, *high = struct.unpack("=6I", held.raw)
    return effective | permitted | inherited | (high[0] | high[1] | high[2]) << 32


def guards(allowed: int) -> typing.Dict[str, bool]:  # noqa: UP006
    """Name of each guard of a native sandbox: is it up? `allowed` are the capabilities that it leaves on purpose."""
    import ctypes
    import resource

    libc = ctypes.CDLL(None, use_errno=True)
    return {
        "no capabilities": _power(libc) & ~allowed == 0,
        "no new privileges": libc.prctl(39, 0, 0, 0, 0) == 1,
        "system call filter": libc.prctl(21, 0, 0, 0, 0) == 2,
        "not root": 0 not in (os.getuid(), os.geteuid()),
        "process limit": resource.getrlimit(resource.RLIMIT_NPROC)[1] != resource.RLIM_INFINITY,
        "system read-only": not any(os.access(path, os.W_OK) for path in ("/", "/usr", "/etc", "/dev")),
    }


def exceed(processes: int, memory_bytes: int) -> typing.Dict[str, bool]:  # noqa: UP006
    """More than both limits: did it go through? The processes are there at the same time, and end with this one."""
    forked, allocated = 0, 0
    with contextlib.suppress(OSError, AttributeError):
        while forked <= processes:
            if os.fork() == 0:
                signal.alarm(_LONGEST_S)
                signal.pause()
                os._exit(0)
            forked += 1
    with contextlib.suppress(MemoryError):
        allocated = len(bytearray(b"x") * (2 * memory_bytes))
    return {"fork_past_limit": forked > processes, "allocate_past_limit": allocated > memory_bytes}


def stay() -> None:
    """Leaves a daemon that holds a lock on a file. Where nothing contains it, it goes after a while."""
    with open("begun", "w", encoding="utf-8") as file:
        file.write("begun")
        file.flush()
        with contextlib.suppress(OSError, ImportError, AttributeError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fork() == 0:
                os.setsid()
                os.fork()
            signal.alarm(_LONGEST_S)
            signal.pause()
        end = time.monotonic() + _LONGEST_S
        while time.monotonic() < end:
            pass


def main() -> None:
    target = json.loads(sys.argv[1])
    task = target["task"]
    if task == "stay":
        stay()
        return
    with open(task, "w", encoding="utf-8") as file:
        file.write(target["nonce"])
    report = {"nonce": target["nonce"]}
    if task == "exceed":
        report["attacks"] = exceed(int(target["processes"]), int(target["memory"]))
    else:
        report["attacks"] = attempt(target)
        report["guards"] = guards(int(target["capabilities"])) if target["guards"] else {}
    json.dump(report, sys.stdout)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
