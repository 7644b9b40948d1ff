"""What a signed head must say: one rule for the walk over a ledger and for events that are taken in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import OriginId
from cavalcade.ledger.chain import Body
from cavalcade.ledger.port import SignedHead
from cavalcade.ledger.signing import WINDOW, signature_holds
from cavalcade.protocol.events import HeadSigned, decode


def is_signed_head(body: Body) -> bool:
    return body.event.type == HeadSigned.TYPE


def is_overtaken(signed: HeadSigned, body: Body) -> bool:
    """Whether a signature stands too far behind its head to be compared with it. Other processes' events may come between: no fault."""
    return 1 <= signed.seq < body.originseq - WINDOW


def problem_of(signed: HeadSigned, body: Body, hash_at: Callable[[int], str]) -> str:
    """Empty when the signature is right, where it isn't overtaken. `hash_at` gives the hash of one of the origin's last `WINDOW` events."""
    if signed.origin != body.origin:
        return f"wrong signature: it is for origin {signed.origin}, recorded by origin {body.origin}"
    if not 1 <= signed.seq < body.originseq:
        return f"wrong signature: it is for event {signed.seq}, which doesn't stand before it"
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
        if is_overtaken(signed, body):
            return ""
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
