-- A page of the rows of a kind ($1) beyond a key ($2) and not beyond another ($3;
-- NULL: to the end), of $5 at most, and which of them say that their thing is in
-- place since before $4, and were not asked to be verified since then. (A condition would have the planner read all rows.)
SELECT r.resource_id, r.version,
       r.deleted_at IS NULL AND r.synced_version = r.version AND coalesce(greatest(r.verified_at, r.check_asked_at), '-infinity') < $4
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id > $2 AND ($3::text IS NULL OR r.resource_id <= $3)
ORDER BY r.resource_id
LIMIT $5
