"""Each channel by itself, fed by hand: what its readers get when they are slow, leave, or come again."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cavalcade.cli.channels import WatchedLedger, finish, start_pumps
from cavalcade.kernel.ids import RunId, StreamId
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import RunAborted, encode
from cavalcade.telemetry.backlog import HEADER, LEAST_LIMIT
from cavalcade.telemetry.jsonfile import LineFile
from cavalcade.telemetry.lines import DROPPED
from cavalcade.telemetry.otlp import OtlpChannel
from cavalcade.telemetry.sockets import SocketChannel
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.collector import Collector
from cavalcade.testing.events import Drafts
from cavalcade.testing.runs import a_request

A, B = StreamId("run/a"), StreamId("run/b")


class Events:
    """Recorded events, one after the other."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger(entropy=SeededEntropy(1))
        self._drafts = Drafts(FakeClock(), SeededEntropy(2))

    async def more(self, count: int, note: str = "") -> list[Recorded]:
        return await self.ledger.append(A, [self._drafts.one(note) for _ in range(count)])

    async def one_by_another(self, stream: StreamId) -> Recorded:
        return (await self.ledger.append(stream, [self._drafts.one()]))[0]


@pytest.fixture
def events() -> Events:
    return Events()


@asynccontextmanager
async def serving(path: Path, limit_bytes: int = 1 << 20) -> AsyncGenerator[SocketChannel]:
    channel = SocketChannel(path, limit_bytes=limit_bytes)
    await channel.open()
    try:
        yield channel
    finally:
        await channel.aclose()


