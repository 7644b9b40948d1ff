-- name: begin
BEGIN;
SELECT position, streams, origins, earliest_us, own_seq, own_hash, own_position FROM head FOR UPDATE

-- name: settle
UPDATE head SET position = %(position)s, streams = %(streams)s, origins = %(origins)s, earliest_us = %(earliest_us)s,
    own_seq = %(own_seq)s, own_hash = %(own_hash)s, own_position = %(own_position)s;
NOTIFY cavalcade_ledger;
COMMIT

-- name: copy_events
COPY events (position, stream, version, time_us, prevhash, hash, tenant, body) FROM STDIN (FORMAT BINARY)

-- name: copy_ids
COPY ids (position, id) FROM STDIN (FORMAT BINARY)

-- name: copy_streams
COPY streams (number, name) FROM STDIN (FORMAT BINARY)

-- name: insert_span
INSERT INTO spans (position, origin, seq) VALUES (%s, %s, %s)

-- name: insert_moment
INSERT INTO moments (segment, earliest_us) VALUES (%s, %s)

-- name: insert_origin
INSERT INTO origins (number, name, created_us, seq, hash, position) VALUES (1, %s, %s, 0, %s, 0)

-- name: put_head
INSERT INTO origins (number, name, created_us, seq, hash, position) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (number) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, position = excluded.position

-- name: put_claim
INSERT INTO claims (origin, stream, version) VALUES (%s, %s, %s)
ON CONFLICT (origin, stream) DO UPDATE SET version = excluded.version

-- name: put_signer
INSERT INTO signers (origin, key) VALUES (%s, %s) ON CONFLICT (origin) DO UPDATE SET key = excluded.key

-- name: own_origin
SELECT name FROM origins WHERE number = 1

-- name: heads_of
SELECT name, number, seq, hash, position FROM chains WHERE name = ANY(%s)

-- name: heads
SELECT o.name, o.seq, o.hash FROM chains AS o JOIN spans AS s ON s.origin = o.number AND s.seq = 1 ORDER BY s.position

-- name: last_position
SELECT position FROM head

-- name: stream_heads
SELECT s.name, s.number,
    (SELECT e.version FROM events AS e WHERE e.stream = s.number ORDER BY e.position DESC LIMIT 1)
FROM streams AS s WHERE s.name = ANY(%s)

-- name: stream_heads_since
SELECT s.name, s.number, max(e.version) FROM events AS e JOIN streams AS s ON s.number = e.stream
WHERE e.position > %s GROUP BY s.name, s.number

-- name: claims
SELECT version FROM claims WHERE origin = %s AND stream = %s

-- name: signer
SELECT key FROM signers WHERE origin = %s

-- name: page
SELECT position, version, prevhash, hash, body FROM events WHERE position > %s ORDER BY position LIMIT %s

-- name: stream_page
SELECT position, version, prevhash, hash, body FROM events
WHERE stream = (SELECT number FROM streams WHERE name = %s) AND position > %s ORDER BY position LIMIT %s

-- name: events_by_id
SELECT position, version, prevhash, hash, body FROM events
WHERE position = ANY(ARRAY(SELECT position FROM ids WHERE id = ANY(%s)))

-- name: known_ids
SELECT id FROM ids WHERE id = ANY(%s)

-- name: version_of_name
SELECT version FROM events WHERE stream = (SELECT number FROM streams WHERE name = %s) ORDER BY position DESC LIMIT 1

-- name: streams
SELECT name FROM streams WHERE substr(name, 1, octet_length(%(prefix)s)) = %(prefix)s ORDER BY number

-- name: last_segment
SELECT coalesce(max(segment), 0) FROM moments

-- name: segment_at
SELECT segment FROM moments WHERE segment < %s AND earliest_us <= %s ORDER BY segment DESC LIMIT 1

-- name: position_at
SELECT position FROM events WHERE position > %s AND position <= %s AND time_us <= %s ORDER BY position DESC LIMIT 1

-- name: stream_position_at
SELECT position FROM events WHERE stream = (SELECT number FROM streams WHERE name = %s) AND time_us <= %s
ORDER BY position DESC LIMIT 1

-- name: span_of
SELECT s.position, s.seq, (SELECT min(n.position) FROM spans AS n WHERE n.position > s.position)
FROM spans AS s WHERE s.origin = (SELECT number FROM origins WHERE name = %s) AND s.seq <= %s ORDER BY s.seq DESC LIMIT 1

-- name: span_page
SELECT position, version, prevhash, hash, body FROM events
WHERE position >= %s AND position < %s ORDER BY position LIMIT %s

-- name: verify_page
SELECT e.position, e.version, e.hash, e.body, s.name, e.time_us, e.tenant, e.prevhash
FROM (SELECT * FROM events WHERE position > %s ORDER BY position LIMIT %s) AS e LEFT JOIN streams AS s ON s.number = e.stream
ORDER BY e.position

-- name: places_of
SELECT id, position FROM ids WHERE id = ANY(%s)

-- name: head_events
SELECT o.name, o.seq, o.hash, o.position, e.hash, e.body
FROM chains AS o LEFT JOIN events AS e ON e.position = o.position ORDER BY o.number

-- name: ends
SELECT (SELECT min(position) FROM events), (SELECT max(position) FROM events), position, streams, origins, earliest_us FROM head

-- name: held_until
SELECT count(*) FROM events WHERE position > 0 AND position <= %s

-- name: tail
SELECT position, version, prevhash, hash, body FROM events WHERE position > %s ORDER BY position

-- name: spans_page
SELECT s.position, o.name, s.seq FROM spans AS s LEFT JOIN origins AS o ON o.number = s.origin
WHERE s.position > %s AND s.position <= %s ORDER BY s.position

-- name: moments_page
SELECT segment, earliest_us FROM moments WHERE segment > %s AND segment <= %s ORDER BY segment

-- name: all_claims
SELECT o.name, s.name, c.version FROM claims AS c
LEFT JOIN origins AS o ON o.number = c.origin LEFT JOIN streams AS s ON s.number = c.stream

-- name: all_signers
SELECT o.name, s.key FROM signers AS s LEFT JOIN origins AS o ON o.number = s.origin

-- name: counts
SELECT (SELECT count(*) FROM ids), (SELECT count(*) FROM spans), (SELECT count(*) FROM moments),
    (SELECT count(*) FROM streams), (SELECT count(*) FROM origins)
