"""Attacks on a sandbox as text, run by root and by an ordinary user in each of them. Standard library and the sandbox room only.

`GAPS` is what a sandbox does not contain; docs/sandbox.md shows it, and a test holds the two together.
"""

from __future__ import annotations

import errno
import json
import os
import platform

from cavalcade.sandbox.seccomp import NUMBERS

NUMBER = NUMBERS[platform.machine()]
NATIVE = ("bubblewrap", "landlock")


def attack(code: str) -> str:
    """Prints `reached` or what stopped it."""
    body = "\n".join(f"    {line}" for line in code.splitlines())
    return f"import os, socket, sys\ntry:\n{body}\n    print('reached')\nexcept OSError as error:\n    print('stopped', error.errno)"


def together(attacks: dict[str, str]) -> str:
    """One program for many attacks, each in a process of its own; prints a JSON object: name to what the attack printed."""
    return (
        "import json, os, sys\nsaid = {}\n"
        f"for name, code in json.loads({json.dumps(json.dumps(attacks))}).items():\n"
        "    ours, theirs = os.pipe()\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        os.dup2(theirs, 1); os.mkdir(f'{os.getpid()}'); os.chdir(f'{os.getpid()}')\n"
        "        try: exec(code, {})\n"
        "        finally: sys.stdout.flush(); os._exit(0)\n"
        "    os.close(theirs); os.waitpid(pid, 0)\n"
        "    said[name] = os.read(ours, 65536).decode(); os.close(ours)\n"
        "print(json.dumps(said))"
    )


REACHES_OUT = {
    "reads a planted key": "open('{outside}/id_ed25519').read()",
    "reads the list of the outside": "os.listdir('{outside}')",
    "writes outside": "open('{outside}/new', 'w').write('x')",
    "changes a file outside": "open('{outside}/id_ed25519', 'a').write('')",
    "changes a mode outside": "os.chmod('{outside}/id_ed25519', 0o666)",
    "changes times outside": "os.utime('{outside}/id_ed25519')",
    "asks for an outside file": "os.stat('{outside}/id_ed25519')",
    "follows its own symbolic link": "os.symlink('{outside}/id_ed25519', 'link')\nopen('link').read()",
    "makes a hard link": "os.link('{outside}/id_ed25519', '{outside}/hard')",
    "links an outside file into its folder": "os.link('{outside}/id_ed25519', 'hard')",
    "removes a file outside": "os.rename('{outside}/id_ed25519', '{outside}/moved'); os.rename('{outside}/moved', '{outside}/id_ed25519')",
    "climbs by dots": "open('../' * 20 + '{outside}/id_ed25519').read()",
    "goes by the root of another process": "open('/proc/{pid}/root{outside}/id_ed25519').read()",
    "sees the parent": "os.kill({pid}, 0)\nassert open('/proc/{pid}/stat').read().rpartition(')')[2].split()[19] == '{started}'",
    "reads the parent's environment": "assert b'PATH' in open('/proc/{pid}/environ', 'rb').read()",
    "reads the parent's memory": "open('/proc/{pid}/mem', 'rb').close()\nos.kill({pid}, 0)",
    "connects over TCP": "socket.create_connection(('127.0.0.1', {tcp}), 2)",
    "connects to a socket by path": "socket.socket(socket.AF_UNIX).connect('{outside}/socket')",
    "connects to an abstract socket": "socket.socket(socket.AF_UNIX).connect('\\x00{abstract}')",
}
GAPS = {
    "bubblewrap": frozenset[str](),
    "landlock": frozenset({"asks for an outside file", "opens a handle of another"}),
    "wasm": frozenset[str](),
}
"""Attacks that succeed, by sandbox."""
PRETENDED = {
    "bubblewrap": frozenset({"slows all of its user down"}),
    "landlock": frozenset({"changes a mode outside", "changes times outside"}),
    "wasm": frozenset({"changes a mode outside"}),
}
"""Answered as done, and done to nothing outside."""

CALLS: dict[str, tuple[int, tuple[int, ...], int]] = {
    "a new user namespace by clone3": (NUMBER["clone3"], (0, 0), errno.ENOSYS),
    "io_uring": (NUMBER["io_uring_setup"], (0, 0), errno.ENOSYS),
    "openat2": (NUMBER["openat2"], (0, 0, 0, 0), errno.ENOSYS),
    "memory files": (NUMBER["memfd_create"], (0, 0xFFFF), errno.ENOSYS),
    "keyrings": (NUMBER["keyctl"], (0, -3, 0), errno.EPERM),
    "bpf": (NUMBER["bpf"], (9999, 0, 0), errno.EPERM),
    "performance events": (NUMBER["perf_event_open"], (0, 0, 0, 0, 0), errno.EPERM),
    "ptrace": (NUMBER["ptrace"], (9999, 1, 0, 0), errno.EPERM),
    "reading another's memory": (NUMBER["process_vm_readv"], (os.getpid(), 0, 0, 0, 0, 0), errno.EPERM),
    "mounting": (NUMBER["fsopen"], (0, 0), errno.EPERM),
    "user faults": (NUMBER["userfaultfd"], (0xFFFFFF,), errno.EPERM),
    "handles of files": (NUMBER["name_to_handle_at"], (-1, 0, 0, 0, 0), errno.EPERM),
}


