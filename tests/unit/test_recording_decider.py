"""The rules of a recording, one sentence each."""

from __future__ import annotations

import pytest

from cavalcade.domain.run import (
    Abort,
    Approve,
    AwaitProgram,
    Command,
    Complete,
    EndRecording,
    Fail,
    Fork,
    Inject,
    RecordChanges,
    RecordConversation,
    RecordOutput,
    RecordPublished,
    Refusal,
    RequestRun,
    StartRecording,
    StartTask,
    decide,
    pending,
)
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import BlobId, CommitId, EventId, ProjectId, RunId, TaskId, TreeId
from cavalcade.protocol import events as e
from cavalcade.testing.runs import BASE, BRANCH, MemoryRun, a_request, object_name

STARTED = e.RecordingStarted(
    command=("vim", "a b.py"), project=ProjectId("p1"), repository="/project", base=BASE, folder="/copy"
)
OUTPUT = e.OutputWritten(channel="stdout", size_bytes=3, text="hi\n")
FOR_OTHER_RUNS: tuple[Command, ...] = (
    Approve("hash", "ada"),
    Inject("docs too", "ada", "rename", None, e.Settings()),
    Abort("ada"),
    Fail(e.Problem(code="x", what="y")),
    StartTask(TaskId("t1"), 1),
    Complete(),
)


def _name(command: Command) -> str:
    return type(command).__name__


def change(name: str, parent: str | None = None) -> e.FilesChanged:
    """From the state `parent` (without: the base) to the state `name`."""
    return e.FilesChanged(
        commit=CommitId(object_name(f"commit {name}")),
        parent=CommitId(object_name(f"commit {parent}")) if parent else BASE.commit,
        tree=TreeId(object_name(f"tree {name}")),
        paths=(e.PathChange(path="a.py", status="M"),),
    )


def recording() -> MemoryRun:
    run = MemoryRun()
    run.must(StartRecording(STARTED))
    return run


def ended() -> MemoryRun:
    run = recording()
    run.must(EndRecording(0))
    return run


def test_a_recording_begins_with_what_the_repository_showed_and_waits_for_its_program() -> None:
    state = recording().state
    assert (state.phase, state.head, state.head_tree) == ("recording", BASE.commit, BASE.tree)
    assert state.objective == "vim 'a b.py'"
    assert state.start == STARTED
    assert pending(state) == (AwaitProgram(),)


def test_a_run_that_has_begun_does_not_begin_again() -> None:
    assert isinstance(recording().ask(StartRecording(STARTED)), Refusal)
    assert isinstance(recording().ask(RequestRun(a_request())), Refusal)


def test_each_state_of_the_folder_is_the_head_of_the_run() -> None:
    run = recording()
    run.must(RecordChanges(change("1")), RecordChanges(change("2", "1")))
    assert run.state.head_tree == change("2").tree
    assert run.state.tree_for(TaskId("")) == change("2").tree
    assert run.state.looks == 2


def test_a_state_told_twice_is_recorded_once() -> None:
    run = recording()
    run.must(RecordChanges(change("1")))
    assert run.ask(RecordChanges(change("1"))) == ()


@pytest.mark.parametrize("late", [change("3", "2"), change("3")])
def test_a_state_that_does_not_follow_the_last_one_is_refused(late: e.FilesChanged) -> None:
    run = recording()
    run.must(RecordChanges(change("1")))
    assert isinstance(run.ask(RecordChanges(late)), Refusal)


def test_a_state_that_differs_in_nothing_is_refused() -> None:
    same = e.FilesChanged(commit=CommitId(object_name("new")), parent=BASE.commit, tree=BASE.tree, paths=())
    assert isinstance(recording().ask(RecordChanges(same)), Refusal)


def test_output_and_conversation_are_recorded_as_they_come() -> None:
    run = recording()
    said = e.MessageRecorded(role="user", text="make it so")
    called = e.ToolCalled(call="c1", tool="Edit")
    assert run.must(RecordOutput((OUTPUT, OUTPUT))) == (OUTPUT, OUTPUT)
    assert run.must(RecordConversation((said, called))) == (said, called)
    assert run.state.head == BASE.commit


@pytest.mark.parametrize("status", [0, 3, -9, None])
def test_a_recording_is_completed_by_its_programs_end_however_it_ended(status: int | None) -> None:
    run = recording()
    run.must(RecordChanges(change("1")))
    (end,) = run.must(EndRecording(status))
    assert end == e.RecordingEnded(exit_status=status, commit=change("1").commit, tree=change("1").tree)
    assert (run.state.phase, run.state.exit_status) == ("completed", status)
    assert pending(run.state) == ()


def test_only_the_last_state_is_published_and_that_once() -> None:
    run = recording()
    run.must(RecordChanges(change("1")))
    assert isinstance(run.ask(RecordPublished(BRANCH, BASE.commit)), Refusal)
    run.must(RecordPublished(BRANCH, change("1").commit))
    assert run.ask(RecordPublished(BRANCH, change("1").commit)) == ()
    assert (run.state.published, run.state.branch) == (True, BRANCH)
    assert isinstance(run.ask(RecordChanges(change("2", "1"))), Refusal)


@pytest.mark.parametrize("command", FOR_OTHER_RUNS, ids=_name)
def test_what_is_for_planned_runs_is_refused_for_a_recording(command: Command) -> None:
    refusal = recording().ask(command)
    assert isinstance(refusal, Refusal)
    assert "recording" in refusal.what


@pytest.mark.parametrize(
    "command",
    [RecordChanges(change("1")), RecordOutput((OUTPUT,)), RecordConversation(()), EndRecording(0)],
    ids=_name,
)
def test_what_is_for_recordings_is_refused_for_others_and_after_the_end(command: Command) -> None:
    planned = MemoryRun()
    planned.must(RequestRun(a_request()))
    assert isinstance(planned.ask(command), Refusal)
    assert isinstance(ended().ask(command), Refusal)
    with pytest.raises(Refused, match="no such run"):
        MemoryRun().must(command)


def test_a_recording_is_only_forked_with_what_is_to_be_done_from_there() -> None:
    for run in (recording(), ended()):
        fork = Fork(
            parent=RunId("r1"),
            event=EventId("e1"),
            version=run.state.version,
            by="ada",
            base=BASE,
            guidance="",
            objective="",
            recipe=None,
            settings=e.Settings(),
        )
        refusal = decide(run.state, fork)
        assert isinstance(refusal, Refusal)
        assert "--with" in refusal.hint


def test_a_text_too_long_for_an_event_is_told_by_its_blob() -> None:
    run = recording()
    long = e.OutputWritten(channel="terminal", size_bytes=70_000, blob=BlobId(object_name("text")))
    assert run.must(RecordOutput((long,))) == (long,)
