"""Decisions on the record: what was chosen, why, and what was turned down."""

from __future__ import annotations

from cavalcade.protocol.plan import Struct


class Alternative(Struct, frozen=True):
    choice: str
    why: str


class Decision(Struct, frozen=True):
    """`confidence` from 0 to 1; `context_hash` is the digest of what the decider saw."""

    question: str
    choice: str
    rationale: str
    rejected: tuple[Alternative, ...] = ()
    confidence: float = 1.0
    context_hash: str = ""
