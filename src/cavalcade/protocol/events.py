"""The events of a run. Frozen, closed, versioned: a type name never changes its meaning; a new shape is a new `.vN`.

`encode` and `decode` are the only ways between a payload and the `data` of an envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import BlobId, CommitId, EventId, OriginId, ProjectId, RunId, TaskId, TreeId
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.plan import Base, Place, RecipeCall, Struct, TaskSpec
from cavalcade.protocol.receipt import Receipt
from cavalcade.protocol.upcast import STEPS, upcast


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


@_event("decision.made.v2")
class DecisionMade(Payload, frozen=True):
    """The decision names what the decider saw: its `context_hash` is never empty."""

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


@_event("run.forked.v1")
class RunForked(Payload, frozen=True):
    """First event of a run that shares its parent's history up to and including event number `version` (`event`).

    Without `guidance` it goes on from there under the same plan and approval. With it, it plans anew from `base`, the state it stands
    on. `objective`, `recipe` and `settings` are what it goes on with.
    """

    parent: RunId
    event: EventId
    version: int
    by: str
    base: Base
    guidance: str = ""
    objective: str = ""
    recipe: RecipeCall | None = None
    settings: Settings = Settings()


@_event("recording.started.v1")
class RecordingStarted(Payload, frozen=True):
    """First event of a run in which a program works, not the swarm. `program` is empty when it is none that is known."""

    command: tuple[str, ...]
    project: ProjectId
    repository: str
    base: Base
    folder: str
    in_place: bool = False
    program: str = ""


class PathChange(Struct, frozen=True):
    """`status` as in a FileDiff: `A`dded, `D`eleted, `M`odified, `R`enamed (`old_path`), `T`ype or mode changed."""

    path: str
    status: str
    old_path: str = ""


@_event("files.changed.v1")
class FilesChanged(Payload, frozen=True):
    """What a program did to its folder between two looks. `paths` may leave out `more` of them: the trees tell all."""

    commit: CommitId
    parent: CommitId
    tree: TreeId
    paths: tuple[PathChange, ...]
    more: int = 0


@_event("output.written.v1")
class OutputWritten(Payload, frozen=True):
    """A piece of what a program wrote, as bytes decoded with replacement; `blob` holds it when it is too large for an event."""

    channel: Literal["terminal", "stdout", "stderr"]
    size_bytes: int
    text: str = ""
    blob: BlobId | None = None


@_event("message.recorded.v1")
class MessageRecorded(Payload, frozen=True):
    """What was said in a conversation with a known program. `session` and `entry` are its own names for it."""

    role: Literal["user", "assistant", "system", "thought"]
    text: str
    session: str = ""
    entry: str = ""
    model: str = ""
    blob: BlobId | None = None


@_event("tool.called.v1")
class ToolCalled(Payload, frozen=True):
    """`arguments` is JSON text; `paths` the files it names, relative to the project."""

    call: str
    tool: str
    arguments: str = ""
    session: str = ""
    paths: tuple[str, ...] = ()
    blob: BlobId | None = None


@_event("tool.answered.v1")
class ToolAnswered(Payload, frozen=True):
    call: str
    text: str = ""
    failed: bool = False
    blob: BlobId | None = None


@_event("recording.ended.v1")
class RecordingEnded(Payload, frozen=True):
    """`exit_status` is the program's, negative for the signal that ended it, None when nobody saw the end; `commit` its last state."""

    exit_status: int | None
    commit: CommitId
    tree: TreeId


@_event("work.saved.v1")
class WorkSaved(Payload, frozen=True):
    """Uncommitted work of the user, kept before something wrote to the working tree. `name` brings it back."""

    name: str
    project: ProjectId
    repository: str
    commit: CommitId
    tree: TreeId
    paths: tuple[str, ...] = ()
    more: int = 0


@_event("tree.restored.v1")
class TreeRestored(Payload, frozen=True):
    """The user's working tree was made to hold `tree`, on request. `saved` names what was there before."""

    project: ProjectId
    repository: str
    tree: TreeId
    saved: str
    run: RunId = RunId("")
    event: EventId = EventId("")


@_event("divergence.merged.v1")
class DivergenceMerged(Payload, frozen=True):
    """Two results of one project, made apart, go together: `commit` holds both `sides`."""

    project: ProjectId
    ours: RunId
    theirs: RunId
    sides: tuple[CommitId, CommitId]
    commit: CommitId
    tree: TreeId
    branch: str = ""


class Side(Struct, frozen=True):
    """One side of a conflict. `blobs` in the order of its paths, None where a path is not there."""

    run: RunId
    origin: OriginId
    commit: CommitId
    blobs: tuple[BlobId | None, ...] = ()


@_event("conflict.found.v1")
class ConflictFound(Payload, frozen=True):
    """Two results of one project, made apart, that a merge can't settle: a person has to.

    `reason` is empty when both changed the same lines of `paths`; else it says what the merged text would break, at `places`.
    """

    conflict: str
    project: ProjectId
    paths: tuple[str, ...]
    base: CommitId
    base_blobs: tuple[BlobId | None, ...]
    ours: Side
    theirs: Side
    reason: str = ""
    places: tuple[Place, ...] = ()


@_event("conflict.resolved.v1")
class ConflictResolved(Payload, frozen=True):
    conflict: str
    project: ProjectId
    by: str
    how: Literal["ours", "theirs", "edited"]
    commit: CommitId
    tree: TreeId
    branch: str = ""


@_event("head.signed.v1")
class HeadSigned(Payload, frozen=True):
    """An Ed25519 signature over the chain up to the origin's event `seq` with hash `head`. `key` and `signature` in hexadecimal."""

    origin: OriginId
    seq: int
    head: str
    key: str
    signature: str


@_event("project.registered.v1")
class ProjectRegistered(Payload, frozen=True):
    project: ProjectId
    repository: str


@_event("run.halted.v1")
class RunHalted(Payload, frozen=True):
    """Stopped from outside: nothing more is recorded in the run until `run.resumed`. In a recording: its program is being ended.

    `by` is a person's name, or `policy:<name>`: `policy:hold` where the stop file was there, `policy:supervision` where workers were
    left alone.
    """

    by: str
    reason: str = ""


@_event("run.resumed.v1")
class RunResumed(Payload, frozen=True):
    by: str


def known_types() -> tuple[str, ...]:
    return tuple(_types)


def encode(payload: Payload) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(payload))


def decode(event: Draft) -> Payload:
    """The payload of an event, of whatever version. Raises LedgerDamaged for a type not known here or data that doesn't fit it."""
    if event.type in STEPS:
        return _decode_old(event)
    cls = _types.get(event.type)
    if cls is None:
        raise _unknown(event)
    try:
        return msgspec.json.decode(event.data, type=cls)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _unreadable(event, exc) from exc


def _decode_old(event: Draft) -> Payload:
    try:
        name, data = upcast(event.type, msgspec.json.decode(event.data, type=dict[str, Any]))
        return msgspec.convert(data, type=_types[name])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise _unreadable(event, exc) from exc


def _unreadable(event: Draft, exc: Exception) -> LedgerDamaged:
    return LedgerDamaged(f"event {event.id} of type {event.type} can't be read: {exc}")


def _unknown(event: Draft) -> LedgerDamaged:
    stem, _, _ = event.type.rpartition(".v")
    known = next((name for name in _types if name.startswith(f"{stem}.v")), "a type of this version or an older one")
    return LedgerDamaged(
        f"event {event.id} has the unknown type {event.type!r}",
        expected=known,
        hint="open this data folder with the version of Cavalcade that wrote it, or a newer one",
    )
