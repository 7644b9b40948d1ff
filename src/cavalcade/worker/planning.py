"""Making a plan from a recipe: every edit to the byte, everything that stays unclear named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from cavalcade.content.objects import printable_path
from cavalcade.content.port import ContentStore
from cavalcade.domain.plan import seal
from cavalcade.domain.run import ProposePlan, RunState
from cavalcade.gates.change import is_python
from cavalcade.kernel.canonical import digest_of
from cavalcade.kernel.errors import ObjectiveNotUnderstood, RecipeRefused
from cavalcade.kernel.ids import TaskId
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.events import Settings
from cavalcade.protocol.plan import Place, Plan, PlannedEdit, RecipeCall, TaskSpec, TestPlan
from cavalcade.recipes.port import FileEdit, Outcome
from cavalcade.recipes.registry import recipe_named
from cavalcade.sandbox.workspaces import SOURCES
from cavalcade.terrain.affected import AffectedTests
from cavalcade.terrain.terrain import Terrain
from cavalcade.worker.workshop import Workshop


async def make_plan(shop: Workshop, state: RunState, plan_round: int) -> ProposePlan:
    """Raises UsageError (symbol unknown, name taken ...) when the objective can't be carried out as it stands."""
    call = state.recipe
    if call is None:
        raise ObjectiveNotUnderstood(f"no recipe is known for {state.objective!r}")
    content = shop.content_of(state)
    async with shop.workspaces.claim(content, state.head_tree, SOURCES) as workspace:
        async with Terrain.open(
            content,
            state.head_tree,
            workspace=workspace.folder,
            cache=shop.index_cache,
            python=shop.tests.python(state),
            tests_matter=state.settings.tests,
        ) as terrain:
            terrain.warm()
            outcome = await recipe_named(call.name).plan(call, terrain)
            edits, left_out = chosen(outcome.edits, state.settings)
            check_names(edits)
            if not any(edit.kind != "residual" for edit in edits):
                raise RecipeRefused("nothing is left to change", hint="widen --only, or narrow --without")
            affected = terrain.affected_tests(_deciding(edits)) if state.settings.tests else None
        tests = TestPlan(refused="switched off with --no-tests")
        if affected is None:
            workspace.keep()  # resolvers only read it; to find out how tests are run a guest is let in
        else:
            tests = await _plan_tests(shop, state, workspace.folder, affected)
    plan = _assemble(content, state, call, outcome, edits, left_out, tests)
    sealed, data = seal(plan)
    return ProposePlan(plan_round, sealed, content.write(data), _in_context(outcome.decisions, state, call))


def _in_context(decisions: Iterable[Decision], state: RunState, call: RecipeCall) -> tuple[Decision, ...]:
    """A recipe sees its call and the tree, nothing else."""
    seen = digest_of({"call": msgspec.to_builtins(call), "tree": state.head_tree})
    return tuple(
        msgspec.structs.replace(decision, context_hash=decision.context_hash or seen) for decision in decisions
    )


def _deciding(edits: Iterable[FileEdit]) -> set[str]:
    """The paths that decide which tests are run: certain edits, and tried ones in Python files. See `verifying` for the others."""
    counted = [edit for edit in edits if edit.kind != "residual" or is_python(edit.path)]
    return {path for edit in counted for path in (edit.path, edit.moved_from) if path}


async def _plan_tests(shop: Workshop, state: RunState, folder: Path, affected: AffectedTests) -> TestPlan:
    if not affected.whole and not affected.files and not state.settings.test_command:
        return TestPlan(refused=f"no test can notice the change: {affected.why}")
    selection = affected.files if not affected.whole and all(map(_is_text, affected.files)) else ()
    return await shop.tests.plan(state, shop.content_of(state), folder, selection, affected.why)


def check_names(edits: Iterable[FileEdit]) -> None:
    """Raises RecipeRefused when a file would be changed whose name no event can hold."""
    paths = {path for edit in edits for path in (edit.path, edit.moved_from) if path}
    strange = tuple(printable_path(path) for path in sorted(paths) if not _is_text(path))
    if strange:
        raise RecipeRefused(
            "the change reaches files whose names are not UTF-8 text, which can't be put on record",
            expected="names in UTF-8",
            hint="rename them first with git mv, or leave their folder out: --without FOLDER",
            places=strange,
        )


def _shown(places: Iterable[Place]) -> tuple[Place, ...]:
    """Places in text that events can hold: names and lines that are not UTF-8 with escapes."""
    return tuple(
        place
        if _is_text(place.path) and _is_text(place.text)
        else msgspec.structs.replace(place, path=printable_path(place.path), text=printable_path(place.text))
        for place in places
    )


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def chosen(edits: Iterable[FileEdit], settings: Settings) -> tuple[list[FileEdit], list[Place]]:
    """The edits that the run may make, and the places of those that `only` and `without` keep out."""
    kept: list[FileEdit] = []
    left_out: list[Place] = []
    for edit in edits:
        if _wanted(edit.path, settings):
            kept.append(edit)
        else:
            left_out.extend(
                Place(path=place.path, line=place.line, column=place.column, text=place.text, why="left out as asked")
                for place in edit.places
            )
    return kept, left_out


def _wanted(path: str, settings: Settings) -> bool:
    def below(folders: tuple[str, ...]) -> bool:
        return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)

    return (not settings.only or below(settings.only)) and not below(settings.without)


def _assemble(
    content: ContentStore,
    state: RunState,
    call: RecipeCall,
    outcome: Outcome,
    edits: list[FileEdit],
    left_out: list[Place],
    tests: TestPlan,
) -> Plan:
    planned = [_planned(content, number, edit) for number, edit in enumerate(edits, start=1)]
    allowed = {path for edit in planned for path in (edit.path, edit.moved_from) if path}
    return Plan(
        objective=state.objective,
        recipe=call,
        base_tree=state.head_tree,
        tasks=_tasks(state, edits, planned),
        edits=tuple(planned),
        unresolved=_shown((*outcome.unresolved, *left_out)),
        mentions=_shown(outcome.mentions),
        problems=_shown(outcome.problems),
        tests=tests,
        allowed=tuple(sorted(allowed)),
    )


def _planned(content: ContentStore, number: int, edit: FileEdit) -> PlannedEdit:
    return PlannedEdit(
        number=number,
        path=edit.path,
        before=None if edit.before is None else content.write(edit.before),
        after=None if edit.after is None else content.write(edit.after),
        mode=edit.mode,
        moved_from=edit.moved_from,
        kind=edit.kind,
        changes=edit.changes,
        places=_shown(edit.places),
    )


def _tasks(state: RunState, edits: list[FileEdit], planned: list[PlannedEdit]) -> tuple[TaskSpec, ...]:
    """One task for each of the recipe's groups; the later ones depend on the first."""
    groups: dict[str, list[PlannedEdit]] = {}
    for edit, plan in zip(edits, planned, strict=True):
        groups.setdefault(edit.group, []).append(plan)
    tasks: list[TaskSpec] = []
    for number, (group, members) in enumerate(groups.items(), start=1):
        tasks.append(
            TaskSpec(
                id=TaskId(f"t{number}"),
                title=state.objective + (f" ({group})" if group else ""),
                targets=tuple(sorted({path for edit in members for path in (edit.path, edit.moved_from) if path})),
                depends_on=(tasks[0].id,) if tasks else (),
                edits=tuple(edit.number for edit in members if edit.kind != "residual"),
                residual=tuple(edit.number for edit in members if edit.kind == "residual"),
                attempts=state.settings.attempts,
            )
        )
    return tuple(tasks)
