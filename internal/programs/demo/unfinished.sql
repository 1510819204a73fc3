-- Why some things that are not done are not: the ones that wait longest.
SELECT casq.why(kind, resource_id)
FROM casq.registry_status
WHERE status NOT IN ('synced', 'removed')
ORDER BY queued_at
LIMIT $1
