"""The side channels of a command: which ones, what they carry, and what is said when something did not get out.

They carry the events of every stream that the command records to, from its start on, whoever recorded them. A command that records
nothing carries nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.around import LedgerAround
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.supervisor.timeline import count
from cavalcade.telemetry.channel import Channel
from cavalcade.telemetry.pump import Pump
from cavalcade.telemetry.settings import Asked, asked

Say = Callable[[str], None]
_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)


class WatchedLedger(LedgerAround):
    """The ledger itself, and which streams were appended to through it.

    A stream is noted before its events are durable, so that no follower meets an event of one that isn't noted yet.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.written: dict[StreamId, int] = {}
        """Position of the last event appended to each stream; 0 while none is acknowledged."""

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        self.written.setdefault(stream, 0)
        recorded = await self._ledger.append(stream, events, expected_version=expected_version)
        if recorded:
            self.written[stream] = max(self.written[stream], recorded[-1].position)
        return recorded


@asynccontextmanager
async def side_channels(ledger: Ledger, environ: Mapping[str, str], say: Say) -> AsyncGenerator[Ledger]:
    """The ledger to record with while the channels that are asked for follow it. Raises UsageError."""
    wanted = asked(environ)
    if not wanted.anything:
        yield ledger
        return
    watched = WatchedLedger(ledger)
    pumps = await start_pumps(watched, list(channels_of(wanted, watched, say)))
    try:
        yield watched
    finally:
        for text in await finish(pumps, watched, wanted.wait_s):
            say(text)


def channels_of(wanted: Asked, ledger: Ledger, say: Say) -> Iterator[Channel]:
    """Each opened, or refused with a UsageError. What a channel needs is imported when it is asked for."""

    async def earlier(recorded: Recorded) -> Sequence[Recorded]:
        return await ledger.read(stream=recorded.stream, limit=recorded.version - 1)

    if wanted.fd is not None:
        from cavalcade.telemetry.descriptor import DescriptorChannel

        yield DescriptorChannel(wanted.fd)
    if wanted.file is not None:
        from cavalcade.telemetry.jsonfile import LineFile

        yield LineFile("events-file", wanted.file)
    if wanted.socket is not None:
        from cavalcade.telemetry.sockets import SocketChannel

        yield SocketChannel(wanted.socket)
    if wanted.otlp_file is not None:
        from cavalcade.telemetry.jsonfile import LineFile
        from cavalcade.telemetry.otlp import otlp_lines

        yield LineFile("otlp-file", wanted.otlp_file, otlp_lines(earlier))
    if wanted.otlp is not None or wanted.standard is not None:
        from cavalcade.telemetry.otlp import OtlpChannel, installed

        if wanted.otlp is not None or installed():
            yield OtlpChannel(wanted.otlp, earlier)
        else:
            say("no spans are sent, though OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install 'cavalcade[otel]'")


async def start_pumps(watched: WatchedLedger, channels: Sequence[Channel]) -> list[Pump]:
    after = await watched.at(_END_OF_TIME)

    async def source() -> AsyncIterator[Recorded]:
        async for recorded in watched.follow(after=after):
            if recorded.stream in watched.written:
                yield recorded

    pumps = [Pump(channel, source, after=after) for channel in channels]
    for pump in pumps:
        pump.start()
    return pumps


async def finish(pumps: Sequence[Pump], watched: WatchedLedger, wait_s: float) -> list[str]:
    """Lets the pumps come to the end of what was recorded, for so long at most; a line for each that didn't."""
    last = max(watched.written.values(), default=0)
    for pump in pumps:
        pump.finish(last)
    await asyncio.to_thread(_wait, pumps, wait_s)
    return [await _left_over(pump, watched, last) for pump in pumps if not pump.complete]


def _wait(pumps: Sequence[Pump], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    for pump in pumps:
        if not pump.wait_ended(max(deadline - time.monotonic(), 0)):
            pump.abandon()


async def _left_over(pump: Pump, watched: WatchedLedger, last: int) -> str:
    """What went wrong, and how to get what is missing from the record."""
    missing = [
        recorded
        for stream in watched.written
        for recorded in await watched.read(stream=stream, after=pump.position)
        if recorded.position <= last
    ]
    reason = pump.problem or pump.channel.trouble() or "nobody takes them"
    what = "not all was delivered"
    if missing:
        positions = [recorded.position for recorded in missing]
        what = f"{count(len(missing), 'event')} not delivered (positions {min(positions)} to {max(positions)})"
    run = next((recorded.event.run for recorded in missing if recorded.event.run), "RUN")
    return f"{pump.channel.name}: {what}: {reason}; they are on the record: {pump.channel.again.replace('RUN', run)}"
