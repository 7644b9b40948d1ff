"""What a program writes, cut into pieces for the record: by time, by size, never inside a character, without secrets."""

from __future__ import annotations

import codecs
from datetime import datetime
from typing import ClassVar, NamedTuple

from cavalcade.kernel.redaction import Redactor
from cavalcade.kernel.redaction_stream import StreamRedactor
from cavalcade.recorder.backlog import Channel, Written


class Piece(NamedTuple):
    """`text` is decoded with replacement, secrets marked. `size_bytes` counts what was written since the last piece of the channel.

    The two needn't agree: the end of a line that is not finished yet waits for the rest, since it may be half of a secret.
    """

    at: datetime
    channel: Channel
    size_bytes: int
    text: str


class _Track:
    def __init__(self, channel: Channel, redactor: Redactor, since: datetime) -> None:
        self._channel: Channel = channel
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._redactor = StreamRedactor(redactor)
        self._text = ""
        self.since = since
        self.size_bytes = 0

    def add(self, written: Written) -> None:
        if not self.size_bytes:
            self.since = written.at
        self._text += self._redactor.feed(self._decoder.decode(written.data))
        self.size_bytes += len(written.data)

    def finish(self) -> None:
        self._text += self._redactor.feed(self._decoder.decode(b"", final=True)) + self._redactor.close()

    def cut(self) -> list[Piece]:
        if not self._text:
            return []
        piece = Piece(self.since, self._channel, self.size_bytes, self._text)
        self._text, self.size_bytes = "", 0
        return [piece]


class Tape:
    """One for all channels of a program."""

    LONGEST_S: ClassVar[float] = 0.25
    MOST_BYTES: ClassVar[int] = 64 << 10

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._tracks: dict[Channel, _Track] = {}

    def add(self, written: Written) -> list[Piece]:
        """The pieces that are full."""
        track = self._tracks.get(written.channel)
        if track is None:
            track = self._tracks[written.channel] = _Track(written.channel, self._redactor, written.at)
        track.add(written)
        return track.cut() if track.size_bytes >= self.MOST_BYTES else []

    def flush(self, now: datetime | None = None) -> list[Piece]:
        """What has been waiting for long enough; everything without `now`. Unfinished lines wait on."""
        return [
            piece
            for track in self._tracks.values()
            if now is None or (now - track.since).total_seconds() >= self.LONGEST_S
            for piece in track.cut()
        ]

    def close(self) -> list[Piece]:
        """The rest."""
        for track in self._tracks.values():
            track.finish()
        return self.flush()
