"""Objectives as text. Bug class: something else is done than was typed."""

from __future__ import annotations

import pytest

from cavalcade.kernel.errors import ObjectiveNotUnderstood
from cavalcade.recipes.objective import parse_objective
from cavalcade.recipes.registry import NAMES, recipe_named


@pytest.mark.parametrize(
    ("text", "symbol", "to"),
    [
        ("rename flask.helpers:get_root_path to find_root_path", "flask.helpers:get_root_path", "find_root_path"),
        ("Rename `pkg.mod:A.b` to `c`.", "pkg.mod:A.b", "c"),
        ("rename A B", "A", "B"),
        ("rename a to to", "a", "to"),
        ("rename src/pkg/mod.py:Qual.name -> other", "src/pkg/mod.py:Qual.name", "other"),
        ("rename click.utils:echo(nl) to newline", "click.utils:echo(nl)", "newline"),
        ("rename module jinja2.nodes to jinja2.syntax", "module jinja2.nodes", "jinja2.syntax"),
    ],
)
def test_a_rename_is_read_in_each_of_its_forms(text: str, symbol: str, to: str) -> None:
    call = parse_objective(text).call
    assert (call.name, call.arguments, call.mentions) == ("rename", {"symbol": symbol, "to": to}, ())


def test_options_stand_at_the_end_in_any_order() -> None:
    objective = parse_objective("rename a:b to c with mentions strings, docs only src/x.py,./tests without tests/data")
    assert objective.call.mentions == ("docs", "strings")
    assert objective.call.arguments == {"symbol": "a:b", "to": "c"}
    assert objective.only == ("src/x.py", "tests")
    assert objective.without == ("tests/data",)


def test_a_change_of_signature_is_read_with_its_parameters() -> None:
    call = parse_objective("change signature of m:f to (a, b=(1, 2), *, c: str = 'x') with mentions docs").call
    assert call.name == "change-signature"
    assert call.arguments == {"symbol": "m:f", "to": "(a, b=(1, 2), *, c: str = 'x')"}
    assert call.mentions == ("docs",)


@pytest.mark.parametrize("text", ["make it faster", "rename", "rename a", "rename a to", "", "delete everything"])
def test_free_text_is_answered_with_what_can_be_done(text: str) -> None:
    with pytest.raises(ObjectiveNotUnderstood) as caught:
        parse_objective(text)
    assert any("rename flask.helpers:get_root_path to find_root_path" in place for place in caught.value.places)
    assert "model" in caught.value.hint


def test_an_unknown_kind_of_mention_is_named() -> None:
    with pytest.raises(ObjectiveNotUnderstood, match="docs, comments, strings"):
        parse_objective("rename a to b with mentions poems")


@pytest.mark.parametrize("recipe", [recipe_named(name) for name in NAMES], ids=NAMES)
def test_every_example_of_a_recipe_is_understood_as_that_recipe(recipe: object) -> None:
    found = recipe_named(getattr(recipe, "name", ""))
    assert found.summary
    for example in found.usage:
        assert parse_objective(example).call.name == found.name