def call(number: int, arguments: tuple[int, ...]) -> str:
    return (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.syscall({number}, *map(ctypes.c_long, {arguments})), ctypes.get_errno())"
    )


NAMESPACES = (0x10000000, 0x20000, 0x40000000, 0x20000000)


def namespace(flag: int) -> str:
    return (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.unshare({flag}), ctypes.get_errno())\n"
        f"print(libc.syscall({NUMBER['clone']}, ctypes.c_long({flag}), 0, 0, 0, 0), ctypes.get_errno())"
    )


FAMILIES = {16: 15, 17: 0, 38: 0, 40: 0}
"""Address family: protocol."""


def raw_socket(family: int) -> str:
    return attack(f"socket.socket({family}, socket.SOCK_RAW, {FAMILIES[family]})")


SETUID = (
    "open('f', 'w').close()\nos.chmod('f', 0o4755)",
    "open('f', 'w').close()\nos.fchmod(os.open('f', os.O_RDONLY), 0o2755)",
    "os.umask(0)\nos.close(os.open('f', os.O_CREAT | os.O_WRONLY, 0o4755))",
    "os.umask(0)\nos.mknod('f', 0o104755)",
)
PRIVATE = ("/etc/shadow", "/root/.ssh", "/var/log", "/boot", "/sys/kernel", "/run", "/proc/kcore")


def opens(path: str) -> str:
    return attack(f"os.open({path!r}, os.O_RDONLY)")


OTHERS = {
    "raises another's limits": "import resource\nresource.prlimit({pid}, resource.RLIMIT_NOFILE)",
    "slows another down": "os.setpriority(os.PRIO_PROCESS, {pid}, 19)",
    "slows all of its user down": "os.setpriority(os.PRIO_USER, 0, 19)",
    "moves another to one processor": "os.sched_setaffinity({pid}, os.sched_getaffinity(0))",
    "signals another": "os.kill({pid}, 0)",
    "signals its group": "os.killpg({group}, 0)",
    "opens a handle of another": "os.pidfd_open({pid})",
}
"""With its own uid that the kernel lets each of them do outside."""
EXHAUSTS = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "fork bomb of daemons": "import os\nwhile True:\n    try:\n        if os.fork() == 0: os.setsid()\n    except OSError: pass",
    "memory of many": "import os, signal\nfor _ in range(8):\n    if os.fork() == 0: break\nx = b'x' * (100 << 20)\nsignal.pause()",
    "memory of one": "try: bytearray(8 << 30)\nexcept MemoryError: print('refused')",
    "many files": "import itertools\nfor n in itertools.count(): open(f'f{n}', 'w').close()",
    "files in tmp": "import itertools, os\nfor n in itertools.count(): open(os.environ['TMPDIR'] + f'/f{n}', 'w').close()",
    "large files": "import itertools\nfor n in itertools.count(): open(f'f{n}', 'wb').write(b'x' * (8 << 20))",
    "one large file": "f = open('f', 'wb')\ntry:\n    while True: f.write(b'x' * (1 << 20)); f.flush()\nexcept OSError: print('refused')",
    "hidden growth": "import os\nos.mkdir('d'); os.chmod('d', 0o300)\nfor n in range(60): open(f'd/f{n}', 'wb').write(b'x' * (8 << 20))",
    "files without a name": (
        "import os, signal\nkept = []\nfor n in range(10):\n    kept.append(open('f', 'wb'))\n    os.unlink('f')\n"
        "    kept[-1].write(b'x' * (8 << 20)); kept[-1].flush()\nsignal.pause()"
    ),
    "processor": "import os\nos.fork()\nwhile True: pass",
    "sleep": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()",
    "output": "import sys\nwhile True: sys.stdout.write('x' * 65536); sys.stderr.write('y' * 65536)",
}
HITS = {
    "fork bomb": "processes", "fork bomb of daemons": "processes", "memory of many": "memory", "memory of one": "",
    "many files": "files", "files in tmp": "files", "large files": "disk", "one large file": "",
    "hidden growth": "disk", "files without a name": "disk", "processor": "cpu", "sleep": "wall", "output": "output",
}  # fmt: skip