class Reader:
    """Gets lines only when it is asked to, so that it is as slow as a test wants."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    @classmethod
    async def connected(cls, path: Path, *, room: int | None = None) -> Reader:
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        if room is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        while True:
            try:
                await asyncio.get_running_loop().sock_connect(connection, str(path))
                return cls(connection)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0)

    async def fetch(self, size: int = 1 << 16) -> bytes:
        data = await asyncio.get_running_loop().sock_recv(self.connection, size)
        self._rest += data
        return data

    async def line(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            assert await self.fetch()
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    async def positions(self, last: int) -> list[int]:
        """Up to that one; a mark for dropped lines counts as the negative of its last position."""
        found: list[int] = []
        while not found or abs(found[-1]) < last:
            line = await self.line()
            found.append(-line["data"]["last"] if line["type"] == DROPPED else line["position"])
        return found

    def leave(self) -> None:
        self.connection.close()


async def send(channel: SocketChannel, recorded: list[Recorded]) -> None:
    for one in recorded:
        await channel.send(one)


async def test_every_reader_gets_every_line_from_when_it_comes(events: Events, tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as channel:
        readers = [await Reader.connected(tmp_path / "s") for _ in range(3)]
        await send(channel, await events.more(20))
        for reader in readers:
            assert await reader.positions(20) == list(range(1, 21))
        await channel.flush()
        late = await Reader.connected(tmp_path / "s")
        await send(channel, await events.more(1))
        assert await late.positions(21) == [21]
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        for reader in (*readers, late):
            reader.leave()


async def test_what_was_fetched_is_not_kept_and_what_was_not_is(events: Events, tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as channel:
        reader = await Reader.connected(tmp_path / "s")
        await send(channel, await events.more(5))
        assert await reader.positions(5) == [1, 2, 3, 4, 5]
        await channel.flush()
        assert (tmp_path / "s.wal").stat().st_size == HEADER
        reader.leave()
        await send(channel, await events.more(3))
        following = await Reader.connected(tmp_path / "s")
        assert await following.positions(8) == [6, 7, 8]
        following.leave()


async def test_a_reader_that_leaves_in_the_middle_of_a_line_costs_none(events: Events, tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as channel:
        first = await Reader.connected(tmp_path / "s")
        await send(channel, await events.more(2))
        assert await first.positions(2) == [1, 2]
        await channel.flush()
        await send(channel, await events.more(6))
        assert len(await first.fetch(100)) == 100
        first.leave()
        second = await Reader.connected(tmp_path / "s")
        assert await second.positions(8) == [3, 4, 5, 6, 7, 8]
        second.leave()


async def test_a_reader_that_has_fetched_all_and_leaves_at_once_has_taken_all(events: Events, tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as channel:
        first = await Reader.connected(tmp_path / "s")
        await send(channel, await events.more(4))
        assert await first.positions(4) == [1, 2, 3, 4]
        first.leave()
        second = await Reader.connected(tmp_path / "s")
        await send(channel, await events.more(1))
        assert await second.positions(5) in ([5], [1, 2, 3, 4, 5])  # it may come before the first is seen to be gone
        await channel.flush()
        second.leave()


async def test_a_reader_that_says_nothing_more_still_hears(events: Events, tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as channel:
        reader = await Reader.connected(tmp_path / "s")
        reader.connection.shutdown(socket.SHUT_WR)
        await send(channel, await events.more(3))
        assert await reader.positions(3) == [1, 2, 3]
        reader.leave()


async def test_a_reader_that_never_reads_holds_up_nobody_and_later_finds_a_mark(events: Events, tmp_path: Path) -> None:
    count, note = 400, "x" * 3000
    async with serving(tmp_path / "s", LEAST_LIMIT) as channel:
        idle = await Reader.connected(tmp_path / "s")
        lively = await Reader.connected(tmp_path / "s")
        for _ in range(count // 10):
            recorded = await events.more(10, note)
            await send(channel, recorded)
            assert (await lively.positions(recorded[-1].position))[-1] == recorded[-1].position
            assert (tmp_path / "s.wal").stat().st_size <= 2 * LEAST_LIMIT
        got = await idle.positions(count)
        (mark,) = [number for number, position in enumerate(got) if position < 0]
        assert got[:mark] == list(range(1, mark + 1))
        assert -got[mark] + 1 == got[mark + 1]
        assert got[mark + 1 :] == list(range(got[mark + 1], count + 1))
        for reader in (idle, lively):
            reader.leave()


async def test_beyond_the_limit_the_oldest_go_and_a_mark_says_which_and_how_to_get_them(
    events: Events, tmp_path: Path
) -> None:
    count = 200
    async with serving(tmp_path / "s", LEAST_LIMIT) as channel:
        await send(channel, await events.more(count, "x" * 1000))
        reader = await Reader.connected(tmp_path / "s")
        mark = await reader.line()
        assert mark["type"] == DROPPED
        assert "position" not in mark
        assert (mark["data"]["first"], mark["data"]["count"]) == (1, mark["data"]["last"])
        assert await reader.positions(count) == list(range(mark["data"]["last"] + 1, count + 1))
        reader.leave()


async def test_of_two_commands_one_serves_and_the_other_takes_over(events: Events, tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as second:
        async with serving(tmp_path / "s") as first:
            recorded = await events.more(4)
            reader = await Reader.connected(tmp_path / "s")
            await send(first, recorded[:2])
            await send(second, recorded[2:])
            assert await reader.positions(4) == [1, 2, 3, 4]
            await first.flush()
            await second.flush()
        reader.leave()
        await send(second, await events.more(2))
        following = await Reader.connected(tmp_path / "s")
        assert await following.positions(6) == [5, 6]
        following.leave()


def full_until(room: asyncio.Event, refused: asyncio.Event) -> Callable[[int, bytes], int]:
    """A disk that takes half of a line and then nothing."""

    def write(fd: int, data: bytes) -> int:
        if room.is_set():
            return os.write(fd, data)
        os.write(fd, data[: len(data) // 2])
        refused.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    return write


@pytest.mark.parametrize("kind", ["file", "socket"])
async def test_a_full_disk_tears_no_line_and_loses_none_once_there_is_room(
    events: Events, tmp_path: Path, kind: str
) -> None:
    room, refused = asyncio.Event(), asyncio.Event()
    write = full_until(room, refused)
    path = tmp_path / "s"
    channel = LineFile("events-file", path, write=write) if kind == "file" else SocketChannel(path, write=write)
    recorded = await events.more(3)
    sending = asyncio.create_task(channel.send(recorded[0]))
    await refused.wait()
    assert channel.trouble() == "No space left on device"
    kept = path if kind == "file" else tmp_path / "s.wal"
    assert b"specversion" not in kept.read_bytes()
    room.set()
    await sending
    for one in recorded[1:]:
        await channel.send(one)
    assert channel.trouble() == ""
    await channel.aclose()
    text = kept.read_bytes()[0 if kind == "file" else HEADER :]
    assert [json.loads(line)["position"] for line in text.splitlines()] == [1, 2, 3]


async def test_a_line_that_somebody_was_killed_at_goes_and_other_text_stays(events: Events, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text('{"specversion":"1.0","id":"whole"}\n{"specversion":"1.0","id":"to')
    (recorded,) = await events.more(1)
    for before in (1, 2):
        channel = LineFile("events-file", path)
        await channel.send(recorded)
        await channel.aclose()
        got = path.read_text().splitlines()
        assert len(got) == 1 + before
        assert all(json.loads(line) for line in got)
    path.write_text("my own notes")
    channel = LineFile("events-file", path)
    await channel.send(recorded)
    await channel.aclose()
    assert path.read_text().splitlines()[0] == "my own notes"
    assert json.loads(path.read_text().splitlines()[1])["position"] == 1


class Listing:
    """A channel that keeps what it is sent; `stuck` never comes back from the first."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.name, self.again = "listing", "cavalcade log RUN --json"
        self.sent: list[int] = []
        self._stuck = stuck

    async def open(self) -> None:
        return

    async def send(self, recorded: Recorded) -> None:
        self.sent.append(recorded.position)
        if self._stuck:
            await asyncio.Event().wait()

    async def flush(self) -> None:
        return

    def trouble(self) -> str:
        return ""

    def interrupt(self) -> None:
        return

    async def aclose(self) -> None:
        return


