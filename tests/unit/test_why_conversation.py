"""Of all that was said to a recorded program, what led to one change of a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cavalcade.kernel.ids import BlobId, CommitId, EventId, OriginId, StreamId, TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.supervisor.why.answers import Conversation
from cavalcade.supervisor.why.conversation import conversation_before

BEGAN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
CHANGE = e.FilesChanged(commit=CommitId("c"), parent=CommitId("p"), tree=TreeId("t"), paths=())
Said = tuple[int, e.Payload]
"""Seconds after the beginning, and what."""


def user(text: str, session: str = "s") -> e.MessageRecorded:
    return e.MessageRecorded(role="user", text=text, session=session)


def model(text: str, session: str = "s") -> e.MessageRecorded:
    return e.MessageRecorded(role="assistant", text=text, session=session)


def call(name: str, *paths: str, arguments: str = "{}", session: str = "s") -> e.ToolCalled:
    return e.ToolCalled(call=name, tool="write", arguments=arguments, paths=paths, session=session)


def recorded(number: int, second: int, payload: e.Payload) -> Recorded:
    event = Draft(
        id=EventId(f"e{number}"), type=payload.TYPE, time=BEGAN + timedelta(seconds=second), data=e.encode(payload)
    )
    return Recorded(
        event=event,
        stream=StreamId("run/r"),
        version=number,
        position=number,
        origin=OriginId("o"),
        originseq=number,
        prevhash="",
        hash="",
    )


def before(*said: Said, read: str = "") -> Conversation | None:
    """Of the one change among what was said, to `a.py`."""
    payloads = [(recorded(number, second, payload), payload) for number, (second, payload) in enumerate(said, start=1)]
    change = next(r for r, p in payloads if isinstance(p, e.FilesChanged))
    return conversation_before(payloads, change, "a.py", lambda _: read.encode())


def test_the_last_prompt_the_words_since_and_the_call_with_its_answer() -> None:
    found = before(
        (1, user("first")),
        (2, model("on the first")),
        (3, user("second")),
        (4, model("on the second")),
        (5, call("1", "b.py")),
        (6, call("2", "a.py")),
        (7, CHANGE),
        (8, e.ToolAnswered(call="2", text="no", failed=True)),
        (9, model("afterwards")),
        (10, user("third")),
        (11, call("3", "a.py")),
    )
    assert found is not None
    assert found.prompt is not None
    assert found.call is not None
    assert (found.prompt.text, found.prompt.version) == ("second", 3)
    assert [words.text for words in found.words] == ["on the second"]
    assert (found.call.version, found.call.answer, found.call.failed) == (6, "no", True)


def test_entries_are_taken_by_their_time_not_by_when_they_were_read() -> None:
    found = before((5, CHANGE), (1, user("asked")), (2, model("said")), (3, call("1", "a.py")))
    assert found is not None
    assert found.prompt is not None
    assert [found.prompt.text, *(words.text for words in found.words)] == ["asked", "said"]


def test_a_call_that_is_told_when_it_is_done_belongs_to_the_change_before_it() -> None:
    found = before((1, user("asked")), (2, CHANGE), (3, call("1", "a.py")))
    assert found is not None
    assert found.call is not None
    after = before((1, user("asked")), (2, CHANGE), (3, user("next")), (4, call("1", "a.py")))
    assert after is not None
    assert after.call is None


def test_a_shell_command_that_has_the_path_will_do_where_no_call_names_the_file() -> None:
    found = before((1, user("asked")), (2, call("1", arguments='{"cmd": "echo > a.py"}')), (3, CHANGE))
    assert found is not None
    assert found.call is not None
    assert found.call.version == 2


def test_a_helper_s_session_is_kept_apart() -> None:
    found = before(
        (1, user("for the person", "main")),
        (2, user("for the helper", "helper")),
        (3, model("elsewhere", "main")),
        (4, call("1", "a.py", session="helper")),
        (5, CHANGE),
    )
    assert found is not None
    assert found.prompt is not None
    assert (found.session, found.prompt.text, found.words) == ("helper", "for the helper", ())


def test_long_texts_are_read_from_the_store_and_cut() -> None:
    prompt = e.MessageRecorded(role="user", text="", session="s", blob=BlobId("b"))
    found = before((1, prompt), (2, CHANGE), read="x" * 5000)
    assert found is not None
    assert found.prompt is not None
    assert found.prompt.text == "x" * 2000 + "..."


@pytest.mark.parametrize("said", [(), ((9, user("later")),)])
def test_where_nothing_was_said_before_there_is_no_conversation(said: tuple[Said, ...]) -> None:
    assert before((2, CHANGE), *said) is None
