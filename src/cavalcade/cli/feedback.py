"""What `inject` understands: another objective, or adjustments of the present one. Deterministic; no model reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, cast, get_args

from msgspec.structs import replace

from cavalcade.kernel.errors import CavalcadeError, ObjectiveNotUnderstood, UsageError
from cavalcade.protocol.events import Settings
from cavalcade.protocol.plan import Mention, RecipeCall
from cavalcade.recipes.objective import Objective

GRAMMAR = (
    "mentions docs[, comments][, strings]   change mentions in text too (`mentions none`: leave them)",
    "only PATH[, PATH]                      change nothing elsewhere",
    "without PATH[, PATH]                   change nothing there",
    "no tests | with tests                  whether tests judge the result",
    "another objective                      replaces the present one",
)
MENTIONS: tuple[str, ...] = get_args(Mention)


class Direction(NamedTuple):
    """What a run goes on with."""

    objective: str
    recipe: RecipeCall | None
    settings: Settings


def parse_mentions(text: str) -> tuple[Mention, ...]:
    """`docs,comments`; `none` for none. Raises UsageError."""
    names = [name for name in re.split(r"[,\s]+|\band\b", text.strip()) if name]
    if names == ["none"]:
        return ()
    for name in names:
        if name not in MENTIONS:
            raise UsageError(f"{name!r} is no kind of mention", expected=", ".join(MENTIONS))
    return tuple(cast("Mention", name) for name in MENTIONS if name in names)


def directed(text: str, now: Direction, parse: Callable[[str], Objective]) -> Direction:
    """Where feedback leads. Several adjustments are separated by `;` or line ends. Raises UsageError with what is understood.

    `parse` reads an objective and raises ObjectiveNotUnderstood.
    """
    parts = [part.strip().rstrip(".") for part in re.split(r"[;\n]", text) if part.strip()]
    if not parts:
        raise UsageError("the feedback is empty", expected="one of these", places=GRAMMAR)
    result = now
    for part in parts:
        result = _one(part, result, parse)
    return result


def _one(text: str, now: Direction, parse: Callable[[str], Objective]) -> Direction:
    verb, _, rest = text.partition(" ")
    paths = tuple(path.removeprefix("./") for path in re.split(r"[,\s]+", rest) if path)
    settings = now.settings
    match verb.lower(), paths:
        case "mentions", (_, *_) if now.recipe is not None:
            return now._replace(recipe=replace(now.recipe, mentions=parse_mentions(rest)))
        case "only", (_, *_):
            return now._replace(settings=replace(settings, only=paths))
        case "without", (_, *_):
            return now._replace(settings=replace(settings, without=tuple(dict.fromkeys((*settings.without, *paths)))))
        case ("no" | "with") as word, ("tests",):
            return now._replace(settings=replace(settings, tests=word == "with"))
        case _:
            return _replaced(text, now, parse)


def _replaced(text: str, now: Direction, parse: Callable[[str], Objective]) -> Direction:
    try:
        goal = parse(text)
    except ObjectiveNotUnderstood as exc:
        raise not_understood(text, exc) from exc
    mentions = goal.call.mentions or (now.recipe.mentions if now.recipe else ())
    without = tuple(dict.fromkeys((*now.settings.without, *goal.without)))
    settings = replace(now.settings, only=goal.only or now.settings.only, without=without)
    return Direction(text, replace(goal.call, mentions=mentions), settings)


def not_understood(text: str, cause: CavalcadeError) -> UsageError:
    return ObjectiveNotUnderstood(
        f"{text!r} is neither an adjustment nor an objective",
        expected="one of these",
        places=(*GRAMMAR, *cause.places),
        hint=cause.hint,
    )
