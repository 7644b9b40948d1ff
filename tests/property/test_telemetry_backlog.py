"""The write-ahead file of the socket, under any order of steps by two commands that share it.

Bug class this catches: a line that nobody has taken and that is gone without a mark; a line torn, doubled or out of order.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cavalcade.telemetry.backlog import LEAST_LIMIT, Backlog
from cavalcade.telemetry.lines import DROPPED

WHO = st.integers(0, 1)


class Seen(msgspec.Struct):
    position: int = 0
    type: str = ""
    data: dict[str, int | str | list[str]] = {}


class BacklogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "s.wal"
        self.commands = [self.opened(), self.opened()]
        self.appended = 0
        self.at = 0
        """Offset of the one reader."""
        self.got = 0
        """Position up to which it knows of every event, by its line or by a mark."""
        self.known = 0
        """The same of what was noted as taken."""

    def opened(self) -> Backlog:
        return Backlog(self.path, limit_bytes=LEAST_LIMIT)

    @rule(who=WHO, size=st.sampled_from([10, 3000, 12_000]), count=st.integers(1, 9))
    def append(self, who: int, size: int, count: int) -> None:
        for _ in range(count):
            self.appended += 1
            line = {"specversion": "1.0", "position": self.appended, "run": "r1", "text": "x" * size}
            self.commands[who].append(msgspec.json.encode(line) + b"\n")

    @rule(who=WHO, size=st.sampled_from([20_000, 1 << 18]))
    def read(self, who: int, size: int) -> None:
        start, lines = self.commands[who].read(self.at, size)
        assert start >= self.at
        for line in lines.splitlines():
            seen = msgspec.json.decode(line, type=Seen)
            if seen.type == DROPPED:
                first, last, count = (seen.data[name] for name in ("first", "last", "count"))
                assert isinstance(first, int)
                assert isinstance(last, int)
                assert first <= self.got + 1
                assert count == last - first + 1
                self.got = max(self.got, last)
            else:
                assert seen.position == self.got + 1
                self.got += 1
        self.at = start + len(lines)

    @rule(who=WHO)
    def note_as_taken(self, who: int) -> None:
        self.commands[who].taken(self.at, needed=self.at)
        self.known = self.got

    @rule(who=WHO)
    def the_reader_leaves_and_another_comes(self, who: int) -> None:
        self.at, _ = self.commands[who].unread()
        self.got = self.known

    @rule(who=WHO)
    def a_command_ends_and_another_begins(self, who: int) -> None:
        self.commands[who].close()
        self.commands[who] = self.opened()

    @rule(torn=st.binary(min_size=1, max_size=40).filter(lambda torn: b"\n" not in torn))
    def a_command_is_killed_while_it_writes(self, torn: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(torn)

    @invariant()
    def the_file_keeps_to_its_limit(self) -> None:
        assert self.path.stat().st_size <= LEAST_LIMIT + 13_000

    def teardown(self) -> None:
        for command in self.commands:
            command.close()
        shutil.rmtree(self.folder)


class TestBacklog(BacklogMachine.TestCase):
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
