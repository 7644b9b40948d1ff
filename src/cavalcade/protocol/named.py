"""Which objects of the content store an event names: found by the types of its fields, so that a new kind of event needs nothing here."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from cavalcade.kernel.ids import BlobId, CommitId, TreeId

_OBJECT_IDS = (BlobId, CommitId, TreeId)


def objects_named(value: msgspec.Struct) -> set[str]:
    """The ids of git objects in a payload or plan, wherever in it they stand; fields that were left empty name none."""
    return set(_in_struct(value))


def _in_struct(value: msgspec.Struct) -> Iterator[str]:
    for name, hint in _fields(type(value)).items():
        yield from _found(getattr(value, name), hint)


@functools.cache
def _fields(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields that may hold ids, with their types."""
    hints = get_type_hints(cls)
    return {name: hints[name] for name in cls.__struct_fields__ if _may_name(hints[name], ())}


def _may_name(hint: Any, outer: tuple[Any, ...]) -> bool:
    if hint in _OBJECT_IDS:
        return True
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint)
        return hint not in outer and any(_may_name(hints[name], (*outer, hint)) for name in hint.__struct_fields__)
    return any(_may_name(part, outer) for part in get_args(hint))


def _found(value: object, hint: Any) -> Iterator[str]:
    if hint in _OBJECT_IDS:
        if value and isinstance(value, str):
            yield value
    elif isinstance(value, msgspec.Struct):
        yield from _in_struct(value)
    elif get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _found(value, part)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield from _found(key, get_args(hint)[0])
            yield from _found(item, get_args(hint)[1])
    elif isinstance(value, tuple | list):
        part = get_args(hint)
        for item in cast("Iterable[object]", value):
            yield from _found(item, part[0] if part else Any)
