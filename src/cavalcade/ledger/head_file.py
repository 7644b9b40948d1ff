"""The head record: position and hash of the last event, in a small file beside the database.

It is there to notice what the database alone can't: that its write-ahead log was removed, that an older copy was put in its place, that
its last events were cut off. It is written after each commit and not synced: after a power failure it may be behind, which says
nothing, but it is never ahead of what is durable. Where the file itself is missing or torn, nothing is concluded from it.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from pathlib import Path
from typing import NamedTuple


class Head(NamedTuple):
    position: int
    hash: str


_EMPTY = Head(0, "")
_SIZE = 120


class HeadFile:
    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + "-head")
        self._descriptor = -1

    def read(self) -> Head:
        """Position 0 when there is no record or it is torn. Raises OSError when it can't be read."""
        try:
            text = self.path.read_bytes()[:_SIZE].decode("ascii", "replace")
        except FileNotFoundError:
            return _EMPTY
        content, _, checksum = text.rstrip().rpartition(" ")
        words = content.split(" ")
        if len(words) != 3 or checksum != _checksum(content) or words[0] != "cavalcade-head-1":
            return _EMPTY
        return Head(int(words[1]), words[2])

    def write(self, position: int, hash_hex: str) -> None:
        """Raises OSError."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        content = f"cavalcade-head-1 {position:020d} {hash_hex}"
        line = f"{content} {_checksum(content)}"
        os.pwrite(self._descriptor, f"{line:<{_SIZE - 1}}\n".encode(), 0)

    def close(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def _checksum(content: str) -> str:
    return f"{zlib.crc32(content.encode()):08x}"
