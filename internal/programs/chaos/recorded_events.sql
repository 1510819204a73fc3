-- How often each event was recorded, by the tick that delivered it.
SELECT life_id, tick, mark, event_id, count(*), min(kind), min(resource_id)
FROM recorded
GROUP BY life_id, tick, mark, event_id
ORDER BY event_id, tick
