"""Why a line is as it is, where a recorded program made it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cavalcade.domain.run import RunState
from cavalcade.kernel.ids import CommitId, RunId
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import FilesChanged, decode
from cavalcade.protocol.plan import Struct


class RecordedOrigin(Struct, frozen=True):
    """The look at a recorded program's folder in which the line came. `hunk` is the difference to the look before, around the line."""

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
    branch: str = ""


def recorded_origin(
    run: RunId, state: RunState, history: Sequence[Recorded], commit: CommitId, path: str, line: int, hunk: str
) -> RecordedOrigin | None:
    """None when no event of the run speaks of that commit."""
    recording = state.recording
    for recorded in history:
        changed = decode(recorded.event)
        if recording is not None and isinstance(changed, FilesChanged) and changed.commit == commit:
            return RecordedOrigin(
                run=run,
                command=recording.command,
                program=recording.program,
                in_place=recording.in_place,
                path=path,
                line=line,
                event=recorded.event.id,
                version=recorded.version,
                time=recorded.event.time,
                commit=commit,
                hunk=hunk,
                branch=state.branch,
            )
    return None
