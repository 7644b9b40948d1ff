-- What the next event continues, in one row. Whoever writes locks it first and keeps it until the commit, so that positions are given
-- and become visible in one order, by one process at a time. `earliest_us` is the earliest time among the positions since the last
-- row of `moments`; `own_...` are those of the last event of this ledger's own chain. Room is left in the page, so that a new version of
-- the row needs no other page.
CREATE TABLE head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL,
    streams bigint NOT NULL,
    origins integer NOT NULL,
    earliest_us bigint NOT NULL,
    own_seq bigint NOT NULL,
    own_hash bytea NOT NULL,
    own_position bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO head (position, streams, origins, earliest_us, own_seq, own_hash, own_position)
VALUES (0, 0, 1, 9223372036854775807, 0, decode(repeat('00', 32), 'hex'), 0);

-- An origin owns one hash chain; number 1 is the one this ledger writes as. `seq`, `hash` and `position` are those of its last event;
-- those of number 1 stand in `head`.
-- Names are UTF-8 everywhere, as bytes: no text of PostgreSQL holds every name.
CREATE TABLE origins (
    number integer PRIMARY KEY,
    name bytea NOT NULL UNIQUE,
    created_us bigint NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    position bigint NOT NULL
) WITH (fillfactor = 10);

CREATE VIEW chains AS
SELECT o.number, o.name, h.own_seq AS seq, h.own_hash AS hash, h.own_position AS position
FROM origins AS o, head AS h WHERE o.number = 1
UNION ALL
SELECT number, name, seq, hash, position FROM origins WHERE number > 1;

-- Numbered in the order of their first event.
CREATE TABLE streams (
    number bigint PRIMARY KEY,
    name bytea NOT NULL UNIQUE
);

-- `body` is the text that was hashed; every other column is derived from it or from its place, and checked by verify.
-- A unique index over all partitions would have to hold the tenant: that positions differ is the lock's work, that ids do `ids`' own.
CREATE TABLE events (
    position bigint NOT NULL,
    stream bigint NOT NULL,
    version bigint NOT NULL,
    time_us bigint NOT NULL,
    tenant bytea NOT NULL,
    prevhash bytea NOT NULL,
    hash bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (position, tenant)
) PARTITION BY HASH (tenant);

DO $$
BEGIN
    FOR remainder IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE events_%s PARTITION OF events FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
            lpad(remainder::text, 2, '0'), remainder
        );
    END LOOP;
END
$$;

CREATE INDEX events_by_stream ON events (stream, position);

-- Where each event is: ids are unique over all tenants.
CREATE TABLE ids (
    id bytea PRIMARY KEY,
    position bigint NOT NULL
);

-- Where events of one origin begin to lie at consecutive positions: `seq` is the sequence number of the one at `position`. Finds the
-- event of an origin by its sequence number; a ledger with one origin has one row.
CREATE TABLE spans (
    position bigint PRIMARY KEY,
    origin integer NOT NULL,
    seq bigint NOT NULL,
    UNIQUE (origin, seq)
);

-- The last version that another origin's body claims in a stream: the next one must be greater.
CREATE TABLE claims (
    origin integer NOT NULL,
    stream bigint NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (origin, stream)
);

-- The key that signs another origin's heads: it may not change.
CREATE TABLE signers (
    origin integer PRIMARY KEY,
    key text NOT NULL
);

-- The earliest time among each 256 positions, written when they are complete: clocks go back, so times don't sort by position.
CREATE TABLE moments (
    segment bigint PRIMARY KEY,
    earliest_us bigint NOT NULL
);
