"""Plans: sealed by their hash, checked before anybody is asked to approve one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

import msgspec

from cavalcade.kernel.canonical import canonical_bytes, digest
from cavalcade.kernel.ids import TaskId
from cavalcade.protocol.plan import Plan, PlannedEdit, TaskSpec


class SealedPlan(NamedTuple):
    """A plan with the SHA-256 of its canonical bytes. Only `seal` and `unseal` make one, so the hash is always the plan's own."""

    hash: str
    plan: Plan

    def edit(self, number: int) -> PlannedEdit | None:
        return next((edit for edit in self.plan.edits if edit.number == number), None)


def seal(plan: Plan) -> tuple[SealedPlan, bytes]:
    """The plan under its hash, and the canonical bytes to keep."""
    data = canonical_bytes(_plain(plan))
    return SealedPlan(digest(data), plan), data


def _plain(value: object) -> object:
    """Every field written out: equal plans have equal bytes, and no later default changes what an approved plan means."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(field) for name, field in msgspec.structs.asdict(value).items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    return value


def unseal(data: bytes) -> SealedPlan:
    """Raises msgspec.DecodeError (ValidationError is one) when the bytes are no plan."""
    try:
        return SealedPlan(digest(data), msgspec.json.decode(data, type=Plan))
    except UnicodeDecodeError as exc:
        raise msgspec.DecodeError(f"not UTF-8: {exc}") from exc


def flaws(plan: Plan) -> list[str]:
    """What makes a plan unfit to be proposed; empty when it is sound."""
    found = _graph_flaws(plan.tasks)
    numbers = [edit.number for edit in plan.edits]
    if len(set(numbers)) != len(numbers):
        found.append("two edits share a number")
    planned = {edit.number: edit for edit in plan.edits}
    claimed: set[int] = set()
    for task in plan.tasks:
        for number in (*task.edits, *task.residual):
            edit = planned.get(number)
            if edit is None:
                found.append(f"task {task.id} names edit {number}, which is not in the plan")
            elif number in claimed:
                found.append(f"edit {number} is listed twice, the second time by task {task.id}")
            elif (edit.kind == "residual") != (number in task.residual):
                found.append(f"edit {number} of task {task.id} is {edit.kind}, but is listed otherwise")
            claimed.add(number)
    found.extend(f"edit {number} belongs to no task" for number in numbers if number not in claimed)
    allowed = set(plan.allowed)
    found.extend(
        f"edit {edit.number} is outside the fence: {path}"
        for edit in plan.edits
        for path in sorted({edit.path, edit.moved_from or edit.path})
        if path not in allowed
    )
    return found


def _graph_flaws(tasks: tuple[TaskSpec, ...]) -> list[str]:
    known = {task.id: task for task in tasks}
    if not tasks:
        return ["the plan has no task"]
    if len(known) != len(tasks):
        return ["two tasks share an id"]
    found = [
        f"task {task.id} depends on {other}, which is not in the plan"
        for task in tasks
        for other in task.depends_on
        if other not in known
    ]
    if not found and (circle := _circle(known)):
        found.append("tasks depend on each other in a circle: " + " -> ".join(circle))
    return found


def _circle(tasks: Mapping[TaskId, TaskSpec]) -> list[TaskId]:
    """Task ids of one dependency circle, or an empty list (Kahn's algorithm, then a walk through what is left)."""
    waiting = {task.id: set(task.depends_on) for task in tasks.values()}
    while ready := [task for task, needs in waiting.items() if not needs]:
        for task in ready:
            del waiting[task]
        _release(waiting.values(), ready)
    if not waiting:
        return []
    path = [next(iter(waiting))]
    while path[-1] not in path[:-1]:
        path.append(min(waiting[path[-1]]))
    return path[path.index(path[-1]) :]


def _release(needs: Iterable[set[TaskId]], done: list[TaskId]) -> None:
    for need in needs:
        need.difference_update(done)
