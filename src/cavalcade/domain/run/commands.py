"""What may be asked of a run."""

from __future__ import annotations

from typing import NamedTuple

from cavalcade.domain.plan import SealedPlan
from cavalcade.kernel.ids import BlobId, CommitId, EventId, RunId, TaskId, TreeId
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.events import (
    FilesChanged,
    MessageRecorded,
    OutputWritten,
    Overlap,
    Problem,
    RecordingStarted,
    RunRequested,
    Settings,
    ToolAnswered,
    ToolCalled,
)
from cavalcade.protocol.plan import Base, Place, RecipeCall
from cavalcade.protocol.receipt import Receipt

UNSUPERVISED = "policy:supervision"
"""Who stopped a run whose workers were left alone."""
HELD = "policy:hold"
"""Who stopped a run because the stop file is there."""


class RequestRun(NamedTuple):
    request: RunRequested


class Fork(NamedTuple):
    """Asked of the state that the parent was in after `event`, its number `version`; decided for a run that is new.

    Without `guidance` it goes on from exactly there. With it, it plans anew for `objective` and `recipe` from `base`, the tree that was
    current there. `settings` hold either way: whether a plan is approved by itself is said anew for each fork.
    """

    parent: RunId
    event: EventId
    version: int
    by: str
    base: Base
    guidance: str
    objective: str
    recipe: RecipeCall | None
    settings: Settings


class ProposePlan(NamedTuple):
    """`kept` is the blob of the plan's canonical bytes."""

    round: int
    sealed: SealedPlan
    kept: BlobId
    decisions: tuple[Decision, ...] = ()


class Approve(NamedTuple):
    plan_hash: str
    by: str


class Inject(NamedTuple):
    text: str
    by: str
    objective: str
    recipe: RecipeCall | None
    settings: Settings


class Abort(NamedTuple):
    by: str
    reason: str = ""


class Stop(NamedTuple):
    """`by` as in RunHalted. What is under way is ended by whoever hears of it; the run can be resumed."""

    by: str
    reason: str = ""


class Resume(NamedTuple):
    by: str


class Fail(NamedTuple):
    """`round` is that of the plan that can't be made; 0 when the problem is another."""

    problem: Problem
    round: int = 0


class StartTask(NamedTuple):
    task: TaskId
    attempt: int


class ProposeEdit(NamedTuple):
    task: TaskId
    attempt: int
    sealed: SealedPlan
    edit: int


class JudgeEdit(NamedTuple):
    """Verdicts and their consequence in one: applied as `commit` when none failed, else rejected.

    `commit` is None when the edit conflicts with what the file holds by now.
    """

    task: TaskId
    attempt: int
    edit: int
    path: str
    receipts: tuple[Receipt, ...]
    parent: CommitId
    commit: CommitId | None
    tree: TreeId | None
    added: int
    removed: int


class ProposeTask(NamedTuple):
    task: TaskId
    attempt: int


class JudgeTask(NamedTuple):
    """Verdicts on the merged tree. `commit` is the new head if none failed; None when the merge itself has conflicts."""

    task: TaskId
    attempt: int
    head: CommitId
    receipts: tuple[Receipt, ...]
    commit: CommitId | None
    tree: TreeId | None
    reason: str = ""
    places: tuple[Place, ...] = ()


class RecordExploration(NamedTuple):
    task: TaskId
    attempt: int
    finding: str
    places: tuple[Place, ...]
    retry: tuple[int, ...] | None


class RecordPublished(NamedTuple):
    branch: str
    commit: CommitId


class Complete(NamedTuple):
    overlaps: tuple[Overlap, ...] = ()


class StartRecording(NamedTuple):
    recording: RecordingStarted


class RecordChanges(NamedTuple):
    """The next state of the program's folder; its parent is the state before."""

    changed: FilesChanged


class RecordOutput(NamedTuple):
    pieces: tuple[OutputWritten, ...]


class RecordConversation(NamedTuple):
    """What a known program says of its own conversation, in order."""

    entries: tuple[MessageRecorded | ToolCalled | ToolAnswered, ...]


class EndRecording(NamedTuple):
    """`exit_status` as in RecordingEnded."""

    exit_status: int | None


Command = (
    RequestRun
    | Fork
    | ProposePlan
    | Approve
    | Inject
    | Abort
    | Stop
    | Resume
    | Fail
    | StartTask
    | ProposeEdit
    | JudgeEdit
    | ProposeTask
    | JudgeTask
    | RecordExploration
    | RecordPublished
    | Complete
    | StartRecording
    | RecordChanges
    | RecordOutput
    | RecordConversation
    | EndRecording
)
