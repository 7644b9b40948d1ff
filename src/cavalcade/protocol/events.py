"""The events of a run. Frozen, closed, versioned: a type name never changes its meaning; a new shape is a new `.vN`.

`encode` and `decode` are the only ways between a payload and the `data` of an envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

import msgspec

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import BlobId, CommitId, EventId, ProjectId, TaskId, TreeId
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.plan import Base, Place, RecipeCall, Struct, TaskSpec
from cavalcade.protocol.receipt import Receipt


class Payload(Struct, frozen=True):
    """Base of all event payloads."""

    TYPE: ClassVar[str] = ""


_types: dict[str, type[Payload]] = {}
P = TypeVar("P", bound=type[Payload])


def _event(name: str) -> Callable[[P], P]:
    def register(cls: P) -> P:
        cls.TYPE = f"cavalcade.{name}"
        _types[cls.TYPE] = cls
        return cls

    return register


class Settings(Struct, frozen=True):
    """How a run was asked for; part of its first event."""

    auto_approve: bool = False
    tests: bool = True
    python: str = ""
    test_command: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    attempts: int = 3
    test_timeout_s: int = 1200


class Problem(Struct, frozen=True):
    """An error as data: the same fields as CavalcadeError."""

    code: str
    what: str
    expected: str = ""
    hint: str = ""
    places: tuple[str, ...] = ()
    exit_status: int = 1


@_event("run.requested.v1")
class RunRequested(Payload, frozen=True):
    objective: str
    project: ProjectId
    repository: str
    base: Base
    recipe: RecipeCall | None = None
    settings: Settings = Settings()


class PlanCounts(Struct, frozen=True):
    files: int = 0
    changes: int = 0
    unresolved: int = 0
    residual: int = 0
    mentions: int = 0
    problems: int = 0


@_event("plan.proposed.v1")
class PlanProposed(Payload, frozen=True):
    """The plan itself lies in the content store as canonical bytes (`plan`); `plan_hash` is its SHA-256."""

    round: int
    plan_hash: str
    plan: BlobId
    tasks: tuple[TaskSpec, ...]
    counts: PlanCounts = PlanCounts()
    tests_refused: str = ""


@_event("decision.made.v1")
class DecisionMade(Payload, frozen=True):
    decision: Decision


@_event("plan.approved.v1")
class PlanApproved(Payload, frozen=True):
    """`by` is a person's name, or `policy:<name>` when a policy approved."""

    plan_hash: str
    by: str


@_event("feedback.injected.v1")
class FeedbackInjected(Payload, frozen=True):
    """`recipe` and `settings` are what the run goes on with."""

    text: str
    by: str
    objective: str
    recipe: RecipeCall | None = None
    settings: Settings = Settings()


@_event("run.aborted.v1")
class RunAborted(Payload, frozen=True):
    by: str
    reason: str = ""


@_event("task.started.v1")
class TaskStarted(Payload, frozen=True):
    task: TaskId
    attempt: int
    commit: CommitId
    """Head of the run for a first attempt, else the state after all certain edits."""
    tree: TreeId
    residual: tuple[int, ...] = ()
    """The residual edits that this attempt adds."""


@_event("edit.proposed.v1")
class EditProposed(Payload, frozen=True):
    """`edit` is the number in the approved plan."""

    task: TaskId
    attempt: int
    edit: int
    path: str
    before: BlobId | None = None
    after: BlobId | None = None
    moved_from: str = ""
    kind: str = "reference"


@_event("gate.judged.v1")
class GateJudged(Payload, frozen=True):
    """`edit` is None for a verdict on a whole tree."""

    task: TaskId
    attempt: int
    receipt: Receipt
    edit: int | None = None


@_event("edit.applied.v1")
class EditApplied(Payload, frozen=True):
    """`proposal` is the id of the EditProposed event; the commit's parent is the state before."""

    task: TaskId
    attempt: int
    edit: int
    path: str
    proposal: EventId
    commit: CommitId
    parent: CommitId
    tree: TreeId
    added: int = 0
    removed: int = 0


@_event("edit.rejected.v1")
class EditRejected(Payload, frozen=True):
    task: TaskId
    attempt: int
    edit: int
    path: str
    gates: tuple[str, ...]


@_event("task.proposed.v1")
class TaskProposed(Payload, frozen=True):
    task: TaskId
    attempt: int
    commit: CommitId
    tree: TreeId


@_event("task.bounced.v1")
class TaskBounced(Payload, frozen=True):
    """The proposal was not accepted; nothing of it is on the head. `gates` names those that failed."""

    task: TaskId
    attempt: int
    gates: tuple[str, ...]
    reason: str
    places: tuple[Place, ...] = ()


@_event("exploration.recorded.v1")
class ExplorationRecorded(Payload, frozen=True):
    """Why a proposal failed, found out before any retry. `retry` numbers the planned residual edits to add; None: nothing left to try."""

    task: TaskId
    attempt: int
    finding: str
    places: tuple[Place, ...] = ()
    retry: tuple[int, ...] | None = None


@_event("task.merged.v1")
class TaskMerged(Payload, frozen=True):
    task: TaskId
    attempt: int
    commit: CommitId
    """The new head of the run: one commit for the whole task."""
    tree: TreeId


@_event("result.published.v1")
class ResultPublished(Payload, frozen=True):
    branch: str
    commit: CommitId


class Overlap(Struct, frozen=True):
    """Another result branch of the same project: does it merge with this one?"""

    branch: str
    conflicts: tuple[str, ...] = ()


@_event("run.completed.v1")
class RunCompleted(Payload, frozen=True):
    branch: str
    commit: CommitId
    overlaps: tuple[Overlap, ...] = ()


@_event("run.stopped.v1")
class RunStopped(Payload, frozen=True):
    """Nothing landed: a task could not be made to pass its gates. A person has to look."""

    task: TaskId
    reason: str
    places: tuple[Place, ...] = ()


@_event("run.failed.v1")
class RunFailed(Payload, frozen=True):
    problem: Problem


@_event("project.registered.v1")
class ProjectRegistered(Payload, frozen=True):
    project: ProjectId
    repository: str


def known_types() -> tuple[str, ...]:
    return tuple(_types)


def encode(payload: Payload) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(payload))


def decode(event: Draft) -> Payload:
    """The payload of an event. Raises LedgerDamaged for a type this version doesn't know or data that doesn't fit it."""
    cls = _types.get(event.type)
    if cls is None:
        raise LedgerDamaged(
            f"event {event.id} has the unknown type {event.type!r}",
            expected="a type of this version or an older one",
            hint="open this data folder with the version of Cavalcade that wrote it, or a newer one",
        )
    try:
        return msgspec.json.decode(event.data, type=cls)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise LedgerDamaged(f"event {event.id} of type {event.type} can't be read: {exc}") from exc
