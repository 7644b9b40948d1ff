"""What `why` answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from cavalcade.kernel.ids import CommitId, RunId, TaskId
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.plan import Struct
from cavalcade.protocol.receipt import Receipt

Kind = Literal["edit", "recorded", "git", "uncommitted"]
Sure = Literal["certain", "likely"]


class GitOrigin(Struct, frozen=True):
    """The commit that the line comes from, where no run's edit made it, or that brought it here."""

    commit: CommitId
    author: str
    time: datetime
    summary: str


class Approval(Struct, frozen=True):
    plan_hash: str
    by: str
    time: datetime


class PlanningStep(Struct, frozen=True):
    """One step on the way to the approved plan. `version` is the event's number in the run; `text` is what was said or decided."""

    version: int
    time: datetime
    kind: Literal["plan", "decision", "feedback", "fork"]
    by: str
    text: str


class EditOrigin(Struct, frozen=True):
    """The edit that made the line. `hunk` is its unified difference around the line; verdicts are the edit's own and the whole tree's.

    `run` is the one in which it was made. `through` is the fork of it, or of its fork, whose result brought it, if one did.
    """

    run: RunId
    objective: str
    task: TaskId
    title: str
    attempt: int
    edit: int
    kind: str
    agent: str
    path: str
    line: int
    event: str
    version: int
    time: datetime
    commit: CommitId
    hunk: str
    plan_hash: str
    approval: Approval | None
    decisions: tuple[Decision, ...]
    planning: tuple[PlanningStep, ...]
    edit_verdicts: tuple[Receipt, ...]
    tree_verdicts: tuple[Receipt, ...]
    branch: str = ""
    merged: CommitId = CommitId("")
    through: RunId = RunId("")


class Message(Struct, frozen=True):
    """`text` is cut at 2,000 characters; the event (`version`) has it whole."""

    version: int
    time: datetime
    text: str
    model: str = ""


class ToolUse(Struct, frozen=True):
    version: int
    time: datetime
    tool: str
    arguments: str
    answer: str = ""
    failed: bool = False


class Conversation(Struct, frozen=True):
    """What was said to a recorded program before it changed a file: the last prompt, its words since, the call that names the file."""

    session: str
    prompt: Message | None
    words: tuple[Message, ...]
    call: ToolUse | None


class RecordedOrigin(Struct, frozen=True):
    """The look at which a recorded program was seen to have made the line. `program` is empty when it is none that is known."""

    run: RunId
    command: tuple[str, ...]
    program: str
    in_place: bool
    path: str
    line: int
    event: str
    version: int
    time: datetime
    commit: CommitId
    hunk: str
    conversation: Conversation | None
    branch: str = ""


class Move(Struct, frozen=True):
    """The line's file got another path. `by` says who did it: an edit of `run`, a program that `run` recorded, or a plain commit."""

    old_path: str
    new_path: str
    commit: CommitId
    time: datetime
    by: Literal["edit", "recorded", "git"]
    summary: str
    run: RunId = RunId("")
    version: int = 0


class Hint(Struct, frozen=True):
    """A result that changed the line too and is not merged, or has the same line."""

    run: RunId
    branch: str
    text: str


class Why(Struct, frozen=True):
    """`kind`: a run's edit made the line, a recorded program did, somebody's commit did, or no commit has it yet.

    `sure` is `certain` when commits of the record itself lead there. It is `likely` when somebody brought the line without its history
    (squashed, copied, committed by hand) and the content tells: `note` says what is the same, `git` is the commit that brought it.
    `moves` are those of its file since the line was made, oldest first.
    """

    path: str
    line: int
    text: str
    kind: Kind
    sure: Sure = "certain"
    edit: EditOrigin | None = None
    recorded: RecordedOrigin | None = None
    git: GitOrigin | None = None
    moves: tuple[Move, ...] = ()
    note: str = ""
    hints: tuple[Hint, ...] = ()


class LineHistory(Struct, frozen=True):
    """Every change of a line, newest first. Each entry has the path, number and text that the line had after that change."""

    path: str
    line: int
    text: str
    changes: tuple[Why, ...]
