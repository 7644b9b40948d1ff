"""What a program writes, cut into pieces for the record: by time, by size, never inside a character."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, NamedTuple

from cavalcade.recorder.backlog import Channel, Written


class Piece(NamedTuple):
    """`size_bytes` counts what was written, `text` is that decoded with replacement."""

    at: datetime
    channel: Channel
    size_bytes: int
    text: str


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")


@dataclass
class _Track:
    since: datetime
    decoder: codecs.IncrementalDecoder = field(default_factory=_decoder)
    text: str = ""
    size_bytes: int = 0


class Tape:
    """One for all channels of a program."""

    LONGEST_S: ClassVar[float] = 0.25
    MOST_BYTES: ClassVar[int] = 64 << 10

    def __init__(self) -> None:
        self._tracks: dict[Channel, _Track] = {}

    @property
    def holds(self) -> bool:
        """Whether something is not cut yet."""
        return any(track.size_bytes for track in self._tracks.values())

    def add(self, written: Written) -> list[Piece]:
        """The pieces that are full."""
        track = self._tracks.setdefault(written.channel, _Track(written.at))
        if not track.size_bytes:
            track.since = written.at
        track.text += track.decoder.decode(written.data)
        track.size_bytes += len(written.data)
        return [_cut(written.channel, track)] if track.size_bytes >= self.MOST_BYTES else []

    def flush(self, now: datetime | None = None) -> list[Piece]:
        """What has been waiting for long enough; everything without `now`."""
        return [
            _cut(channel, track)
            for channel, track in self._tracks.items()
            if track.size_bytes and (now is None or (now - track.since).total_seconds() >= self.LONGEST_S)
        ]

    def close(self) -> list[Piece]:
        """The rest, the beginning of a character that never ended included."""
        for track in self._tracks.values():
            track.text += track.decoder.decode(b"", final=True)
        return self.flush()


def _cut(channel: Channel, track: _Track) -> Piece:
    piece = Piece(track.since, channel, track.size_bytes, track.text)
    track.text, track.size_bytes = "", 0
    return piece
