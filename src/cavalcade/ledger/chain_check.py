"""The walk over a whole ledger that says what is wrong at the first bad position: one set of rules for every store."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

from cavalcade.kernel.ids import OriginId, StreamId
from cavalcade.ledger.chain import GENESIS, Body, parse_body
from cavalcade.ledger.port import OriginHead, Verification
from cavalcade.ledger.sealing import NOTHING
from cavalcade.ledger.signed_heads import SignedHeads


class ChainCheck:
    """Walks a ledger in order of position.

    Positions are dense, and so are the versions of each stream as this ledger counts them. For each origin sequence numbers are dense,
    each hash follows from the one before, and the versions it gave in a stream rise; those of `own`, who counts here, are the same.
    Signed heads are right (see `signed_heads.SignedHeads`, also for `keys`). Its memory grows with the number of streams and origins,
    never with the number of events.
    """

    def __init__(self, own: OriginId, keys: Collection[str] = ()) -> None:
        self.position = 0
        self.head = GENESIS
        """The hash of the last event, 64 zeros before the first."""
        self.heads: dict[OriginId, OriginHead] = {}
        self.body: Body
        """That of the last good event; unset before the first."""
        self.made: dict[tuple[OriginId, StreamId], int] = {}
        """The last version that another origin gave in a stream."""
        self.signed = SignedHeads(keys)
        self._own = own
        self._versions: dict[StreamId, int] = {}

    def problem(self, position: int, version: int, hash_hex: str, body_bytes: bytes) -> str:
        """Empty when the next event is right. After a problem the check is over: `bad_position` names the place."""
        expected = self.position + 1
        if position != expected:
            return "missing" if position > expected else f"out of order, found position {position} again"
        try:
            body = parse_body(body_bytes)
        except (msgspec.DecodeError, UnicodeError) as exc:
            return f"altered: the body can't be read ({exc})"
        seq, prevhash = self.heads.get(body.origin, NOTHING)
        if hashlib.sha256(prevhash.encode() + body_bytes).hexdigest() != hash_hex:
            return _why(body, seq)
        if body.originseq != seq + 1:
            return f"originseq is {body.originseq}, expected {seq + 1}"
        if wrong := self._wrong_version(version, body) or self.signed.problem(position, body, hash_hex):
            return wrong
        self.position = position
        self.head = hash_hex
        self.heads[body.origin] = OriginHead(seq + 1, hash_hex)
        self.body = body
        return ""

    @property
    def bad_position(self) -> int:
        return self.position + 1

    def unsigned(self) -> str:
        """What is missing at the end of a ledger that holds together: a signature by one of the keys that were named."""
        if self.signed.keys and self._own not in self.signed.found:
            return "no head of its own origin is signed with a key that was named"
        return ""

    def found(self, problem: str = "", *, position: int | None = None) -> Verification:
        """What the walk has come to. `position` is that of the problem, where it isn't the next one."""
        bad = (self.bad_position if position is None else position) if problem else None
        return Verification(self.position, bad, problem, self.head, tuple(self.signed.found.values()))

    def _wrong_version(self, version: int, body: Body) -> str:
        stream = body.stream
        expected = self._versions.get(stream, 0) + 1
        if body.origin == self._own:
            if body.version != expected:
                return f"version in {stream} is {body.version}, expected {expected}"
        else:
            last = self.made.get((body.origin, stream), 0)
            if body.version <= last:
                return f"version in {stream} is {body.version} at origin {body.origin}, where {last} came before"
            self.made[body.origin, stream] = body.version
        if version != expected:
            return f"altered: it is kept as version {version} of {stream}, expected {expected}"
        self._versions[stream] = expected
        return ""


def _why(body: Body, seq: int) -> str:
    if body.originseq != seq + 1:
        return f"missing, doubled or reordered: originseq is {body.originseq}, expected {seq + 1}"
    return "altered: body, hash and the hash before don't belong together"
