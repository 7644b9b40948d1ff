-- name: insert_origin
INSERT INTO origins (number, name, created_us, seq, hash, position) VALUES (1, ?, ?, 0, ?, 0)

-- name: own_head
SELECT name, seq, hash, position FROM origins WHERE number = 1

-- name: set_own_head
UPDATE origins SET seq = ?, hash = ?, position = ? WHERE number = 1

-- name: all_heads
SELECT name, seq, hash, position FROM origins

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

-- name: insert_moment
INSERT INTO moments (segment, earliest_us)
SELECT :segment, min(time_us) FROM events WHERE position > (:segment - 1) * 256 AND position <= :segment * 256

-- name: page
SELECT e.position, p.hash, e.hash, CAST(e.body AS BLOB)
FROM events AS e LEFT JOIN events AS p ON p.position = e.previous
WHERE e.position > ? ORDER BY e.position LIMIT ?

-- name: stream_page
SELECT e.position, p.hash, e.hash, CAST(e.body AS BLOB)
FROM events AS e INDEXED BY events_by_stream LEFT JOIN events AS p ON p.position = e.previous
WHERE e.stream = (SELECT number FROM streams WHERE name = ?) AND e.position > ? ORDER BY e.position LIMIT ?

-- name: event_by_id
SELECT e.position, p.hash, e.hash, CAST(e.body AS BLOB)
FROM events AS e LEFT JOIN events AS p ON p.position = e.previous
WHERE e.id = ?

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
SELECT e.position, e.hash, CAST(e.body AS BLOB), s.name, e.version, e.time_us, e.previous, e.id
FROM events AS e LEFT JOIN streams AS s ON s.number = e.stream
WHERE e.position > ? ORDER BY e.position LIMIT ?

-- name: row_hash
SELECT hash FROM events WHERE position = ?

-- name: bad_moment
SELECT m.segment FROM moments AS m WHERE m.earliest_us IS NOT (
    SELECT min(time_us) FROM events WHERE position > (m.segment - 1) * 256 AND position <= m.segment * 256
) ORDER BY m.segment LIMIT 1
