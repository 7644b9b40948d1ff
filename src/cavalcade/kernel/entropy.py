"""Randomness as an argument, so that a seed replays everything."""

from __future__ import annotations

import os
from collections import deque
from typing import Protocol


class Entropy(Protocol):
    def bytes(self, count: int) -> bytes:
        """`count` random bytes."""
        ...


class SystemEntropy:
    """The operating system's. What ids need is fetched a page at a time: a call for each costs more than the id. Any thread may use it."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        # A forked child must not draw what its parent draws.
        os.register_at_fork(after_in_child=self._pieces.clear)

    def bytes(self, count: int) -> bytes:
        if count > _PIECE:
            return os.urandom(count)
        while True:
            try:
                return self._pieces.pop()[:count]  # atomic: no two callers get the same piece
            except IndexError:
                page = os.urandom(_PAGE)
                self._pieces.extend(page[start : start + _PIECE] for start in range(0, _PAGE, _PIECE))


_PIECE, _PAGE = 16, 4096
