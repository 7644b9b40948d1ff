"""The rules of a recording: a run in which a program works and Cavalcade only looks."""

from __future__ import annotations

from cavalcade.domain.run import commands as c
from cavalcade.domain.run.refusal import Decided, Refusal
from cavalcade.domain.run.state import RunState
from cavalcade.protocol import events as e


def decide_for_recording(
    state: RunState,
    command: c.RecordChanges | c.RecordOutput | c.RecordConversation | c.EndRecording | c.RecordPublished,
) -> Decided:
    """For a recording that is under way. States form one chain: none is left out and none recorded twice."""
    match command:
        case c.RecordChanges(changed):
            if changed.commit == state.head:
                return ()
            if state.published:
                return Refusal("the last state of this recording is published: there is none after it")
            if changed.parent != state.head:
                return Refusal("the folder was looked at from another state", expected=f"parent {state.head}")
            if changed.tree == state.head_tree:
                return Refusal("nothing has changed in this state of the folder")
            return (changed,)
        case c.RecordOutput(pieces):
            return pieces
        case c.RecordConversation(entries):
            return entries
        case c.RecordPublished() if command.commit != state.head:
            return Refusal(f"commit {command.commit} is not the last state of this recording", expected=state.head)
        case c.RecordPublished():
            return () if state.published else (e.ResultPublished(branch=command.branch, commit=command.commit),)
        case c.EndRecording(exit_status):
            return (e.RecordingEnded(exit_status=exit_status, commit=state.head, tree=state.head_tree),)
