"""The gates' configuration that follows from an approved plan."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cavalcade.kernel.canonical import canonical_bytes
from cavalcade.protocol.plan import Plan


def edit_config(plan: Plan) -> Mapping[str, str]:
    """For any step of the plan: what may be written, which files move, which removals are planned. Values are canonical JSON."""
    moves = {edit.path: edit.moved_from for edit in plan.edits if edit.moved_from}
    deletions = sorted(edit.path for edit in plan.edits if edit.after is None)
    values: dict[str, object] = {"fence.allowed": sorted(plan.allowed)}
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
