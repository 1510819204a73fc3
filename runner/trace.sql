-- name: Of
-- What there is of the log of the build $1's attempt $2.
SELECT received, stored, checksum, cut, asked FROM casq.build_traces WHERE build_id = $1 AND attempt = $2

-- name: Append
-- Makes a log of $3 bytes, of which $4 are stored, with the checksum $5, one of $6, $7 and
-- $8, and adds what is to be stored, $10. It does nothing when the log is another by now:
-- of two that append at once one does.
WITH t AS (
    INSERT INTO casq.build_traces AS t (build_id, attempt, received, stored, checksum, cut)
    VALUES ($1, $2, $6, $7, $8, $9)
    ON CONFLICT (build_id, attempt) DO UPDATE
    SET received = excluded.received, stored = excluded.stored, checksum = excluded.checksum, cut = excluded.cut, compacted = false
    WHERE (t.received, t.stored, t.checksum) = ($3::bigint, $4::bigint, $5::bigint)
    RETURNING t.build_id
), added AS (
    INSERT INTO casq.build_trace_chunks (build_id, attempt, start, bytes)
    SELECT $1, $2, $4, $10::bytea FROM t WHERE octet_length($10::bytea) > 0
)
SELECT EXISTS (SELECT FROM t)

-- name: Begin
-- Begins a log anew whose runner was asked to send all of it again: $3 bytes, $4 of them
-- stored, with the checksum $5.
WITH t AS (
    UPDATE casq.build_traces
    SET received = $3, stored = $4, checksum = $5, cut = $6, asked = false, resent = resent + 1, compacted = false
    WHERE build_id = $1 AND attempt = $2 AND asked
    RETURNING build_id
), gone AS (
    DELETE FROM casq.build_trace_chunks AS c USING t WHERE c.build_id = $1 AND c.attempt = $2 RETURNING c.start
), added AS (
    -- It counts them to come after them.
    INSERT INTO casq.build_trace_chunks (build_id, attempt, start, bytes)
    SELECT $1, $2, 0, $7::bytea FROM t, (SELECT count(*) FROM gone) AS gone WHERE octet_length($7::bytea) > 0
)
SELECT EXISTS (SELECT FROM t)

-- name: AskAgain
-- Asks the runner for all of a log, until it begins to send it, since the answer that asks
-- may be lost; and again when that is another one, too, up to $3 times.
INSERT INTO casq.build_traces AS t (build_id, attempt, asked) VALUES ($1, $2, true)
ON CONFLICT (build_id, attempt) DO UPDATE SET asked = true WHERE t.resent < $3

-- name: Read
-- What is stored from the byte $3 on, as far as one row goes, of the build $1's attempt
-- $2, or of its newest if that is 0; and whether there may be more.
SELECT b.status, b.attempt, a.attempt, substring(c.bytes FROM ($3 - c.start + 1)::integer)
FROM casq.builds AS b
CROSS JOIN LATERAL (SELECT coalesce(nullif($2::integer, 0), b.attempt) AS attempt) AS a
LEFT JOIN LATERAL (
    SELECT c.start, c.bytes FROM casq.build_trace_chunks AS c
    WHERE c.build_id = b.id AND c.attempt = a.attempt AND c.start <= $3::bigint ORDER BY c.start DESC LIMIT 1
) AS c ON c.start + octet_length(c.bytes) > $3::bigint
WHERE b.id = $1

-- name: ToCompact
-- Logs of attempts that have ended.
SELECT t.build_id, t.attempt FROM casq.build_traces AS t
WHERE NOT t.compacted AND NOT EXISTS (
    SELECT FROM casq.builds AS b
    WHERE b.id = t.build_id AND b.attempt = t.attempt AND b.status IN ('running', 'canceling'))
ORDER BY t.build_id, t.attempt LIMIT 50

-- name: Lock
SELECT stored FROM casq.build_traces WHERE build_id = $1 AND attempt = $2 AND NOT compacted FOR UPDATE SKIP LOCKED

-- name: Compact
-- Joins what begins in the same $5 bytes of a log, from the byte $3 to $4.
WITH small AS (
    SELECT start / $5 AS part FROM casq.build_trace_chunks
    WHERE build_id = $1 AND attempt = $2 AND start >= $3 AND start < $4
    GROUP BY 1 HAVING count(*) > 1
), gone AS (
    DELETE FROM casq.build_trace_chunks AS c USING small
    WHERE c.build_id = $1 AND c.attempt = $2 AND c.start >= $3 AND c.start < $4 AND c.start / $5 = small.part
    RETURNING c.start, c.bytes
)
INSERT INTO casq.build_trace_chunks (build_id, attempt, start, bytes)
SELECT $1, $2, min(start), string_agg(bytes, '' ORDER BY start) FROM gone GROUP BY start / $5

-- name: Compacted
UPDATE casq.build_traces SET compacted = true WHERE build_id = $1 AND attempt = $2
