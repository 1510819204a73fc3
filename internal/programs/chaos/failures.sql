SELECT kind, resource_id, format('event %s of life %s for cursor %s: %s', event_id, life, cursor, reason)
FROM casq.event_failures
ORDER BY cursor, life, event_id
