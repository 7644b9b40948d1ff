"""The system calls a guest may not make, as a classic BPF program for the kernel's seccomp filter.

Written by hand rather than with libseccomp: one file, no native dependency. Numbers are the kernel's own
(`asm/unistd_64.h`, `asm-generic/unistd.h`); a machine of another kind is refused. Calls that programs try and do without get
ENOSYS, so that they fall back; those with no honest use in a test get EPERM.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from cavalcade.kernel.errors import SandboxUnavailable

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000  # a second, 32-bit call table of x86_64 that would go around the numbers below

_NEW_NAMESPACE = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_SET_ID = 0o6000
_CREATES = 0o100 | 0o20000000  # O_CREAT, O_TMPFILE: only then is the mode argument meant
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

_REFUSED = {
    errno.EPERM: (
        "ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise unshare setns mount umount2 pivot_root "
        "chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr add_key request_key keyctl bpf "
        "perf_event_open userfaultfd init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff "
        "acct quotactl quotactl_fd syslog settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname vhangup "
        "lookup_dcookie name_to_handle_at open_by_handle_at fanotify_init move_pages migrate_pages iopl ioperm modify_ldt "
        "uselib"
    ),
    # clone3 and openat2 carry their flags in memory, out of a filter's sight; the others hold memory that no process owns.
    errno.ENOSYS: "clone3 openat2 io_uring_setup io_uring_enter io_uring_register memfd_create memfd_secret shmget msgget",
}

_SINCE_5_1 = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "openat2": 437, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447, "fchmodat2": 452,
}  # fmt: skip

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "open": 2, "ioctl": 16, "shmget": 29, "socket": 41, "clone": 56, "msgget": 68, "creat": 85, "chmod": 90, "fchmod": 91,
        "ptrace": 101, "syslog": 103, "mknod": 133, "uselib": 134, "vhangup": 153, "modify_ldt": 154, "pivot_root": 155,
        "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167,
        "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
        "init_module": 175, "delete_module": 176, "quotactl": 179, "lookup_dcookie": 212, "clock_settime": 227,
        "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256, "openat": 257,
        "mknodat": 259, "fchmodat": 268, "unshare": 272, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "memfd_create": 319, "kexec_file_load": 320, "bpf": 321,
        "userfaultfd": 323, **_SINCE_5_1,
    },
    "aarch64": {
        "lookup_dcookie": 18, "ioctl": 29, "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51,
        "fchmod": 52, "fchmodat": 53, "openat": 56, "vhangup": 58, "quotactl": 60, "acct": 89, "unshare": 97,
        "kexec_load": 104, "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117,
        "reboot": 142, "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "msgget": 186,
        "shmget": 194, "socket": 198, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224,
        "swapoff": 225, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "memfd_create": 279, "bpf": 280, "userfaultfd": 282,
        "kexec_file_load": 294, **_SINCE_5_1,
    },
}  # fmt: skip


@dataclass(frozen=True)
class _Step:
    """One BPF instruction; `yes` and `no` are how many instructions to skip."""

    code: int
    value: int
    yes: int = 0
    no: int = 0

    def packed(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.yes, self.no, self.value)


def _argument(index: int) -> _Step:
    """Loads the low half of an argument: the kernel looks at no more of a mode, flag word or address family."""
    return _Step(_LOAD, _ARGUMENTS + 8 * index)


def _refuse(error: int) -> _Step:
    return _Step(_RETURN, _ERRNO | error)


def _for_call(number: int, body: list[_Step]) -> list[_Step]:
    """`body` for one call, skipped by others; a body that falls through has the call number loaded again."""
    again = [_Step(_LOAD, _NUMBER)] if body[0].code == _LOAD else []
    return [_Step(_JUMP_EQUAL, number, 0, len(body) + len(again)), *body, *again]


def _refuse_when(error: int, *tests: tuple[int, int]) -> list[_Step]:
    """Refuses when for each (argument, mask) some bit of the mask is set."""
    steps: list[_Step] = []
    for count, (index, mask) in enumerate(reversed(tests)):
        steps[:0] = [_argument(index), _Step(_JUMP_ANY_BIT, mask, 0, 2 * count + 1)]
    return [*steps, _refuse(error)]


def _socket_families() -> list[_Step]:
    """UNIX and internet sockets, and the routing socket that the C library asks for addresses; none that leave a network
    namespace (vsock) or reach into the kernel (packet, alg, ...)."""
    return [
        _argument(0),
        _Step(_JUMP_EQUAL, _AF_UNIX, 6, 0),
        _Step(_JUMP_EQUAL, _AF_INET, 5, 0),
        _Step(_JUMP_EQUAL, _AF_INET6, 4, 0),
        _Step(_JUMP_EQUAL, _AF_NETLINK, 0, 2),
        _argument(2),
        _Step(_JUMP_EQUAL, 0, 1, 0),
        _refuse(errno.EAFNOSUPPORT),
    ]


def _terminal_input() -> list[_Step]:
    return [
        _argument(1),
        _Step(_JUMP_EQUAL, _TIOCSTI, 1, 0),
        _Step(_JUMP_EQUAL, _TIOCLINUX, 0, 1),
        _refuse(errno.EPERM),
    ]


@dataclass(frozen=True)
class Rule:
    """For one more call: fails with `error`, or succeeds without doing anything where that is 0; passes when all arguments in
    `unless_zero` (by index) are zero."""

    number: int
    error: int
    unless_zero: tuple[int, ...] = ()

    def steps(self) -> list[_Step]:
        if not self.unless_zero:
            return _for_call(self.number, [_refuse(self.error)])
        left = len(self.unless_zero)
        body: list[_Step] = []
        for index in self.unless_zero:  # any that is not zero leads to the refusal; past the last one it is skipped
            left -= 1
            body += [_argument(index), _Step(_JUMP_EQUAL, 0, 0 if left else 1, 2 * left)]
        return _for_call(self.number, [*body, _refuse(self.error)])


def _rules(machine: str) -> Iterable[list[_Step]]:
    numbers = NUMBERS[machine]
    for error, names in _REFUSED.items():
        for name in names.split():
            if name in numbers:
                yield _for_call(numbers[name], [_refuse(error)])
    conditional = {
        "clone": _refuse_when(errno.EPERM, (0, _NEW_NAMESPACE)),
        "chmod": _refuse_when(errno.EPERM, (1, _SET_ID)),
        "fchmod": _refuse_when(errno.EPERM, (1, _SET_ID)),
        "fchmodat": _refuse_when(errno.EPERM, (2, _SET_ID)),
        "fchmodat2": _refuse_when(errno.EPERM, (2, _SET_ID)),
        "creat": _refuse_when(errno.EPERM, (1, _SET_ID)),
        "mknod": _refuse_when(errno.EPERM, (1, _SET_ID)),
        "mknodat": _refuse_when(errno.EPERM, (2, _SET_ID)),
        "open": _refuse_when(errno.EPERM, (1, _CREATES), (2, _SET_ID)),
        "openat": _refuse_when(errno.EPERM, (2, _CREATES), (3, _SET_ID)),
        "socket": _socket_families(),
        "ioctl": _terminal_input(),
    }
    for name, body in conditional.items():
        if name in numbers:
            yield _for_call(numbers[name], body)


def program(machine: str, more: Iterable[Rule] = ()) -> bytes:
    """The filter as an array of `struct sock_filter`, for `machine` as `os.uname` names it. Raises SandboxUnavailable.

    `more` rules come after the ones that hold for every guest.
    """
    if machine not in _AUDIT_ARCH:
        raise SandboxUnavailable(
            f"no system call filter for machine type {machine!r}", expected=" or ".join(_AUDIT_ARCH)
        )
    steps = [
        _Step(_LOAD, _ARCH),
        _Step(_JUMP_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _Step(_RETURN, _KILL),
        _Step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [_Step(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _refuse(errno.ENOSYS)]
    for rule in _rules(machine):
        steps += rule
    for extra in more:
        steps += extra.steps()
    steps.append(_Step(_RETURN, _ALLOW))
    return b"".join(step.packed() for step in steps)
