"""Decisions on the record: what was chosen, why, and what was turned down."""

from __future__ import annotations

from cavalcade.protocol.plan import Struct


class Alternative(Struct, frozen=True):
    choice: str
    why: str


class Decision(Struct, frozen=True):
    """`confidence` from 0 to 1; `context_hash` is the SHA-256 of what the decider saw, as 64 hexadecimal digits, or `unrecorded`.

    Who decides may leave `context_hash` to the one who showed it its context; on the record it is never empty. `memories` are the ids
    of those that were used.
    """

    question: str
    choice: str
    rationale: str
    rejected: tuple[Alternative, ...] = ()
    confidence: float = 1.0
    context_hash: str = ""
    memories: tuple[str, ...] = ()
