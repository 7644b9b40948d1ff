"""Signed heads: an installation's Ed25519 key says how its chain stood, so that no later copy of it can say otherwise (RFC 8032).

A `HeadSigned` event in stream `node/<origin>` signs the head before it. Whoever holds the public key finds a chain that was computed
anew, wherever it was changed, as long as one signature after the change is kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import Busy, LedgerError, LedgerUnwritable, VersionConflict
from cavalcade.kernel.ids import OriginId, StreamId, new_event_id, node_stream
from cavalcade.ledger.around import LedgerAround
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.events import HeadSigned, decode, encode

INTERVAL = 1000
"""Events of the own origin after which the head is signed, while a program goes on recording."""
WINDOW = 1024
"""A signature counts when it stands at most this many events of its origin after the head it signs: that many hashes are kept to compare
it with. One that was overtaken by more, from other processes, says nothing."""


class SigningKey:
    """`seed` is the private key, 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw().hex()

    def sign(self, origin: OriginId, head: OriginHead) -> HeadSigned:
        signature = self._key.sign(_message(origin, head.seq, head.hash)).hex()
        return HeadSigned(origin=origin, seq=head.seq, head=head.hash, key=self.public, signature=signature)


def signature_holds(signed: HeadSigned) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.key))
        key.verify(bytes.fromhex(signed.signature), _message(signed.origin, signed.seq, signed.head))
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(origin: OriginId, seq: int, head: str) -> bytes:
    return f"cavalcade-head-1 {origin} {seq} {head}".encode()


def load_key(path: Path, entropy: Entropy) -> SigningKey:
    """The key of a data folder, made when there is none: 64 hexadecimal digits in a file that only its owner may read.

    Of several processes that make it at once one wins and all use it. Raises LedgerError for a file that is no key or that others may
    read, LedgerUnwritable when none can be made.
    """
    try:
        if not path.exists():
            _make(path, entropy.bytes(32))
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as exc:
        raise LedgerUnwritable(f"the signing key {path} can't be used: {exc.strerror}") from exc
    if mode & 0o077:
        raise LedgerError(
            f"the signing key {path} may be read by others (mode {mode & 0o777:o})",
            expected="mode 600",
            hint=f"chmod 600 {path}",
        )
    try:
        return SigningKey(bytes.fromhex(text))
    except ValueError as exc:
        raise LedgerError(
            f"{path} is no signing key",
            expected="64 hexadecimal digits",
            hint="bring it back from a copy; a new one is made when the file is moved away, but it is another signer",
        ) from exc


def _make(path: Path, seed: bytes) -> None:
    """Whole or not at all: written beside, then linked, which never replaces another's. Raises OSError."""
    beside = path.with_name(f"{path.name}.{os.getpid()}-{seed[:4].hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(seed.hex().encode() + b"\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()


class SigningLedger(LedgerAround):
    """A ledger that signs its own head: after each `INTERVAL` events appended here, and before it closes if any were.

    Conforms to `ledger.port.Ledger`. `key` is called when the first signature is due, never when nothing was appended. Where there is no
    room for a signature while others are recorded, the next one makes up for it.

    With `shared`, installations that have other keys may write to the ledger as the same origin. Its chain has one signer, the one who
    signed first; the others leave it to them.
    """

    def __init__(
        self,
        ledger: Ledger,
        key: Callable[[], SigningKey],
        clock: Clock,
        entropy: Entropy,
        *,
        interval: int = INTERVAL,
        shared: bool = False,
    ) -> None:
        super().__init__(ledger)
        self._key = key
        self._clock = clock
        self._entropy = entropy
        self._interval = interval
        self._shared = shared
        self._unsigned = 0

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        recorded = await self._ledger.append(stream, events, expected_version=expected_version)
        self._unsigned += len(recorded)
        if self._unsigned >= self._interval:
            with contextlib.suppress(LedgerUnwritable, Busy):
                await self.sign()
        return recorded

    async def sign(self) -> None:
        """Signs the head as it stands, with what other processes appended. Does nothing when nothing was appended here since.

        Raises LedgerError for a key that can't be used, and what `append` raises.
        """
        if not self._unsigned:
            return
        self._unsigned, unsigned = 0, self._unsigned
        try:
            head = (await self._ledger.heads())[self.origin]
            signed = self._key().sign(self.origin, head)
            signer = await self._signer() if self._shared else signed.key
            if signer not in ("", signed.key):
                return
            draft, version = self._draft(signed), None if signer else 0
            (recorded,) = await self._ledger.append(node_stream(self.origin), [draft], expected_version=version)
            if recorded.originseq - head.seq > WINDOW:
                self._unsigned += unsigned
        except VersionConflict:
            return  # another installation became the signer a moment ago
        except LedgerError:
            self._unsigned += unsigned
            raise

    async def _signer(self) -> str:
        """The key of the first signature on this origin's chain, empty before there is one."""
        for recorded in await self._ledger.read(stream=node_stream(self.origin), limit=1):
            first = decode(recorded.event)
            return first.key if isinstance(first, HeadSigned) else ""
        return ""

    def _draft(self, signed: HeadSigned) -> Draft:
        return Draft(
            id=new_event_id(self._clock, self._entropy),
            type=HeadSigned.TYPE,
            time=self._clock.now(),
            data=encode(signed),
        )

    async def aclose(self) -> None:
        """Signs what is not yet signed, then closes, whatever comes of the signature. Raises LedgerError for a key that can't be used."""
        try:
            with contextlib.suppress(LedgerUnwritable, Busy):
                await self.sign()
        finally:
            await self._ledger.aclose()
