"""Rows in PostgreSQL's binary COPY format, packed a row at a time: a general encoder costs more than all else that is done to an event.

    file = signature, flags (int32), header extension (int32 length), rows, int16 -1
    row  = int16 number of columns, and for each int32 length and the bytes     (network byte order)

Source: PostgreSQL's manual, COPY, "Binary Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import LiteralString

from cavalcade.ledger.postgres_database import Connection

_BEGIN = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_END = struct.pack("!h", -1)
_INT8, _HASH = 8, 32
_event = struct.Struct("!hiqiqiqiqi32si32si").pack
_number_and_bytes = struct.Struct("!hiqi").pack
_length = struct.Struct("!i").pack


def event_row(
    position: int, stream: int, version: int, time_us: int, prevhash: bytes, digest: bytes, tenant: bytes, body: bytes
) -> bytes:
    """For columns in this order: four int8, four bytea, the first two of 32 bytes."""
    fixed = _event(
        8, _INT8, position, _INT8, stream, _INT8, version, _INT8, time_us, _HASH, prevhash, _HASH, digest, len(tenant)
    )  # fmt: skip
    return b"%b%b%b%b" % (fixed, tenant, _length(len(body)), body)


def numbered_row(number: int, value: bytes) -> bytes:
    """For an int8 and a bytea."""
    return _number_and_bytes(2, _INT8, number, len(value)) + value


def copy_in(connection: Connection, statement: LiteralString, rows: Iterable[bytes]) -> None:
    """Raises psycopg.Error; then none of the rows is in."""
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(b"".join((_BEGIN, *rows, _END)))
