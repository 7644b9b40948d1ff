"""What a signed head must say: one rule for the walk over a ledger and for events that are taken in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import OriginId
from cavalcade.ledger.chain import Body
from cavalcade.ledger.port import SignedHead
from cavalcade.ledger.signing import signature_holds
from cavalcade.protocol.events import HeadSigned, decode

WINDOW = 1024
"""A signature stands at most this many events of its origin after the head it signs: so many hashes are kept to compare it with."""


def is_signed_head(body: Body) -> bool:
    return body.event.type == HeadSigned.TYPE


def problem_of(signed: HeadSigned, body: Body, hash_at: Callable[[int], str]) -> str:
    """Empty when the signature is right. `hash_at` gives the hash of the origin's event at one of the last `WINDOW` sequence numbers."""
    if signed.origin != body.origin:
        return f"wrong signature: it is for origin {signed.origin}, recorded by origin {body.origin}"
    if not max(body.originseq - WINDOW, 1) <= signed.seq < body.originseq:
        return f"wrong signature: it is for event {signed.seq}, further than {WINDOW} events before it"
    if hash_at(signed.seq) != signed.head:
        return f"wrong signature: event {signed.seq} of origin {signed.origin} has another hash than was signed"
    if not signature_holds(signed):
        return f"wrong signature: it was not made for this head with the key {signed.key}"
    return ""


def read(body: Body) -> HeadSigned | None:
    """None when the data of a signed head says nothing."""
    try:
        payload = decode(body.event)
    except LedgerDamaged:
        return None
    return payload if isinstance(payload, HeadSigned) else None


class SignedHeads:
    """Walks the events of all origins in order and checks each signed head among them. Its memory is bounded for each origin.

    Without `keys` an origin's first key is trusted and must stay the same; with `keys`, public ones in hexadecimal, every signature must be
    by one of them.
    """

    def __init__(self, keys: Collection[str] = ()) -> None:
        self.keys = frozenset(key.lower() for key in keys)
        self.found: dict[OriginId, SignedHead] = {}
        self._recent: dict[OriginId, deque[str]] = {}

    def problem(self, position: int, body: Body, hash_hex: str) -> str:
        """Empty when this event is no signed head or a right one."""
        recent = self._recent.get(body.origin)
        if recent is None:
            recent = self._recent[body.origin] = deque(maxlen=WINDOW)
        wrong = self._check(position, body, recent) if is_signed_head(body) else ""
        recent.append(hash_hex)
        return wrong

    def _check(self, position: int, body: Body, recent: deque[str]) -> str:
        signed = read(body)
        if signed is None:
            return "wrong signature: its data can't be read"
        if wrong := problem_of(signed, body, lambda seq: recent[seq - body.originseq]):
            return wrong
        before = self.found.get(body.origin)
        if self.keys and signed.key not in self.keys:
            return f"wrong key: the head is signed with {signed.key}, which is none of those named"
        if not self.keys and before is not None and before.key != signed.key:
            return f"wrong key: the head is signed with {signed.key}, those before with {before.key}"
        count = 1 if before is None else before.signatures + 1
        self.found[body.origin] = SignedHead(body.origin, signed.key, count, signed.seq, position)
        return ""
