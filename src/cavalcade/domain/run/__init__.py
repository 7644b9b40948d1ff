"""The run decider: from objective to completion, stop, abort or failure.

decide(state, command) -> payloads | Refusal
evolve(state, fact) -> state
pending(state) -> effects

requested ─► planning ─► awaiting_human ─► executing ─► publishing ─► completed
                ▲              │               │
                └── feedback ──┘               └─► stopped (a task can't pass its gates; nothing landed)
recording ─► completed (the recorded program has ended, however)
any open phase but recording ─► aborted (a person) | failed (an error that names itself)
any open phase but recording ─► halted (stopped from outside: nothing is owed and nothing recorded) ─► the same phase again (resumed)
"""

from cavalcade.domain.run.commands import (
    HELD,
    UNSUPERVISED,
    Abort,
    Approve,
    Command,
    Complete,
    EndRecording,
    Fail,
    Fork,
    Inject,
    JudgeEdit,
    JudgeTask,
    ProposeEdit,
    ProposePlan,
    ProposeTask,
    RecordChanges,
    RecordConversation,
    RecordExploration,
    RecordOutput,
    RecordPublished,
    RequestRun,
    Resume,
    StartRecording,
    StartTask,
    Stop,
)
from cavalcade.domain.run.decide import decide
from cavalcade.domain.run.evolve import Fact, evolve, fold
from cavalcade.domain.run.pending import (
    AwaitProgram,
    DoTask,
    Effect,
    ExploreTask,
    Finish,
    MakePlan,
    Publish,
    VerifyTask,
    WaitForHuman,
    pending,
)
from cavalcade.domain.run.refusal import Refusal
from cavalcade.domain.run.state import RunState, TaskState

__all__ = [
    "HELD",
    "UNSUPERVISED",
    "Abort",
    "Approve",
    "AwaitProgram",
    "Command",
    "Complete",
    "DoTask",
    "Effect",
    "EndRecording",
    "ExploreTask",
    "Fact",
    "Fail",
    "Finish",
    "Fork",
    "Inject",
    "JudgeEdit",
    "JudgeTask",
    "MakePlan",
    "ProposeEdit",
    "ProposePlan",
    "ProposeTask",
    "Publish",
    "RecordChanges",
    "RecordConversation",
    "RecordExploration",
    "RecordOutput",
    "RecordPublished",
    "Refusal",
    "RequestRun",
    "Resume",
    "RunState",
    "StartRecording",
    "StartTask",
    "Stop",
    "TaskState",
    "VerifyTask",
    "WaitForHuman",
    "decide",
    "evolve",
    "fold",
    "pending",
]
