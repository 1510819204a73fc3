-- Locks the rows in the order of the arguments ($1 to $4: kind, key, token,
-- claim; $5 incarnation; $6 what cancel.sql writes), which is key order, and says for each what its run
-- may still do. The columns are read after the lock was granted.
SELECT w.claim,
       r.claim IS NOT DISTINCT FROM w.claim AS mine,
       r.version = w.version AS newest,
       r.incarnation = w.incarnation AND r.deleted_at IS NULL AS same_life,
       r.asked,
       r.synced_version IS NOT DISTINCT FROM w.version AS synced,
       r.failed_version IS NOT DISTINCT FROM w.version AS failed,
       (r.version = w.version AND r.failed_version = w.version AND r.retry_at IS NULL AND r.last_error = $6) IS TRUE AS cancelled
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[])
     AS w (kind, resource_id, version, claim, incarnation)
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
    FOR NO KEY UPDATE
) AS r
