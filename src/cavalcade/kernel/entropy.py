"""Randomness as an argument, so that a seed replays everything."""

from __future__ import annotations

import os
from typing import Protocol


class Entropy(Protocol):
    def bytes(self, count: int) -> bytes:
        """`count` random bytes."""
        ...


class SystemEntropy:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)