async def test_a_channel_that_is_stuck_holds_up_no_append_and_no_other_channel(events: Events) -> None:
    watched = WatchedLedger(events.ledger)
    stuck, lively = Listing(stuck=True), Listing()
    pumps = await start_pumps(watched, [stuck, lively])
    drafts = Drafts(FakeClock(), SeededEntropy(5))
    for number in range(1, 301):
        (recorded,) = await watched.append(A, [drafts.one()])
        assert recorded.position == number
    pumps[1].finish(300)
    await asyncio.to_thread(pumps[1].wait_ended, 60)
    said = await finish(pumps, watched, 0)
    assert lively.sent == list(range(1, 301))
    assert stuck.sent == [1]
    assert len(said) == 1
    assert "300 events not delivered (positions 1 to 300)" in said[0]


async def test_a_command_carries_the_streams_it_records_to_whoever_records(events: Events) -> None:
    await events.more(2)  # before the command
    watched, listing = WatchedLedger(events.ledger), Listing()
    pumps = await start_pumps(watched, [listing])
    drafts = Drafts(FakeClock(), SeededEntropy(5))
    await events.one_by_another(B)  # another run, another command
    (own,) = await watched.append(A, [drafts.one()])
    theirs = await events.one_by_another(A)
    (last,) = await watched.append(A, [drafts.one()])
    assert await finish(pumps, watched, 60) == []
    assert listing.sent == [own.position, theirs.position, last.position]


async def test_a_command_that_records_nothing_ends_at_once_and_tells_nothing(events: Events) -> None:
    await events.more(2)
    watched, listing = WatchedLedger(events.ledger), Listing()
    pumps = await start_pumps(watched, [listing])
    assert await finish(pumps, watched, 60) == []
    assert listing.sent == []


async def a_run_that_ended(ledger: MemoryLedger) -> list[Recorded]:
    payloads = (a_request(), RunAborted(by="ada"))
    drafts = Drafts(FakeClock(), SeededEntropy(3))
    events = [replace(drafts.one(), type=one.TYPE, data=encode(one), run=RunId("a")) for one in payloads]
    return await ledger.append(A, events)


@pytest.mark.parametrize("status", [400, 500])
async def test_spans_that_a_collector_refuses_are_kept_and_sent_again(events: Events, status: int) -> None:
    recorded = await a_run_that_ended(events.ledger)
    with Collector(lambda number: status if number == 1 else 200) as collector:
        channel = OtlpChannel(collector.address, lambda one: events.ledger.read(stream=A, limit=one.version - 1))
        sending = asyncio.create_task(channel.send(recorded[-1]))
        await asyncio.sleep(0)  # the exporter blocks this loop, which is the channel's own
        assert str(status) in channel.trouble()
        assert collector.spans == []
        await sending
        assert channel.trouble() == ""
    await channel.aclose()
    assert {span.name for span in collector.spans} == {"run", "plan"}
    assert len(collector.spans) == 2
