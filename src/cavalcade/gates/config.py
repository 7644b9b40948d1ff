"""The gates' configuration that follows from an approved plan."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from cavalcade.gates.paths import matches
from cavalcade.kernel.canonical import canonical_bytes
from cavalcade.protocol.plan import Plan, PlannedEdit


def step_config(plan: Plan, paths: Collection[str]) -> Mapping[str, str]:
    """For one step that changes `paths`: of what the plan allows, moves and removes, only what concerns them.

    So an edit may write its own files and no other edit's, and its receipts stay small in a plan of thousands.
    """
    mine = frozenset(paths)
    allowed = [entry for entry in plan.allowed if entry in mine or (_is_pattern(entry) and _covers(entry, mine))]
    return _config(plan, allowed, [edit for edit in plan.edits if edit.path in mine])


def _is_pattern(entry: str) -> bool:
    return entry.endswith("**")


def _covers(entry: str, paths: frozenset[str]) -> bool:
    return any(matches(path, (entry,)) for path in paths)


def tree_config(plan: Plan) -> Mapping[str, str]:
    """For the plan as a whole."""
    return _config(plan, plan.allowed, plan.edits)


def _config(plan: Plan, allowed: Iterable[str], edits: Sequence[PlannedEdit]) -> Mapping[str, str]:
    """What may be written, which files move, which removals are planned. Values are canonical JSON."""
    moves = {edit.path: edit.moved_from for edit in edits if edit.moved_from}
    deletions = sorted(edit.path for edit in edits if edit.after is None)
    values: dict[str, object] = {"fence.allowed": sorted(allowed)}
    if moves:
        values["moves"] = moves
    if deletions:
        values["shrinkage.deletions"] = deletions
    if names := _renamed_symbol(plan):
        values["lint.renames"] = names
    return {key: canonical_bytes(value).decode() for key, value in values.items()}


def renames(plan: Plan) -> dict[str, str]:
    """Words that the plan changes everywhere: the symbol's name, the paths of moved files."""
    return {**_renamed_symbol(plan), **{edit.moved_from: edit.path for edit in plan.edits if edit.moved_from}}


def _renamed_symbol(plan: Plan) -> dict[str, str]:
    """`flask.app:Flask.run` names `run`, `click.utils:echo(nl)` names `nl`."""
    if plan.recipe.name != "rename":
        return {}
    return {re.findall(r"\w+", plan.recipe.arguments["symbol"])[-1]: plan.recipe.arguments["to"]}
