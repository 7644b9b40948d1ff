"""The run decider: from objective to completion, stop, abort or failure.

decide(state, command) -> payloads | Refusal
evolve(state, fact) -> state
pending(state) -> effects

requested ─► planning ─► awaiting_human ─► executing ─► publishing ─► completed
                ▲              │               │
                └── feedback ──┘               └─► stopped (a task can't pass its gates; nothing landed)
any open phase ─► aborted (a person) | failed (an error that names itself)
"""

from cavalcade.domain.run.commands import (
    Abort,
    Approve,
    Command,
    Complete,
    Fail,
    Fork,
    Inject,
    JudgeEdit,
    JudgeTask,
    ProposeEdit,
    ProposePlan,
    ProposeTask,
    RecordExploration,
    RecordPublished,
    RequestRun,
    StartTask,
)
from cavalcade.domain.run.decide import Refusal, decide
from cavalcade.domain.run.evolve import Fact, evolve, fold
from cavalcade.domain.run.pending import (
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
from cavalcade.domain.run.state import RunState, TaskState

__all__ = [
    "Abort",
    "Approve",
    "Command",
    "Complete",
    "DoTask",
    "Effect",
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
    "RecordExploration",
    "RecordPublished",
    "Refusal",
    "RequestRun",
    "RunState",
    "StartTask",
    "TaskState",
    "VerifyTask",
    "WaitForHuman",
    "decide",
    "evolve",
    "fold",
    "pending",
]
