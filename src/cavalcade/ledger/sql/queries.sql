-- name: insert_origin
INSERT INTO origins (number, name, created_us, seq, hash, position) VALUES (1, ?, ?, 0, ?, 0)

-- name: own_head
SELECT name, seq, hash, position FROM origins WHERE number = 1

-- name: put_own_head
UPDATE origins SET seq = ?, hash = ?, position = ? WHERE number = 1

-- name: put_head
INSERT INTO origins (number, name, created_us, seq, hash, position) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (number) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, position = excluded.position

-- name: head_of_origin
SELECT number, seq, hash, position FROM origins WHERE name = ?

-- name: all_heads
SELECT name, seq, hash, position FROM origins

-- name: heads_by_first
SELECT o.name, o.seq, o.hash FROM spans AS s JOIN origins AS o ON o.number = s.origin WHERE s.seq = 1 ORDER BY s.position

-- name: last_origin
SELECT coalesce(max(number), 0) FROM origins

-- name: last_position
SELECT coalesce(max(position), 0) FROM events

-- name: count_events
SELECT count(*) FROM events

-- name: last_stream
SELECT coalesce(max(number), 0) FROM streams

-- name: stream_number
SELECT number FROM streams WHERE name = ?

-- name: stream_version
SELECT version FROM events WHERE stream = ? ORDER BY position DESC LIMIT 1

-- name: insert_stream
INSERT INTO streams (number, name) VALUES (?, ?)

-- name: insert_event
INSERT INTO events (position, stream, version, time_us, previous, id, hash, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_span
INSERT INTO spans (position, origin, seq) VALUES (?, ?, ?)

-- name: span_of
SELECT seq, position FROM spans WHERE origin = ? AND seq <= ? ORDER BY seq DESC LIMIT 1

-- name: spans_from
SELECT s.seq, s.position, (SELECT n.position FROM spans AS n WHERE n.position > s.position ORDER BY n.position LIMIT 1)
FROM spans AS s WHERE s.origin = :origin
AND s.seq >= (SELECT c.seq FROM spans AS c WHERE c.origin = :origin AND c.seq <= :seq ORDER BY c.seq DESC LIMIT 1)
ORDER BY s.seq LIMIT :limit

-- name: span_page
SELECT e.position, e.version, p.hash, e.hash, CAST(e.body AS BLOB)
FROM events AS e LEFT JOIN events AS p ON p.position = e.previous
WHERE e.position >= ? AND e.position < ? ORDER BY e.position LIMIT ?

-- name: claim
SELECT version FROM claims WHERE origin = ? AND stream = ?

-- name: put_claim
INSERT INTO claims (origin, stream, version) VALUES (?, ?, ?)
ON CONFLICT (origin, stream) DO UPDATE SET version = excluded.version

-- name: all_claims
SELECT o.name, s.name, c.version
FROM claims AS c LEFT JOIN origins AS o ON o.number = c.origin LEFT JOIN streams AS s ON s.number = c.stream

-- name: signer
SELECT key FROM signers WHERE origin = ?

-- name: put_signer
INSERT INTO signers (origin, key) VALUES (?, ?) ON CONFLICT (origin) DO UPDATE SET key = excluded.key

-- name: all_signers
SELECT o.name, s.key FROM signers AS s LEFT JOIN origins AS o ON o.number = s.origin

-- name: insert_moment
INSERT INTO moments (segment, earliest_us)
SELECT :segment, min(time_us) FROM events WHERE position > (:segment - 1) * 256 AND position <= :segment * 256

-- name: page
SELECT e.position, e.version, p.hash, e.hash, CAST(e.body AS BLOB)
FROM events AS e LEFT JOIN events AS p ON p.position = e.previous
WHERE e.position > ? ORDER BY e.position LIMIT ?

-- name: stream_page
SELECT e.position, e.version, p.hash, e.hash, CAST(e.body AS BLOB)
FROM events AS e INDEXED BY events_by_stream LEFT JOIN events AS p ON p.position = e.previous
WHERE e.stream = (SELECT number FROM streams WHERE name = ?) AND e.position > ? ORDER BY e.position LIMIT ?

-- name: event_by_id
SELECT e.position, e.version, p.hash, e.hash, CAST(e.body AS BLOB)
FROM events AS e LEFT JOIN events AS p ON p.position = e.previous
WHERE e.id = ?

-- name: position_of_id
SELECT position FROM events WHERE id = ?

-- name: version_of_name
SELECT version FROM events INDEXED BY events_by_stream
WHERE stream = (SELECT number FROM streams WHERE name = ?) ORDER BY position DESC LIMIT 1

-- name: streams
SELECT name FROM streams WHERE substr(name, 1, length(:prefix)) = :prefix ORDER BY number

-- name: last_segment
SELECT coalesce(max(segment), 0) FROM moments

-- name: segment_at
SELECT segment FROM moments WHERE segment < ? AND earliest_us <= ? ORDER BY segment DESC LIMIT 1

-- name: position_at
SELECT position FROM events WHERE position > ? AND position <= ? AND time_us <= ? ORDER BY position DESC LIMIT 1

-- name: stream_position_at
SELECT position FROM events INDEXED BY events_by_stream
WHERE stream = (SELECT number FROM streams WHERE name = ?) AND time_us <= ? ORDER BY position DESC LIMIT 1

-- name: verify_page
SELECT e.position, e.version, e.hash, CAST(e.body AS BLOB), s.name, e.time_us, e.previous, e.id, o.name, n.seq
FROM events AS e LEFT JOIN streams AS s ON s.number = e.stream
LEFT JOIN spans AS n ON n.position = e.position LEFT JOIN origins AS o ON o.number = n.origin
WHERE e.position > ? ORDER BY e.position LIMIT ?

-- name: row_hash
SELECT hash FROM events WHERE position = ?

-- name: bad_moment
SELECT m.segment FROM moments AS m WHERE m.earliest_us IS NOT (
    SELECT min(time_us) FROM events WHERE position > (m.segment - 1) * 256 AND position <= m.segment * 256
) ORDER BY m.segment LIMIT 1
