"""How large the pool of workspaces may become: `CAVALCADE_POOL` and `CAVALCADE_POOL_MIB`."""

from __future__ import annotations

from collections.abc import Mapping

from cavalcade.domain.pool import Bounds
from cavalcade.kernel.errors import UsageError

SLOTS, SIZE = "CAVALCADE_POOL", "CAVALCADE_POOL_MIB"
_SLOTS = 8
"""What a run has at once, for two or three projects."""
_MIB = 2048


def pool_bounds(environ: Mapping[str, str]) -> Bounds:
    """`slots` 0 switches the pool off. Raises UsageError for what is no number."""
    return Bounds(_number(environ, SLOTS, _SLOTS), _number(environ, SIZE, _MIB) << 20)


def _number(environ: Mapping[str, str], name: str, usual: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        expected = "how many workspaces may lie ready, 0 for none" if name == SLOTS else "their size together in MiB"
        raise UsageError(f"{name} is {text!r}", expected=expected, hint=f"leave it out: then it is {usual}")
    return int(text)
