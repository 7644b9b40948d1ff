"""What was said to a recorded program before it changed a file.

A program writes its session down when it sees fit, and it is read every half second: entries are taken in the order of their own times,
not of their numbers on the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from cavalcade.kernel.ids import BlobId
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.supervisor.why.answers import Conversation, Message, ToolUse

_WORDS = 5
_TEXT = 2_000
"""Characters of one text."""

Read = Callable[[BlobId], bytes]


def conversation_before(
    payloads: Sequence[tuple[Recorded, e.Payload]], change: Recorded, path: str, read: Read
) -> Conversation | None:
    """None when nothing was said. `path` is the file that the change made or changed."""
    said = sorted(
        ((r, p) for r, p in payloads if isinstance(p, e.MessageRecorded | e.ToolCalled)),
        key=lambda item: item[0].event.time,
    )
    at = change.event.time
    call = _call_for(said, path, at)
    until = min(at, call[0].event.time) if call else at
    messages = [
        (r, p) for r, p in said if isinstance(p, e.MessageRecorded) and (not call or p.session == call[1].session)
    ]
    prompts = [(r, p) for r, p in messages if p.role == "user" and r.event.time <= until]
    since = prompts[-1][0].event.time if prompts else None
    session = call[1].session if call else prompts[-1][1].session if prompts else ""
    words = [
        (r, p)
        for r, p in messages
        if p.role in ("assistant", "thought")
        and p.session == session
        and r.event.time <= at
        and (since is None or r.event.time >= since)
    ]
    if not (prompts or words or call):
        return None
    return Conversation(
        session=session,
        prompt=_message(*prompts[-1], read) if prompts else None,
        words=tuple(_message(r, p, read) for r, p in words[-_WORDS:]),
        call=_tool_use(*call, payloads, read) if call else None,
    )


def _call_for(
    said: Sequence[tuple[Recorded, e.Payload]], path: str, at: datetime
) -> tuple[Recorded, e.ToolCalled] | None:
    """The call that names the file, nearest before the change; where a program tells of calls when they are done, nearest after it.

    A call whose text has the path, such as a shell's command, will do where none names it as a file's. A call of the next prompt is
    not asked.
    """
    calls = [(r, p) for r, p in said if isinstance(p, e.ToolCalled) and path in p.paths]
    calls = calls or [(r, p) for r, p in said if isinstance(p, e.ToolCalled) and path in p.arguments]
    before = [call for call in calls if call[0].event.time <= at]
    if before:
        return before[-1]
    prompts = (
        r.event.time for r, p in said if isinstance(p, e.MessageRecorded) and p.role == "user" and r.event.time > at
    )
    end = next(prompts, None)
    return next((call for call in calls if end is None or call[0].event.time < end), None)


def _message(recorded: Recorded, message: e.MessageRecorded, read: Read) -> Message:
    text = _text(message.text, message.blob, read)
    return Message(version=recorded.version, time=recorded.event.time, text=text, model=message.model)


def _tool_use(
    recorded: Recorded, called: e.ToolCalled, payloads: Sequence[tuple[Recorded, e.Payload]], read: Read
) -> ToolUse:
    answer = next((p for _, p in payloads if isinstance(p, e.ToolAnswered) and p.call == called.call), None)
    return ToolUse(
        version=recorded.version,
        time=recorded.event.time,
        tool=called.tool,
        arguments=_text(called.arguments, called.blob, read),
        answer=_text(answer.text, answer.blob, read) if answer else "",
        failed=bool(answer and answer.failed),
    )


def _text(text: str, blob: BlobId | None, read: Read) -> str:
    whole = read(blob).decode("utf-8", "replace") if blob else text
    return whole if len(whole) <= _TEXT else f"{whole[:_TEXT]}..."
