SELECT s.kind, s.resource_id, s.status, coalesce(r.checksum, ''), r.claim IS NOT NULL
FROM casq.registry_status AS s
JOIN casq.registry AS r USING (kind, resource_id)
ORDER BY s.kind, s.resource_id
