"""An `__all__` that was kept in order stays in order: some projects' own tests and linters insist on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cavalcade.recipes.edits import Replacement
from cavalcade.terrain.python import text_of
from cavalcade.terrain.tokens import Token

_FEWEST = 4
"""Shorter lists are in order by chance too often to draw a conclusion."""
_LISTS = frozenset({"list", "tuple", "set"})


def _plain(name: str) -> str:
    return name


def _isort(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that linters call isort-style."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)


_ORDERS: tuple[Callable[[str], str | tuple[int, str]], ...] = (_plain, str.casefold, _isort)


def reordered(token: Token, new: str) -> Iterator[Replacement]:
    """For an `__all__` entry that becomes `new`: the other entries to be exchanged, and the entry itself, so that the order holds.

    Nothing when the list had no order, keeps it anyway, or has comments, which would come to stand beside other names.
    """
    holder = token.node.parent
    if holder is None or holder.type not in _LISTS:
        return
    items = holder.named_children
    contents = [
        child
        for item in items
        if item.type == "string"
        for child in item.named_children
        if child.type == "string_content"
    ]
    if len(contents) != len(items) or len(items) < _FEWEST:
        return
    before = [text_of(content) for content in contents]
    after = [new if content.start_byte == token.start else text_of(content) for content in contents]
    for order in _ORDERS:
        if before == sorted(before, key=order):
            if after != sorted(after, key=order):
                for content, name in zip(contents, sorted(after, key=order), strict=True):
                    if name != text_of(content):
                        yield Replacement(content.start_byte, content.end_byte, name, "__all__ stays in order")
            return
