SELECT r.version, r.deleted_at IS NULL AND r.synced_version IS NOT DISTINCT FROM r.version
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id = $2
