"""Plans: what makes one unfit, and what their hash stands for."""

from __future__ import annotations

import json

import msgspec
import pytest

from cavalcade.domain.plan import flaws, seal, unseal
from cavalcade.protocol.plan import Place, Plan, PlannedEdit, RecipeCall, TaskSpec, TestPlan
from cavalcade.testing.runs import BASE, a_plan, a_task, an_edit

replace = msgspec.structs.replace

SOUND = a_plan(a_task("t1", (1, 2), residual=(3,)), a_task("t2", (4,), depends_on=("t1",)))


def with_edits(*edits: PlannedEdit) -> Plan:
    return replace(SOUND, edits=edits)


# Flaws


def test_a_sound_plan_has_no_flaw() -> None:
    assert flaws(SOUND) == []


def test_a_plan_without_tasks_is_flawed() -> None:
    assert flaws(a_plan()) == ["the plan has no task"]


def test_two_tasks_of_one_id_are_a_flaw() -> None:
    assert "two tasks share an id" in flaws(a_plan(a_task("t1", (1,)), a_task("t1", (2,))))


def test_a_dependency_on_an_unknown_task_is_a_flaw() -> None:
    assert flaws(a_plan(a_task("t1", (1,), depends_on=("t9",)))) == ["task t1 depends on t9, which is not in the plan"]


@pytest.mark.parametrize(
    ("depends_on", "circle"),
    [
        ({"t1": ("t1",)}, "t1 -> t1"),
        ({"t1": ("t2",), "t2": ("t1",)}, "t1 -> t2 -> t1"),
        ({"t1": ("t3",), "t2": ("t1",), "t3": ("t2",)}, "t1 -> t3 -> t2 -> t1"),
        ({"t0": ("t1",), "t1": ("t2",), "t2": ("t1",)}, "t1 -> t2 -> t1"),
        ({"t0": (), "t1": ("t0", "t2"), "t2": ("t0", "t1"), "t3": ("t0",)}, "t1 -> t2 -> t1"),
    ],
)
def test_a_circle_is_a_flaw_and_only_its_own_tasks_are_named(
    depends_on: dict[str, tuple[str, ...]], circle: str
) -> None:
    plan = a_plan(*(a_task(name, (), depends_on=needs) for name, needs in depends_on.items()))
    assert flaws(plan) == [f"tasks depend on each other in a circle: {circle}"]


def test_a_diamond_is_no_circle() -> None:
    tasks = [
        a_task("t4", (4,), depends_on=("t2", "t3")),
        a_task("t3", (3,), depends_on=("t1",)),
        a_task("t2", (2,), depends_on=("t1",)),
        a_task("t1", (1,)),
    ]
    assert flaws(a_plan(*tasks)) == []


def test_two_edits_of_one_number_are_a_flaw() -> None:
    assert "two edits share a number" in flaws(with_edits(*SOUND.edits, an_edit(1)))


def test_a_task_s_edit_that_the_plan_does_not_have_is_a_flaw() -> None:
    assert flaws(with_edits(*SOUND.edits[1:])) == ["task t1 names edit 1, which is not in the plan"]


def test_an_edit_without_a_task_is_a_flaw() -> None:
    plan = replace(with_edits(*SOUND.edits, an_edit(9)), allowed=(*SOUND.allowed, "m9.py"))
    assert flaws(plan) == ["edit 9 belongs to no task"]


@pytest.mark.parametrize(
    "tasks", [(a_task("t1", (1,)), a_task("t2", (1,))), (a_task("t1", (1, 1)),)], ids=["by two tasks", "by one"]
)
def test_an_edit_listed_twice_is_a_flaw(tasks: tuple[TaskSpec, ...]) -> None:
    (flaw,) = flaws(a_plan(*tasks, edits=[an_edit(1)]))
    assert flaw.startswith("edit 1 is listed twice")


def test_a_residual_edit_among_the_certain_ones_is_a_flaw() -> None:
    plan = a_plan(a_task("t1", (1,)), edits=[an_edit(1, kind="residual")])
    assert flaws(plan) == ["edit 1 of task t1 is residual, but is listed otherwise"]


def test_a_certain_edit_among_the_residual_ones_is_a_flaw() -> None:
    plan = a_plan(a_task("t1", residual=(1,)), edits=[an_edit(1)])
    assert flaws(plan) == ["edit 1 of task t1 is reference, but is listed otherwise"]


def test_an_edit_outside_the_fence_is_a_flaw() -> None:
    assert flaws(replace(SOUND, allowed=SOUND.allowed[1:])) == ["edit 1 is outside the fence: m1.py"]


