-- A page of a kind ($1) beyond a key ($2), of $3 rows at most, with the version
-- of those that are in place and were not compared within $4; 0 for the others,
-- which are there so that the last one says where to go on. Nothing is locked: a
-- token that is late costs nothing.
SELECT r.resource_id,
       CASE WHEN r.deleted_at IS NULL AND r.synced_version = r.version
                 AND coalesce(r.verified_at <= clock_timestamp() - $4::interval, true)
            THEN r.version ELSE 0 END
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2
ORDER BY r.resource_id
LIMIT $3
