"""What is known of a run at one moment, folded from its events."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from cavalcade.kernel.ids import BlobId, CommitId, EventId, RunId, TaskId, TreeId
from cavalcade.protocol.events import (
    FeedbackInjected,
    Overlap,
    PlanCounts,
    Problem,
    RecordingStarted,
    RunRequested,
    Settings,
)
from cavalcade.protocol.plan import Place, RecipeCall, Struct, TaskSpec

Phase = Literal[
    "none",
    "planning",
    "awaiting_human",
    "executing",
    "publishing",
    "recording",
    "halted",
    "completed",
    "stopped",
    "aborted",
    "failed",
]
CLOSED: frozenset[Phase] = frozenset({"completed", "stopped", "aborted", "failed"})

TaskStatus = Literal["waiting", "started", "proposed", "bounced", "retrying", "merged"]


class OpenEdit(Struct, frozen=True):
    """An edit that is proposed and not yet judged. Its commit is dated by the proposal, so that doing it again gives the same commit."""

    path: str
    proposal: EventId
    time: datetime


class TaskState(Struct, frozen=True):
    spec: TaskSpec
    status: TaskStatus = "waiting"
    attempt: int = 0
    start: CommitId = CommitId("")
    """Where the first attempt started: the base of the later three-way merge."""
    start_tree: TreeId = TreeId("")
    commit: CommitId = CommitId("")
    """The task's own head: the last applied edit."""
    tree: TreeId = TreeId("")
    complete: CommitId = CommitId("")
    """State after all certain edits; later attempts add residual edits to it."""
    complete_tree: TreeId = TreeId("")
    applied: tuple[int, ...] = ()
    """Edits applied in this attempt, in order."""
    rejected: tuple[int, ...] = ()
    open_edits: dict[int, OpenEdit] = msgspec.field(default_factory=dict[int, OpenEdit])
    retry: tuple[int, ...] = ()
    """Residual edits of the present attempt (`started`) or the next one (`retrying`)."""
    bounced_by: tuple[str, ...] = ()
    merged: CommitId = CommitId("")
    proposed_at: datetime | None = None
    queued: int = 0
    """Number of the proposal among the run's events: its place in the merge queue, whatever the clock did since."""

    def edits(self) -> tuple[int, ...]:
        """The edits that the present attempt has to make."""
        return self.spec.edits if self.attempt <= 1 else self.retry


class RunState(Struct, frozen=True):
    phase: Phase = "none"
    since: datetime | None = None
    """When the phase began."""
    version: int = 0
    """Events folded so far: the number of the last one in the run."""
    shared: int = 0
    """How many of them are its parent's, in another stream: a fork's own events begin after these."""
    parent: RunId | None = None
    """For a fork."""
    request: RunRequested | None = None
    recording: RecordingStarted | None = None
    """For a run in which a program works: it has no plan and no tasks."""
    exit_status: int | None = None
    """Of the recorded program, negative for the signal that ended it; None while it runs, and when nobody saw its end."""
    looks: int = 0
    """States of the folder that were recorded."""
    objective: str = ""
    recipe: RecipeCall | None = None
    settings: Settings = Settings()
    feedback: FeedbackInjected | None = None
    """The latest."""
    round: int = 0
    """Plans proposed so far, or overtaken by feedback while they were made."""
    plan_hash: str = ""
    plan: BlobId | None = None
    counts: PlanCounts = PlanCounts()
    tests_refused: str = ""
    approved_hash: str = ""
    approved_by: str = ""
    tasks: dict[TaskId, TaskState] = msgspec.field(default_factory=dict[TaskId, TaskState])
    head: CommitId = CommitId("")
    head_tree: TreeId = TreeId("")
    branch: str = ""
    published: bool = False
    overlaps: tuple[Overlap, ...] = ()
    problem: Problem | None = None
    stop_reason: str = ""
    stop_places: tuple[Place, ...] = ()
    halted_in: Phase = "none"
    """The phase that a halted run goes on with when it is resumed; `recording` while the program of a recording is being ended."""
    halted_by: str = ""

    @property
    def own_version(self) -> int:
        """The version of the run's own stream."""
        return self.version - self.shared

    @property
    def start(self) -> RunRequested | RecordingStarted | None:
        """What the run began with: its project, repository and base. None where there is no run."""
        return self.request or self.recording

    @property
    def closed(self) -> bool:
        return self.phase in CLOSED

    @property
    def at_rest(self) -> bool:
        """Whether nobody may do anything for the run: it has ended, or somebody stopped it."""
        return self.closed or self.phase == "halted"

    @property
    def halting(self) -> bool:
        """Whether somebody stopped it and it has not been resumed since, nor ended."""
        return self.halted_in != "none" and not self.closed

    def going_on(self) -> RunState:
        """As before it was stopped."""
        if not self.halting:
            return self
        return replace(self, phase=self.halted_in, halted_in="none", halted_by="", stop_reason="")

    def tree_for(self, task: TaskId) -> TreeId:
        """What a task sees; for no task, or one not begun, the head of the run."""
        state = self.tasks.get(task)
        return state.tree if state and state.tree and state.status != "merged" else self.head_tree
