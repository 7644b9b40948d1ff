"""What a replay finds: where something else came out than is on record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal

import msgspec

from cavalcade.protocol import events as e
from cavalcade.protocol.plan import Struct
from cavalcade.protocol.receipt import Receipt
from cavalcade.supervisor.timeline import describe, short_type

Layer = Literal["decision", "effect"]
_SHOWN = 200
"""Characters of a value."""
_FOR_PEOPLE = {"duration_ms", "summary", "details"}
"""Of a receipt: never part of what it proves."""
_OF_FAILURES = {"findings", "more_findings"}
"""Of a test run: where tests failed may be told in other words."""
_MARK = re.compile(r"\[redacted:[^\]]*\]")


class Divergence(Struct, frozen=True, omit_defaults=False):
    """`version` is the number of the event in its run. `decision`: the rules of today decide otherwise; `effect`: the work came out
    otherwise.
    """

    version: int
    type: str
    layer: Layer
    recorded: str
    came_out: str


def compared(
    layer: Layer, first: int, recorded: tuple[e.Payload, ...], came_out: tuple[e.Payload, ...]
) -> Iterator[Divergence]:
    """Two groups of events side by side; `first` is the number of the first recorded one. Nothing comes when they are the same."""
    for version, (then, now) in enumerate(zip_longest(recorded, came_out), start=first):
        if then is None or now is None or type(then) is not type(now):
            # One more or less changes all that follow: only the first says something.
            yield Divergence(
                version=version, type=_name(then or now), layer=layer, recorded=told(then), came_out=told(now)
            )
            return
        fields = list(_differences(then, now, exact=layer == "decision"))
        if fields:
            yield Divergence(
                version=version,
                type=_name(then),
                layer=layer,
                recorded="; ".join(f"{name} {_value(old)}" for name, old, _ in fields),
                came_out="; ".join(f"{name} {_value(new)}" for name, _, new in fields),
            )


def told(payload: e.Payload | None) -> str:
    return "nothing" if payload is None else f"{_name(payload)}: {describe(payload)[1]}"


def _name(payload: e.Payload | None) -> str:
    return "" if payload is None else short_type(payload.TYPE)


def _differences(then: Struct, now: Struct, *, exact: bool) -> Iterator[tuple[str, object, object]]:
    """Fields that differ, with both values. A verdict that was reached again is the same when it proves the same."""
    for name in then.__struct_fields__:
        old, new = getattr(then, name), getattr(now, name)
        if _same(old, new):
            continue
        if isinstance(old, Receipt) and isinstance(new, Receipt) and not exact:
            yield from _of_receipts(old, new)
        elif isinstance(old, Struct) and type(old) is type(new):
            yield from ((f"{name}.{field}", a, b) for field, a, b in _differences(old, new, exact=exact))
        else:
            yield name, old, new


def _of_receipts(then: Receipt, now: Receipt) -> Iterator[tuple[str, object, object]]:
    tests = then.gate == "tests"
    for name in then.__struct_fields__:
        old, new = getattr(then, name), getattr(now, name)
        if name in _FOR_PEOPLE or (tests and name in _OF_FAILURES) or _same(old, new):
            continue
        yield f"{then.gate}.{name}", old, new


def _same(then: object, now: object) -> bool:
    """Where a secret was taken out of what is on record, whatever stands there now is not compared."""
    if then == now:
        return True
    text = msgspec.json.encode(then).decode()
    if _MARK.search(text) is None:
        return False
    pattern = ".*".join(re.escape(part) for part in _MARK.split(text))
    return re.fullmatch(pattern, msgspec.json.encode(now).decode(), re.DOTALL) is not None


def _value(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
