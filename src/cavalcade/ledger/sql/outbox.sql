-- name: create
CREATE TABLE IF NOT EXISTS acknowledgements (
    receiver TEXT NOT NULL,
    origin TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    time_us INTEGER NOT NULL,
    PRIMARY KEY (receiver, origin)
) WITHOUT ROWID

-- name: record
INSERT INTO acknowledgements (receiver, origin, seq, hash, time_us) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (receiver, origin) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, time_us = excluded.time_us

-- name: all
SELECT receiver, origin, seq, hash, time_us FROM acknowledgements ORDER BY receiver, origin
