"""Confines one command with Landlock and a system call filter, waits for it, and leaves nothing of it alive.

Run by file name in an interpreter of its own; standard library only, nothing of this package. Arguments: descriptor to report on
(JSON lines as bubblewrap writes them), descriptor of the order (JSON). The first process stays outside the confinement: it adopts
orphans, and kills all when the command ends or when its own parent does.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every machine
_PATH_BENEATH = 1
_ALL_FILE_RIGHTS, _ALL_NETWORK_RIGHTS, _ALL_SCOPES = 0xFFFF, 0x3, 0x3  # ABI 6
_PDEATHSIG, _KEEPCAPS, _SECCOMP, _CAPBSET_DROP, _CHILD_SUBREAPER, _NO_NEW_PRIVS, _AMBIENT = 1, 8, 22, 24, 36, 38, 47
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION = 0x20080522
_LIMITS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rtprio": resource.RLIMIT_RTPRIO,
}
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(what: str, outcome: int) -> int:
    if outcome < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return outcome


def _system_call(what: str, number: int, *arguments: Any) -> int:
    return _checked(what, _libc.syscall(ctypes.c_long(number), *arguments))


def _prctl(what: str, option: int, *arguments: int) -> int:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _checked(what, _libc.prctl(option, *(ctypes.c_ulong(argument) for argument in padded)))


def abi() -> int:
    """Version of Landlock in this kernel; 0 without."""
    return max(0, _libc.syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


def _ruleset(rules: list[tuple[str, int]]) -> int:
    handled = struct.pack("=QQQ", _ALL_FILE_RIGHTS, _ALL_NETWORK_RIGHTS, _ALL_SCOPES)
    ruleset = _system_call(
        "landlock_create_ruleset", CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint32(0)
    )
    for path, rights in rules:
        try:
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rule = struct.pack("=Qi", rights, beneath)
        _system_call("landlock_add_rule", ADD_RULE, ruleset, _PATH_BENEATH, rule, ctypes.c_uint32(0))
        os.close(beneath)
    return ruleset


def _become(uid: int, gid: int) -> None:
    """Another user, who may pass folders closed to them (what can be opened there, Landlock decides) and has no power besides."""
    os.setgroups([])
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    _checked("capget", _libc.capget(header, held))
    effective, permitted, _, *high = struct.unpack("=6I", held.raw)
    kept = permitted & (1 << _CAP_DAC_READ_SEARCH)
    # Inheritable first: once it is out of the bounding set it can't be made so.
    _checked("capset", _libc.capset(header, struct.pack("=6I", effective, permitted, kept, *high)))
    for capability in range(64):
        if _libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break
    _prctl("keep capabilities", _KEEPCAPS, 1)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _checked("capset", _libc.capset(header, struct.pack("=6I", kept, kept, kept, 0, 0, 0)))
    if kept:
        _prctl("ambient capability", _AMBIENT, 2, _CAP_DAC_READ_SEARCH)


def _confine(order: dict[str, Any]) -> None:
    ruleset = _ruleset(order["rules"])
    if order["drop"]:
        _become(order["uid"], order["gid"])
    for name, value in order["limits"].items():
        hard = resource.getrlimit(_LIMITS[name])[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(_LIMITS[name], (most, most))
    _prctl("no new privileges", _NO_NEW_PRIVS, 1)
    _system_call("landlock_restrict_self", RESTRICT_SELF, ruleset, ctypes.c_uint32(0))
    program = ctypes.create_string_buffer(bytes.fromhex(order["filter"]))
    size = struct.calcsize("=HBBI")
    filter_ = struct.pack("@HP", (len(program) - 1) // size, ctypes.addressof(program))
    _checked("seccomp", _libc.prctl(_SECCOMP, 2, filter_, 0, 0))


def _guest(order: dict[str, Any], problem: int) -> NoReturn:
    """What goes wrong before the command begins is written to `problem`, which closes when it does."""
    try:
        _confine(order)
        _prctl("die with parent", _PDEATHSIG, signal.SIGKILL)
        os.chdir(order["cwd"])
    except OSError as error:
        os.write(problem, str(error).encode())
        os._exit(1)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # this interpreter ignores them
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.closerange(3, problem)
    os.closerange(problem + 1, 4096)
    argv = order["argv"]
    try:
        os.execvpe(argv[0], argv, order["env"])
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _descendants(root: int) -> Iterator[int]:
    waiting = [root]
    while waiting:
        with contextlib.suppress(OSError):
            folder = f"/proc/{waiting.pop()}/task"
            for thread in os.listdir(folder):
                with contextlib.suppress(OSError), open(f"{folder}/{thread}/children", encoding="ascii") as file:
                    children = [int(child) for child in file.read().split()]
                    yield from children
                    waiting += children


def _kill_as(uid: int) -> None:
    """All of a user that nobody else is, at once: no fork can slip between. Nothing happens when there is no room to fork."""
    try:
        killer = os.fork()
    except OSError:
        return
    if killer == 0:
        with contextlib.suppress(OSError):
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        os._exit(0)
    os.waitpid(killer, 0)


def _kill_all(order: dict[str, Any]) -> None:
    """Until nothing is left; orphans come to this process."""
    with contextlib.suppress(ChildProcessError):
        while True:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            if order["drop"]:
                _kill_as(order["uid"])
            for pid in _descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            signal.sigtimedwait((signal.SIGCHLD,), 0.01)


def _follow(command: int) -> "int | None":
    """Wait status of the command; None when told to end."""
    while True:
        if signal.sigwait((signal.SIGCHLD, signal.SIGTERM)) == signal.SIGTERM:
            return None
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == command:
                    return ended[1]


def main(report: int, order: dict[str, Any]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTERM))
    _prctl("end with parent", _PDEATHSIG, signal.SIGTERM)
    _prctl("adopt orphans", _CHILD_SUBREAPER, 1)
    if os.getppid() != order["parent"]:
        return
    problems, problem = os.pipe()
    command = os.fork()
    if command == 0:
        _guest(order, problem)
    os.close(problem)
    os.write(report, json.dumps({"child-pid": command}).encode() + b"\n")
    text = os.read(problems, 4096)
    # The command's own output has ended when its processes have, not when this one does.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    status = _follow(command)
    _kill_all(order)
    if text:
        os.write(2, text)
    elif status is not None:
        code = os.waitstatus_to_exitcode(status)
        os.write(report, json.dumps({"exit-code": code if code >= 0 else 128 - code}).encode() + b"\n")


if __name__ == "__main__":
    with open(int(sys.argv[2]), encoding="utf-8") as _file:
        _order = json.load(_file)
    main(int(sys.argv[1]), _order)
