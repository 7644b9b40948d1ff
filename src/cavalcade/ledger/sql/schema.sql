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

-- `body` is the text that was hashed; every other column is derived from it or from its place, and checked by verify. `version` is the
-- place in the stream here; the one in the body is that at its origin, for own events the same.
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

-- Where events of one origin begin to lie at consecutive positions: `seq` is the sequence number of the one at `position`. A ledger with
-- one origin has one row. Finds the event of an origin by its sequence number.
CREATE TABLE spans (
    position INTEGER PRIMARY KEY,
    origin INTEGER NOT NULL,
    seq INTEGER NOT NULL
);

CREATE UNIQUE INDEX spans_by_origin ON spans (origin, seq);

-- The last version that another origin's body claims in a stream: the next one must be greater.
CREATE TABLE claims (
    origin INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (origin, stream)
) WITHOUT ROWID;

-- The key that signs another origin's heads: it may not change.
CREATE TABLE signers (
    origin INTEGER PRIMARY KEY,
    key TEXT NOT NULL
);
