"""One call of a function whose signature changes: the same arguments, said for the new signature.

Arguments whose position stays the same stay as they are; the others get the new parameter's name. Nothing changes its place, so that
arguments are evaluated in the order they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tree_sitter import Node

from cavalcade.recipes.edits import Replacement
from cavalcade.recipes.signature import Change
from cavalcade.terrain.python import text_of

_STARRED = {"list_splat": "*args", "dictionary_splat": "**kwargs"}
_HARMLESS = frozenset({"identifier", "string", "integer", "float", "true", "false", "none", "ellipsis"})
_BARE = frozenset({"named_expression", "yield"})


@dataclass(frozen=True)
class Left:
    """A call that is not rewritten, and the reason."""

    why: str


def rewrite_call(call: Node, change: Change, skip: int) -> list[Replacement] | Left:
    """The replacements for one call; `skip` arguments in front stand for `self`. Empty when it is right as it is."""
    arguments = call.child_by_field_name("arguments")
    if arguments is None:
        return Left("it is no call that can be read")
    if arguments.type == "generator_expression":
        return _generator(arguments, change, skip)
    given = [node for node in arguments.named_children if node.type != "comment"]
    for node in given:
        if node.type in _STARRED:
            return Left(f"gives {_STARRED[node.type]}")
    by_place = [node for node in given if node.type != "keyword_argument"]
    if len(by_place) - skip > len(change.places):
        return Left("gives more arguments by position than the signature has")
    if len(by_place) < skip:
        return Left("does not say what it is called on")
    found: list[Replacement] = []
    gone: list[Node] = []
    for at, node in enumerate(by_place[skip:]):
        if at >= change.kept_places:
            _place(node, change.now[change.places[at]], found, gone)
    for node in given:
        if node.type == "keyword_argument":
            _keyword(node, change, found, gone)
    if any(not _harmless(node) for node in gone):
        return Left("gives an argument that is no longer taken, and that does something when it is evaluated")
    return found + _removals(arguments, given, gone)


def may_be_meant(call: Node, change: Change, skip: int) -> bool:
    """Whether the call could be one of the old signature, and one that the new signature makes a difference to."""
    arguments = call.child_by_field_name("arguments")
    if arguments is None or arguments.type == "generator_expression":
        return True
    given = [node for node in arguments.named_children if node.type != "comment"]
    plain = [node for node in given if node.type not in _STARRED]
    kinds = {parameter.kind for parameter in change.old}
    keywords = {_name(node) for node in plain if node.type == "keyword_argument"}
    by_place = len(plain) - len(keywords) - skip
    if by_place > len(change.places) and "rest" not in kinds:
        return False
    if "keywords" not in kinds and not keywords <= set(change.now):
        return False
    if plain != given:
        return True
    if by_place < 0:
        return False
    said = {*change.places[:by_place], *keywords}
    missing = [p for p in change.old if p.default is None and p.kind not in {"rest", "keywords"} and p.name not in said]
    return not missing and rewrite_call(call, change, skip) != []


def _name(node: Node) -> str:
    word = node.child_by_field_name("name")
    return "" if word is None else text_of(word)


def _place(node: Node, name: str, found: list[Replacement], gone: list[Node]) -> None:
    if not name:
        gone.append(node)
    elif node.type in _BARE:
        found.append(Replacement(node.start_byte, node.start_byte, f"{name}=("))
        found.append(Replacement(node.end_byte, node.end_byte, ")"))
    else:
        found.append(Replacement(node.start_byte, node.start_byte, f"{name}="))


def _keyword(node: Node, change: Change, found: list[Replacement], gone: list[Node]) -> None:
    word = node.child_by_field_name("name")
    if word is None or text_of(word) not in change.other_keywords:
        return
    name = change.now[text_of(word)]
    if name:
        found.append(Replacement(word.start_byte, word.end_byte, name))
    else:
        gone.append(node)


def _generator(node: Node, change: Change, skip: int) -> list[Replacement] | Left:
    """`f(x for x in y)`: one argument that shares its parentheses with the call."""
    if skip or not change.places:
        return Left("gives a generator where something else is expected")
    if change.kept_places:
        return []
    name = change.now[change.places[0]]
    if not name:
        return Left("gives an argument that is no longer taken")
    return [
        Replacement(node.start_byte, node.start_byte, f"({name}="),
        Replacement(node.end_byte, node.end_byte, ")"),
    ]


def _harmless(node: Node) -> bool:
    """Evaluating it does nothing that anybody could notice."""
    value = node.child_by_field_name("value") if node.type == "keyword_argument" else node
    if value is None:
        return False
    if value.type in {"tuple", "list", "parenthesized_expression", "unary_operator"}:
        return all(_harmless(child) for child in value.named_children)
    return value.type in _HARMLESS and not any(child.type == "interpolation" for child in value.named_children)


def _removals(arguments: Node, given: Sequence[Node], gone: Sequence[Node]) -> list[Replacement]:
    """Each with the comma that belongs to it."""
    if not gone:
        return []
    removed = {node.id for node in gone}
    kept = [node for node in given if node.id not in removed]
    if not kept:
        return [Replacement(arguments.start_byte + 1, arguments.end_byte - 1, "")]
    found: list[Replacement] = []
    for node, following in pairwise(given):
        if node.id in removed and node.start_byte < kept[-1].start_byte:
            found.append(Replacement(node.start_byte, following.start_byte, ""))
    last = given[-1]
    if last.id in removed:
        found.append(Replacement(kept[-1].end_byte, last.end_byte, ""))
    return found
