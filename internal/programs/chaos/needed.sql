-- The first tick that shows all that tick $1 shows.
SELECT min(t.id)
FROM casq.ticks AS t
JOIN casq.ticks AS last ON last.id = $1
WHERE t.id <= last.id AND NOT casq.events_between(t.snapshot, last.snapshot)
