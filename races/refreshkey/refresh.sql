-- name: Take
-- Takes up the next recount: one that was not begun, one whose batch is done, or
-- one whose worker has not been heard of for $1.
WITH next AS (
    SELECT project, state FROM published_refreshes
    WHERE state IN ('created', 'pending')
       OR state = 'running' AND updated_at < clock_timestamp() - $1::interval
    ORDER BY array_position(ARRAY['created', 'running', 'pending'], state), updated_at
    LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE published_refreshes AS r
SET state = 'running', updated_at = clock_timestamp(),
    up_to_id = CASE WHEN next.state = 'created'
               THEN (SELECT max(id) FROM artifacts AS a WHERE a.project = next.project)
               ELSE r.up_to_id END
FROM next WHERE r.project = next.project
RETURNING r.project, r.last_id, coalesce(r.up_to_id, 0), next.state = 'created'

-- name: Batch
SELECT id, coalesce(size, 0) FROM artifacts
WHERE project = $1 AND id > $2 AND id <= $3
ORDER BY id LIMIT $4

-- name: Zero
INSERT INTO published_statistics AS s (project, size) VALUES ($1, 0)
ON CONFLICT (project) DO UPDATE SET size = 0

-- name: Add
INSERT INTO published_statistics AS s (project, size) VALUES ($1, $2)
ON CONFLICT (project) DO UPDATE SET size = s.size + excluded.size
