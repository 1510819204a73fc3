-- name: Coming
SELECT casq.begin_artifact($1, $2, $3)

-- name: LockAttempt
-- Holds an attempt from ending, if it has not. After its end no bytes get a row any more,
-- and those without one are removed.
SELECT project_id FROM casq.builds WHERE id = $1 AND attempt = $2 AND status IN ('running', 'canceling') FOR SHARE

-- name: Keep
-- The row of what was uploaded, unless the attempt has one of that type. $10 is after how
-- many seconds it expires, or NULL.
INSERT INTO casq.artifacts (key, build_id, attempt, project_id, type, format, filename, size, sha256, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + make_interval(secs => $10::float8))
ON CONFLICT (build_id, attempt, type) DO NOTHING

-- name: Arrived
DELETE FROM casq.artifact_leftovers WHERE key = $1

-- name: Supersede
-- What an earlier attempt has left of that type.
DELETE FROM casq.artifacts WHERE build_id = $1 AND attempt < $2 AND type = $3

-- name: Same
-- Is what the attempt has of that type the same?
SELECT size = $4 AND sha256 = $5 FROM casq.artifacts WHERE build_id = $1 AND attempt = $2 AND type = $3

-- name: Expire
DELETE FROM casq.artifacts WHERE key IN (
    SELECT key FROM casq.artifacts WHERE expires_at <= clock_timestamp()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)

-- name: Leftovers
-- Bytes that no row will have any more, beyond the key $1.
SELECT l.key FROM casq.artifact_leftovers AS l
WHERE l.key > $1 AND NOT EXISTS (
    SELECT FROM casq.builds AS b
    WHERE b.id = l.build_id AND b.attempt = l.attempt AND b.status IN ('running', 'canceling'))
ORDER BY l.key LIMIT $2

-- name: Asking
-- The attempt that the token with the hash $2 stands for; whether there is a build $1, and
-- whether that attempt may have what it has left: its own, or those of builds that it
-- needs while it runs. And that, if there is any.
SELECT w.id, w.attempt, w.status, w.started_at IS NOT NULL, b.id IS NOT NULL,
    w.id = $1 OR (w.status IN ('running', 'canceling') AND EXISTS (
        SELECT FROM casq.build_needs AS n WHERE n.build_id = w.id AND n.needs_id = $1 AND n.artifacts)),
    coalesce(a.key, ''), coalesce(a.format, ''), coalesce(a.filename, ''), a.sha256
FROM casq.builds AS w
LEFT JOIN casq.builds AS b ON b.id = $1
LEFT JOIN casq.artifacts AS a ON a.build_id = b.id AND a.attempt = b.attempt AND a.type = 'archive'
    AND (a.expires_at IS NULL OR a.expires_at > clock_timestamp())
WHERE w.token_hash = $2