@pytest.mark.parametrize("path", ["", "../m1.py", "./m1.py", "M1.py", "m1.py/"])
def test_the_fence_is_exact(path: str) -> None:
    moved = replace(an_edit(1), path=path)
    assert flaws(replace(a_plan(a_task("t1", (1,)), edits=[moved]), allowed=("m1.py",))) == [
        f"edit 1 is outside the fence: {path}"
    ]


def test_a_move_out_of_the_fence_s_reach_is_a_flaw() -> None:
    """Bug class: a move writes two paths, for it removes the old one."""
    moved = replace(an_edit(1), moved_from="outside.py")
    plan = a_plan(a_task("t1", (1,)), edits=[moved])
    assert flaws(plan) == ["edit 1 is outside the fence: outside.py"]
    assert flaws(replace(plan, allowed=("m1.py", "outside.py"))) == []


# Seals


def full_plan() -> Plan:
    """A value other than its default in every field."""
    place = Place(path="m1.py", line=3, column=5, text="old()  # é", why="dynamic")
    return replace(
        SOUND,
        recipe=RecipeCall(name="rename", arguments={"symbol": "m:old", "to": "new"}, mentions=("docs",)),
        edits=tuple(replace(edit, places=(place,), mode=0o100755, changes=2) for edit in SOUND.edits),
        unresolved=(place,),
        mentions=(place,),
        problems=(place,),
        tests=TestPlan(command=("pytest",), python="/py", selection=("t.py",), pythonpath=("src",), refused="none"),
        cost_usd=0.25,
    )


@pytest.mark.parametrize("plan", [SOUND, full_plan()], ids=["defaults", "full"])
def test_a_sealed_plan_is_unsealed_as_it_was(plan: Plan) -> None:
    sealed, data = seal(plan)
    assert unseal(data) == sealed == (sealed.hash, plan)


def test_the_hash_does_not_depend_on_the_order_in_which_a_plan_was_put_together() -> None:
    one = RecipeCall(name="rename", arguments={"symbol": "m:old", "to": "new"})
    other = RecipeCall(arguments={"to": "new", "symbol": "m:old"}, name="rename")
    assert seal(replace(SOUND, recipe=one)) == seal(replace(SOUND, recipe=other))
    fields = {field: getattr(SOUND, field) for field in reversed(SOUND.__struct_fields__)}
    assert seal(Plan(**fields)) == seal(SOUND)


def test_the_hash_does_not_depend_on_whether_a_default_is_written_out() -> None:
    """Bug class: omitted defaults are told by identity, so that equal plans get different hashes."""
    edits = tuple(replace(edit, mode=int("100644", 8)) for edit in SOUND.edits)
    assert seal(replace(SOUND, cost_usd=float("0"), tests=TestPlan(), edits=edits)) == seal(SOUND)


@pytest.mark.parametrize("field", Plan.__struct_fields__)
def test_the_hash_covers_every_field(field: str) -> None:
    plan = full_plan()
    others = {
        "objective": "another",
        "recipe": replace(plan.recipe, mentions=()),
        "base_tree": "f" * 40,
        "tests": TestPlan(),
        "cost_usd": 0.5,
    }
    changed = others.get(field, getattr(plan, field)[:-1] if field not in others else None)
    assert seal(replace(plan, **{field: changed}))[0].hash != seal(plan)[0].hash


def test_the_order_of_tasks_and_edits_counts() -> None:
    assert seal(replace(SOUND, tasks=SOUND.tasks[::-1]))[0].hash != seal(SOUND)[0].hash
    assert seal(replace(SOUND, edits=SOUND.edits[::-1]))[0].hash != seal(SOUND)[0].hash


def test_any_changed_byte_gives_another_hash_or_is_no_plan_at_all() -> None:
    sealed, data = seal(full_plan())
    for index in range(len(data)):
        for flip in (0x01, 0x20, 0x80):
            changed = data[:index] + bytes([data[index] ^ flip]) + data[index + 1 :]
            try:
                assert unseal(changed).hash != sealed.hash
            except msgspec.DecodeError:
                continue


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"objective":"\xff"}', b"null"])
def test_what_is_no_plan_is_not_unsealed(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        unseal(data)


def test_the_kept_bytes_are_plain_json_that_names_every_edit_by_its_content() -> None:
    kept = json.loads(seal(SOUND)[1])
    assert kept["base_tree"] == BASE.tree
    assert [(edit["before"], edit["after"]) for edit in kept["edits"]] == [
        (edit.before, edit.after) for edit in SOUND.edits
    ]


def test_an_edit_is_found_by_its_number() -> None:
    sealed, _ = seal(SOUND)
    assert [sealed.edit(edit.number) for edit in SOUND.edits] == list(SOUND.edits)
    assert sealed.edit(99) is None
