-- What a thing (kind $1, key $2) waits for, and its row, if it has one.
SELECT casq.why($1, $2), s.status, s.version, s.synced_version, s.attempts, s.last_error, s.retry_at, s.deleted_at
FROM (VALUES ($1::text, $2::text)) AS asked (kind, key)
LEFT JOIN casq.registry_status AS s ON s.kind = asked.kind AND s.resource_id = asked.key
