"""From the text of an objective to a recipe call. A small grammar, no guessing: what is not in it is not understood."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from cavalcade.kernel.errors import ObjectiveNotUnderstood
from cavalcade.protocol.plan import Mention, RecipeCall

EXAMPLES: tuple[tuple[str, str], ...] = (
    ("rename a function, class, variable, method or attribute", "rename flask.helpers:get_root_path to find_root_path"),
    ("rename a keyword parameter and the calls that give it", "rename click.utils:echo(nl) to newline"),
    ("rename or move a module", "rename module jinja2.nodes to jinja2.syntax"),
    ("change a signature, with a wrapper for old calls", "change signature of pkg.mod:func to (a, b, *, c=1)"),
)

_SYMBOL = r"(?:module\s+\S+|[^\s()]+(?:\(\s*\*{0,2}\w+\s*\))?(?:\(\))?)"
_RENAME = re.compile(
    rf"(?:please\s+)?rename\s+(?P<symbol>{_SYMBOL})\s+(?:(?:to|into|as|->)\s+(?P<to>\S+)|(?P<second>(?!(?:to|into|as|->)\Z)\S+))",
    re.IGNORECASE,
)
_SIGNATURE = re.compile(
    r"(?:please\s+)?change[\s-]signature\s+(?:of\s+)?(?P<symbol>[^\s()]+)\s+to\s+(?P<to>\(.*\)(?:\s*->\s*.+?)?)",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"\s+(?P<word>with\s+mentions|only|without)\s+(?P<values>[^\s,]+(?:\s*,\s*[^\s,]+)*)\s*\Z", re.IGNORECASE
)
_MENTIONS: tuple[Mention, ...] = ("docs", "comments", "strings")
_QUOTES = str.maketrans("", "", "`'\"")


class Objective(NamedTuple):
    """`only` and `without` are paths: change nothing elsewhere, change nothing there."""

    call: RecipeCall
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def parse_objective(text: str) -> Objective:
    """Raises ObjectiveNotUnderstood, which says what can be understood."""
    rest, options = _options(" ".join(text.split()))
    mentions = tuple[Mention, ...](kind for kind in _MENTIONS if kind in options["with mentions"])
    strange = set(options["with mentions"]) - set(mentions)
    if strange:
        kinds = ", ".join(_MENTIONS)
        raise ObjectiveNotUnderstood(
            f"{sorted(strange)[0]!r} is no kind of mention", expected=f"one or more of {kinds}"
        )
    for read in _READERS:
        call = read(rest, mentions)
        if call is not None:
            return Objective(call, tuple(options["only"]), tuple(options["without"]))
    raise not_understood(text)


def _options(text: str) -> tuple[str, dict[str, list[str]]]:
    """The text without its options, which stand at its end in any order."""
    options: dict[str, list[str]] = {"with mentions": [], "only": [], "without": []}
    while match := _OPTION.search(text):
        word = " ".join(match["word"].lower().split())
        options[word] = [value.strip().removeprefix("./") for value in match["values"].split(",")] + options[word]
        text = text[: match.start()]
    return text.strip(), options


def _rename(text: str, mentions: tuple[Mention, ...]) -> RecipeCall | None:
    match = _RENAME.fullmatch(text.rstrip(".").translate(_QUOTES))
    if match is None:
        return None
    return RecipeCall(
        name="rename", arguments={"symbol": match["symbol"], "to": match["to"] or match["second"]}, mentions=mentions
    )


def _change_signature(text: str, mentions: tuple[Mention, ...]) -> RecipeCall | None:
    match = _SIGNATURE.fullmatch(text)
    if match is None:
        return None
    symbol = match["symbol"].translate(_QUOTES)
    return RecipeCall(name="change-signature", arguments={"symbol": symbol, "to": match["to"]}, mentions=mentions)


_READERS: tuple[Callable[[str, tuple[Mention, ...]], RecipeCall | None], ...] = (_rename, _change_signature)


def not_understood(text: str) -> ObjectiveNotUnderstood:
    return ObjectiveNotUnderstood(
        f"no recipe is known for {text.strip()!r}",
        expected="one of these, which need no model",
        places=tuple(f"{what}: {example}" for what, example in EXAMPLES),
        hint="objectives in free text need a model, and this version has none: it can't be configured to use one",
    )
