"""Recordings under any order of commands, late and repeated ones and restarts included: one unbroken chain of states, then one end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cavalcade.domain.run import (
    Abort,
    Command,
    EndRecording,
    RecordChanges,
    RecordOutput,
    RecordPublished,
    Refusal,
    StartRecording,
    fold,
)
from cavalcade.kernel.ids import CommitId, ProjectId, TreeId
from cavalcade.protocol import events as e
from cavalcade.testing.runs import BASE, MemoryRun, object_name

STATES = st.integers(0, 4)


def commit(number: int) -> CommitId:
    return BASE.commit if number == 0 else CommitId(object_name(f"commit {number}"))


def tree(number: int) -> TreeId:
    return BASE.tree if number == 0 else TreeId(object_name(f"tree {number}"))


def look(parent: int, new: int) -> RecordChanges:
    return RecordChanges(e.FilesChanged(commit=commit(new), parent=commit(parent), tree=tree(new), paths=()))


def publish(number: int) -> RecordPublished:
    return RecordPublished("cavalcade/r1", commit(number))


STARTED = e.RecordingStarted(
    command=("make",), project=ProjectId("p1"), repository="/project", base=BASE, folder="/project", in_place=True
)
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    st.just(StartRecording(STARTED)),
    st.builds(look, STATES, STATES),
    st.just(RecordOutput((e.OutputWritten(channel="stdout", size_bytes=1, text="x"),))),
    st.builds(publish, STATES),
    st.builds(EndRecording, st.sampled_from([0, 1, -9, None])),
    st.just(Abort("ada")),
)


@given(st.lists(st.tuples(COMMANDS, st.booleans()), max_size=30))
def test_states_form_one_chain_from_the_base_to_the_end_whatever_is_asked(sent: list[tuple[Command, bool]]) -> None:
    run = MemoryRun()
    for command, restarted in sent:
        before = len(run.facts)
        decided = run.ask(command)
        assert not (isinstance(decided, Refusal) and len(run.facts) > before)
        if restarted:
            run.restart()
    payloads = [fact.payload for fact in run.facts]
    assert fold(run.facts) == run.state
    if not payloads:
        return
    assert payloads[0] == STARTED
    head, head_tree, published = BASE.commit, BASE.tree, 0
    for index, payload in enumerate(payloads[1:], start=1):
        match payload:
            case e.FilesChanged():
                assert payload.parent == head
                assert not published
                assert payload.tree != head_tree
                head, head_tree = payload.commit, payload.tree
            case e.ResultPublished():
                assert payload.commit == head
                published += 1
            case e.RecordingEnded():
                assert (payload.commit, payload.tree) == (head, head_tree)
                assert index == len(payloads) - 1
            case _:
                assert isinstance(payload, e.OutputWritten)
    assert published <= 1
    assert (run.state.head, run.state.head_tree) == (head, head_tree)
