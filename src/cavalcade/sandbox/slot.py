"""One workspace of the pool on the disk: its lock, the note of what it holds, and the proof that it still does.

    <pool>/<name>/        locked (flock) by the process that makes, uses, moves or removes it
    <pool>/<name>/note    what `tree` holds; there only while nobody uses it
    <pool>/<name>/tree/   the workspace

The note is written when the work is done and removed before the next begins, so a slot without one is of no use to anybody: a killed
process leaves its lock open and no note, and whoever comes next removes the slot.

The note carries a digest over every entry below `tree`: name, inode, mode, links, owner, size, times of modification and of
change. No program can set the last one, so whatever is altered after the digest was taken is seen. After a power cut files may
be back that were never written: a note of another boot of the machine counts for nothing, and nothing has to wait for the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from cavalcade import __version__
from cavalcade.domain.pool import Key
from cavalcade.kernel.canonical import digest_of
from cavalcade.kernel.ids import ProjectId, TreeId
from cavalcade.sandbox.scratch import discard

_NOTE, _TREE = "note", "tree"
_MOST_NOTE_BYTES = 4096
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_STATUS = Path("/proc/self/status")
_TICK_NS = 10_000_000
"""The coarsest step in which a kernel counts times of change (100 Hz)."""


class Proof(NamedTuple):
    """What a look through a whole workspace found."""

    digest: str
    size_bytes: int
    newest_ns: int


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tree` and `layout` say what was laid out, `proof` how it looked then, `circumstances` under what it counts. `used_ns`: when
    it was used last, since 1970. `seal` is the digest of all the rest.
    """

    project: ProjectId
    layout: str
    tree: TreeId
    proof: str
    size_bytes: int
    used_ns: int
    circumstances: str
    seal: str = ""

    @property
    def key(self) -> Key:
        return Key(self.project, self.layout)

    def sealed(self) -> Note:
        bare = msgspec.structs.replace(self, seal="")
        return msgspec.structs.replace(bare, seal=digest_of(msgspec.to_builtins(bare)))


def circumstances() -> str:
    """Boot, user, file mode mask and version: under others a new workspace would look different, or might not be whole."""
    boot = _BOOT.read_text(encoding="ascii").strip()
    lines = _STATUS.read_text(encoding="utf-8", errors="replace").splitlines()
    umask = next((line.split()[1] for line in lines if line.startswith("Umask:")), "")
    return f"{boot} {os.geteuid()} {umask} {__version__}"


def prove(folder: Path) -> Proof:
    """Looks at every entry of a workspace in which no guest ever ran, without opening a file. Raises OSError."""
    digest = hashlib.sha256()
    size_bytes = newest = 0
    waiting = [os.fspath(folder)]
    digest.update(_line(b"", os.lstat(folder)))
    while waiting:
        here = waiting.pop()
        with os.scandir(here) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        digest.update(b"%d\n" % len(entries))
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            digest.update(_line(os.fsencode(entry.name), info))
            size_bytes += info.st_blocks * 512
            newest = max(newest, info.st_ctime_ns)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return Proof(digest.hexdigest(), size_bytes, newest)


def _line(name: bytes, info: os.stat_result) -> bytes:
    facts = (
        info.st_ino, info.st_mode, info.st_nlink, info.st_uid, info.st_gid, info.st_size, info.st_mtime_ns, info.st_ctime_ns,
    )  # fmt: skip
    return name + b"\0%s\n" % repr(facts).encode()


def settled(folder: Path) -> Proof:
    """The proof of what was just laid out, taken so that whatever is altered after this returns has a later time of change."""
    proof = prove(folder)
    if proof.newest_ns + _TICK_NS > time.time_ns():
        time.sleep(_TICK_NS / 1e9)
    return proof


@dataclass(frozen=True)
class HeldSlot:
    """A slot that this process alone has. `handle` is its open folder, by which it is locked."""

    path: Path
    handle: int

    @property
    def folder(self) -> Path:
        """The workspace."""
        return self.path / _TREE

    def note(self) -> Note | None:
        return _read_note(self.handle)

    def seal(self, note: Note) -> None:
        """From now on it lies ready. Raises OSError."""
        temporary = f"{_NOTE}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=self.handle)
        try:
            os.write(descriptor, msgspec.json.encode(note.sealed()))
        finally:
            os.close(descriptor)
        os.rename(temporary, _NOTE, src_dir_fd=self.handle, dst_dir_fd=self.handle)

    def unseal(self) -> None:
        """Before anything is done in it. Raises OSError."""
        os.unlink(_NOTE, dir_fd=self.handle)

    def remove(self) -> None:
        """Off the disk, note first. Raises OSError when something resists; then it has no note, and the next one tries."""
        with suppress(FileNotFoundError):
            self.unseal()
        discard(self.path)

    def release(self) -> None:
        os.close(self.handle)


def hold(path: Path) -> HeldSlot | None:
    """None when another process holds it, or when it isn't there. Raises OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here = os.stat(path, follow_symlinks=False)
        if os.path.samestat(here, os.fstat(handle)):  # else it was removed, or made anew, before the lock was ours
            return HeldSlot(path, handle)
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None


def make(pool: Path, name: str) -> HeldSlot | None:
    """A new slot, held; None when the name is taken, or when another process took it for a leftover. Raises OSError."""
    pool.mkdir(parents=True, exist_ok=True)
    try:
        (pool / name).mkdir()
    except FileExistsError:
        return None
    return hold(pool / name)


def peek(path: Path) -> Note | None:
    """A slot's note without holding it. Raises OSError when the folder can't be opened."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return _read_note(handle)
    finally:
        os.close(handle)


def _read_note(folder: int) -> Note | None:
    """None where there is none, or one that does not count here and now."""
    try:
        descriptor = os.open(_NOTE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        note = msgspec.json.decode(os.read(descriptor, _MOST_NOTE_BYTES), type=Note)
    except (OSError, msgspec.DecodeError):
        return None
    finally:
        os.close(descriptor)
    return note if note == note.sealed() and note.circumstances == circumstances() else None
