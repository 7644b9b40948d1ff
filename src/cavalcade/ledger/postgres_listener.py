"""Hearing of what other processes record. A notification is a hint and may get lost: whoever is woken reads by position."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

import psycopg

from cavalcade.ledger.followers import Followers
from cavalcade.ledger.postgres_database import CHANNEL, Connection, Server

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0


class Listener:
    """A thread with a connection of its own, from the first follower on. A lost connection is made anew, as often as it takes.

    `is_own` says whether a process of the server is the one behind this ledger's own writer, whose followers are woken without it.
    """

    def __init__(self, server: Server, followers: Followers, is_own: Callable[[int], bool]) -> None:
        self._server = server
        self._followers = followers
        self._is_own = is_own
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def start(self) -> None:
        """Again does nothing."""
        with self._lock:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="ledger-listener", daemon=True)
                self._thread.start()

    def renew(self) -> None:
        """Followers are woken once the server can be reached again."""
        with self._lock:
            if not self._stopping:
                self._poke()

    def close(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            self._poke()
        if self._thread is not None:
            self._thread.join()
        os.close(self._read_end)
        os.close(self._write_end)

    def _poke(self) -> None:
        try:
            os.write(self._write_end, b".")
        except BlockingIOError:
            return  # more than enough is there to be read

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            try:
                with self._server.connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    # What was recorded while nobody listened.
                    self._followers.wake()
                    pause_s = FIRST_PAUSE_S
                    self._hear(connection)
            except psycopg.Error:
                self._poked(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _hear(self, connection: Connection) -> None:
        """Until somebody pokes. Raises psycopg.OperationalError when the connection is lost."""
        while not self._poked(None, connection):
            connection.pgconn.consume_input()
            news = False
            while (notification := connection.pgconn.notifies()) is not None:
                news = news or not self._is_own(notification.be_pid)
            if news:
                self._followers.wake()

    def _poked(self, timeout_s: float | None, connection: Connection | None = None) -> bool:
        """Waits for a poke, or for something to read on the connection."""
        watched = [self._read_end] if connection is None else [self._read_end, connection.fileno()]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self._read_end not in ready:
            return False
        os.read(self._read_end, 4096)
        return True
