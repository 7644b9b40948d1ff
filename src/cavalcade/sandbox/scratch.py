"""Removing folders that a guest has written to."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Janitor:
    """Discards folders in the background, while other work goes on."""

    def __init__(self) -> None:
        self._under_way: list[asyncio.Task[None]] = []

    def discard(self, folder: Path) -> None:
        self._under_way.append(asyncio.create_task(asyncio.to_thread(discard, folder)))

    async def aclose(self) -> None:
        """Waits for all of it. Raises OSError when something could not be removed."""
        await asyncio.gather(*self._under_way)


def discard(folder: Path) -> None:
    """Removes `folder` and all in it, whatever a guest has made of it; nothing happens when it isn't there.

    `shutil.rmtree` gives up on folders nested deeper than Python's recursion limit, on paths longer than the kernel takes, and on
    folders that their owner may not read. Here nested folders are moved up and emptied one by one. No link is followed. No guest may
    run on it any more. Raises OSError.
    """
    try:
        folder.chmod(0o700)
        top = os.open(folder, _FOLDER)
    except FileNotFoundError:
        return
    try:
        numbers = itertools.count()
        waiting = _empty(top, top, numbers)
        while waiting:
            name = waiting.pop()
            os.chmod(name, 0o700, dir_fd=top)
            inner = os.open(name, _FOLDER, dir_fd=top)
            try:
                waiting += _empty(inner, top, numbers)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    folder.rmdir()


def _empty(folder: int, top: int, numbers: itertools.count[int]) -> list[str]:
    """Unlinks the files in `folder` and moves its folders to `top`; their names there."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    moved: list[str] = []
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
            continue
        moved.append(f".discarded-{os.getpid()}-{next(numbers)}")
        os.rename(name, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
    return moved
