"""What `inject` understands."""

from __future__ import annotations

import pytest

from cavalcade.cli.feedback import Direction, directed, parse_mentions
from cavalcade.kernel.errors import ObjectiveNotUnderstood, UsageError
from cavalcade.protocol.events import Settings
from cavalcade.protocol.plan import RecipeCall
from cavalcade.recipes.objective import Objective

CALL = RecipeCall(name="rename", arguments={"symbol": "m:a", "to": "b"})
NOW = Direction("rename m:a to b", CALL, Settings(without=("old",)))


def parse(text: str) -> Objective:
    if not text.startswith("rename "):
        raise ObjectiveNotUnderstood(f"{text!r} is not understood", hint="cavalcade doctor", places=("rename A to B",))
    return Objective(RecipeCall(name="rename", arguments={"symbol": text.split()[1], "to": text.split()[3]}))


def test_mentions_are_changed_where_asked() -> None:
    goal = directed("mentions docs, comments", NOW, parse)
    assert goal.recipe is not None
    assert goal.recipe.mentions == ("docs", "comments")
    assert (goal.objective, goal.settings) == (NOW.objective, NOW.settings)


def test_mentions_none_takes_that_back() -> None:
    once = directed("mentions docs and strings", NOW, parse)
    again = directed("mentions none", once, parse)
    assert again.recipe == CALL


def test_paths_can_be_narrowed_and_left_out() -> None:
    goal = directed("only src, ./lib; without tests/data", NOW, parse)
    assert goal.settings.only == ("src", "lib")
    assert goal.settings.without == ("old", "tests/data")


@pytest.mark.parametrize(("text", "tests"), [("no tests", False), ("with tests", True), ("No tests.", False)])
def test_tests_can_be_switched(text: str, tests: bool) -> None:
    assert directed(text, NOW, parse).settings.tests is tests


def test_another_objective_replaces_the_present_one_and_keeps_the_adjustments() -> None:
    goal = directed("mentions docs\nrename m:a to c", NOW, parse)
    assert goal.objective == "rename m:a to c"
    assert goal.recipe is not None
    assert goal.recipe.arguments["to"] == "c"
    assert goal.recipe.mentions == ("docs",)
    assert goal.settings.without == ("old",)


@pytest.mark.parametrize("text", ["make it nicer", "only", "without", "mentions", "tests"])
def test_anything_else_is_refused_with_all_that_is_understood(text: str) -> None:
    with pytest.raises(ObjectiveNotUnderstood) as raised:
        directed(text, NOW, parse)
    told = str(raised.value)
    assert "mentions docs" in told
    assert "without PATH" in told
    assert "rename A to B" in told
    assert repr(text) in told


def test_empty_feedback_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        directed(" ;\n ", NOW, parse)


def test_unknown_kinds_of_mention_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="docs, comments, strings"):
        parse_mentions("docs,poems")
