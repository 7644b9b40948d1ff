"""System calls that a guest may not make where no namespace keeps it apart: what Landlock doesn't see.

Sockets of every family (socket pairs stay), System V and POSIX queues, and other processes' priorities and limits are refused.
Calls that change or show a file's metadata by path reach every path: those that change it are answered as done and not carried
out, so that a test suite goes on; `chown` and extended attributes are refused as on a disk that has none.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

from cavalcade.kernel.errors import SandboxUnavailable
from cavalcade.sandbox.seccomp import NUMBERS, Rule

_ANSWERS = {
    0: "chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat",
    errno.EPERM: "chown fchown lchown fchownat ioprio_set file_setattr",
    errno.EACCES: "socket",
    errno.ENOTSUP: (
        "setxattr lsetxattr fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr "
        "listxattrat removexattr lremovexattr fremovexattr removexattrat"
    ),
    errno.ENOSYS: (
        "inotify_init inotify_init1 inotify_add_watch semget semop semctl semtimedop shmat shmctl msgsnd msgrcv msgctl mq_open "
        "mq_unlink"
    ),
}
_ON_ITSELF_ONLY = {
    "prlimit64": (0,), "setpriority": (0, 1), "sched_setparam": (0,), "sched_setscheduler": (0,),
    "sched_setaffinity": (0,), "sched_setattr": (0,),
}  # fmt: skip
_SINCE_5_1 = {"setxattrat": 463, "getxattrat": 464, "listxattrat": 465, "removexattrat": 466, "file_setattr": 469}
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "shmat": 30, "shmctl": 31, "semget": 64, "semop": 65, "semctl": 66, "msgsnd": 69, "msgrcv": 70, "msgctl": 71,
        "chown": 92, "fchown": 93, "lchown": 94, "utime": 132, "setpriority": 141, "sched_setparam": 142,
        "sched_setscheduler": 144, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "getxattr": 191, "lgetxattr": 192,
        "fgetxattr": 193, "listxattr": 194, "llistxattr": 195, "flistxattr": 196, "removexattr": 197, "lremovexattr": 198,
        "fremovexattr": 199, "sched_setaffinity": 203, "semtimedop": 220, "utimes": 235, "mq_open": 240, "mq_unlink": 241,
        "ioprio_set": 251, "inotify_init": 253, "inotify_add_watch": 254, "fchownat": 260, "futimesat": 261,
        "utimensat": 280, "inotify_init1": 294, "prlimit64": 302, "sched_setattr": 314, **_SINCE_5_1,
    },
    "aarch64": {
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "getxattr": 8, "lgetxattr": 9, "fgetxattr": 10, "listxattr": 11,
        "llistxattr": 12, "flistxattr": 13, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "inotify_init1": 26,
        "inotify_add_watch": 27, "ioprio_set": 30, "fchownat": 54, "fchown": 55, "utimensat": 88, "sched_setparam": 118,
        "sched_setscheduler": 119, "sched_setaffinity": 122, "setpriority": 140, "mq_open": 180, "mq_unlink": 181,
        "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "semget": 190, "semctl": 191, "semtimedop": 192, "semop": 193,
        "shmctl": 195, "shmat": 196, "prlimit64": 261, "sched_setattr": 274, **_SINCE_5_1,
    },
}  # fmt: skip


def rules(machine: str) -> Iterator[Rule]:
    """What comes on top of `seccomp.program`. Raises SandboxUnavailable for a kind of machine that it doesn't know."""
    if machine not in _NUMBERS:
        raise SandboxUnavailable(f"no system call filter for machine type {machine!r}", expected=" or ".join(_NUMBERS))
    numbers = NUMBERS[machine] | _NUMBERS[machine]
    for error, names in _ANSWERS.items():
        yield from (Rule(numbers[name], error) for name in names.split() if name in numbers)
    yield from (Rule(numbers[name], errno.EPERM, arguments) for name, arguments in _ON_ITSELF_ONLY.items())
