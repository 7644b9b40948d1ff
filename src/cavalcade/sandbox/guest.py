"""Whom a native sandbox runs a command as, what that command finds around it, and the folders it is given."""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cavalcade.kernel.errors import UsageError
from cavalcade.sandbox.usage import FolderUse, folder_use

HOME = "/home/sandbox"
USER_ID = 1000
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = (
    "/etc/alternatives", "/etc/ca-certificates.conf", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types",
    "/etc/nsswitch.conf", "/etc/pki/tls/certs", "/etc/protocols", "/etc/services", "/etc/ssl/certs", "/etc/timezone",
)  # fmt: skip
"""What of the system every guest may read."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_slots = itertools.count()


@dataclass(frozen=True)
class Identity:
    """Whom the guest is. `drop` says that root changes to this uid; else a user namespace maps it to the caller."""

    uid: int
    gid: int
    drop: bool


def guest_identity() -> Identity:
    """A new uid for each command where the caller is root, so that commands running side by side can't touch each other."""
    if os.geteuid() != 0:
        return Identity(USER_ID, USER_ID, drop=False)
    start, length = _widest_range(Path("/proc/self/uid_map"))
    span = min(1 << 30, length // 2)
    # Process id and a count: unique among the living processes of this machine, far above the uids that people have.
    uid = min(start + length, 1 << 31) - 1 - span + (os.getpid() << 8 | next(_slots) & 0xFF) % span
    return Identity(uid, uid, drop=True)


def _widest_range(table: Path) -> tuple[int, int]:
    """First id and number of ids of the widest range that exists in this user namespace."""
    ranges = (line.split() for line in table.read_text(encoding="ascii").splitlines())
    return max(((int(inside), int(length)) for inside, _, length in ranges), key=lambda found: found[1])


def environment() -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": HOME,
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "USER": "sandbox",
        "LOGNAME": "sandbox",
        "SHELL": "/bin/sh",
        "TERM": "dumb",
    }


def inside(cwd: str) -> PurePosixPath:
    path = PurePosixPath(cwd)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"working folder {cwd!r} is not below the workspace", expected="a relative path without '..'")
    return path


def hand_over(workspace: Path, identity: Identity, large_bytes: int = 1 << 62) -> FolderUse:
    """Measures the workspace and, where the guest is another user, gives it to them. `large_bytes` as in `folder_use`."""

    def give(name: str, folder: int, info: os.stat_result) -> None:
        shared = info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode)
        if not shared and info.st_uid != identity.uid:  # a file with another name elsewhere keeps its owner
            os.chown(name, identity.uid, identity.gid, dir_fd=folder, follow_symlinks=False)

    try:
        base = folder_use(workspace, give if identity.drop else None, large_bytes=large_bytes)
        if identity.drop:
            os.chown(workspace, identity.uid, identity.gid, follow_symlinks=False)
    except OSError as exc:
        raise UsageError(f"folder {workspace} can't be used: {exc.strerror}", expected="a folder of one's own") from exc
    return base


@contextmanager
def memory_file(data: bytes) -> Generator[int]:
    """A descriptor that reads as `data`, and can't be written to by whoever inherits it."""
    descriptor = os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        yield descriptor
    finally:
        os.close(descriptor)
