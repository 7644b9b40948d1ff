"""Appends numbered lines to a write-ahead file and says each one that is in; dies in the middle of its n-th write."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from cavalcade.telemetry.backlog import LEAST_LIMIT, Backlog
from cavalcade.testing.crashing import Fuse, die

SIZE = 20_000
"""Bytes of a line: a few of them reach the limit."""


def main(path: str, first: int, count: int, limit: int) -> None:
    fuse = Fuse(limit, end=lambda: None)

    def write(fd: int, data: bytes) -> int:
        fuse()
        if fuse.crossed == fuse.limit:
            os.write(fd, data[: len(data) // 2])
            die()
        return os.write(fd, data)

    backlog = Backlog(Path(path), limit_bytes=LEAST_LIMIT, write=write)
    for position in range(first, first + count):
        line = {"specversion": "1.0", "position": position, "text": "x" * SIZE}
        backlog.append(json.dumps(line).encode() + b"\n")
        os.write(1, f"{position}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
