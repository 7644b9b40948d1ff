-- An origin owns one hash chain; number 1 is the one this file writes as. `seq`, `hash` and `position` are those of its last event.
CREATE TABLE origins (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_us INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    position INTEGER NOT NULL
);

-- Numbered in the order of their first event.
CREATE TABLE streams (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- `body` is the text that was hashed; every other column is derived from it or from its place, and checked by verify.
-- `previous` is the position of the same origin's event before this one, 0 for its first: its hash is the prevhash.
-- `body` stands last, so that reading the short columns never touches overflow pages.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    time_us INTEGER NOT NULL,
    previous INTEGER NOT NULL,
    id TEXT NOT NULL,
    hash BLOB NOT NULL,
    body TEXT NOT NULL
);

CREATE UNIQUE INDEX events_by_id ON events (id);

CREATE INDEX events_by_stream ON events (stream, position, time_us);

-- The earliest time among each 256 positions, written when they are complete: clocks go back, so times don't sort by position.
CREATE TABLE moments (
    segment INTEGER PRIMARY KEY,
    earliest_us INTEGER NOT NULL
);
