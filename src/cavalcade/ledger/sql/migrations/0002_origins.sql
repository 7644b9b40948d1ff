-- Several origins in one ledger. Until now each event was this file's own.
-- Where events of one origin begin to lie at consecutive positions: `seq` is the sequence number of the one at `position`. A ledger with
-- one origin has one row. Finds the event of an origin by its sequence number.
CREATE TABLE spans (
    position INTEGER PRIMARY KEY,
    origin INTEGER NOT NULL,
    seq INTEGER NOT NULL
);

INSERT INTO spans (position, origin, seq) SELECT 1, 1, 1 WHERE EXISTS (SELECT 1 FROM events);

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
