"""One byte string per value: what is hashed and signed.

JSON (RFC 8259) in UTF-8 without insignificant space, object keys sorted by code point.
"""

from __future__ import annotations

import hashlib
import json


def canonical_bytes(value: object) -> bytes:
    """The canonical encoding of plain values: dict, list, tuple, str, int, float, bool, None. Raises TypeError for others."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    return digest(canonical_bytes(value))
