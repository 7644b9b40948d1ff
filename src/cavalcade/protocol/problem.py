"""Errors on the wire: problem details (RFC 9457), the same ones everywhere, and back.

`type` is a relative name, `detail` the error's own text, the rest are extension members.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from cavalcade.kernel.errors import CavalcadeError, SequenceGap

MEDIA_TYPE = "application/problem+json"


class _Document(msgspec.Struct, frozen=True):
    """What is read of a problem; members that a newer program adds are passed over."""

    code: str
    detail: str
    expected: str = ""
    hint: str = ""
    places: tuple[str, ...] = ()
    next_seq: int = 1


def problem_document(error: CavalcadeError) -> dict[str, Any]:
    document: dict[str, Any] = {
        "type": f"cavalcade:problem/{error.code}",
        "title": error.code.replace("-", " "),
        "detail": error.what,
        "code": error.code,
        "expected": error.expected,
        "hint": error.hint,
        "places": list(error.places),
        "exit_status": error.exit_status,
    }
    return document | ({"next_seq": error.next_seq} if isinstance(error, SequenceGap) else {})


def error_of(document: bytes) -> CavalcadeError:
    """The error that a problem document tells of; a kind that isn't known here comes as a CavalcadeError.

    Raises msgspec.DecodeError for what is no such document.
    """
    problem = msgspec.json.decode(document, type=_Document)
    if problem.code == SequenceGap.code:
        return SequenceGap(problem.detail, next_seq=problem.next_seq, expected=problem.expected, hint=problem.hint)
    kind = _kinds().get(problem.code, CavalcadeError)
    return kind(problem.detail, expected=problem.expected, hint=problem.hint, places=problem.places)


@functools.cache
def _kinds() -> dict[str, type[CavalcadeError]]:
    """By code, those that are made of the common fields alone."""
    found: dict[str, type[CavalcadeError]] = {}
    waiting: list[type[CavalcadeError]] = [CavalcadeError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__init__ is CavalcadeError.__init__:
            found[kind.code] = kind
    return found
