-- Takes the things that need no more waiting out of the list, and says which of
-- them have failed. A thing is done when the version that was asked for is in
-- place, or a newer one; when its newest one has failed; or when it is gone.
DELETE FROM pg_temp.asked AS a
WHERE NOT EXISTS (
    SELECT FROM casq.registry_status AS s
    WHERE s.kind = a.kind AND s.resource_id = a.resource_id
      AND (s.synced_version IS NULL OR s.synced_version < a.version)
      AND s.status <> 'failed'
)
RETURNING a.resource_id, (
    SELECT row_to_json(f)
    FROM (
        SELECT s.resource_id, s.version, coalesce(s.last_error, '') AS error, s.retry_at
        FROM casq.registry_status AS s
        WHERE s.kind = a.kind AND s.resource_id = a.resource_id AND s.status = 'failed'
          AND (s.synced_version IS NULL OR s.synced_version < a.version)
    ) AS f
)
