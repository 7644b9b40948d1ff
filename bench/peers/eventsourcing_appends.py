"""Appends by eventsourcing's SQLite recorder, one event a save: `eventsourcing_appends.py FOLDER BODIES` prints events per second.

`BODIES` has one event's body per line. WAL mode; SQLite's `synchronous` is FULL unless it is changed, which the recorder doesn't.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore


def main(folder: Path, bodies: list[bytes]) -> float:
    """Events per second."""
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(folder / "eventsourcing.db")))
    recorder.create_table()
    stream = UUID(int=1)
    events = [StoredEvent(stream, number, "cavalcade:Edit", body) for number, body in enumerate(bodies, start=1)]
    start = time.perf_counter()
    for event in events:
        recorder.insert_events([event])
    seconds = time.perf_counter() - start
    assert recorder.max_notification_id() == len(events)
    return len(events) / seconds


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes().splitlines())}\n")
