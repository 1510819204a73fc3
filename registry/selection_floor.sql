-- Raises the floor of the kind ($1) to what home has read of the log, and returns
-- that; no row when it has read nothing. Batches that went by the selection of
-- before have left no trace of what they left out: a page that is older would
-- bring back what they had seen leave.
WITH reached AS (
    -- Inside a step everything up to its end may be applied.
    SELECT c.life, greatest(c.tick, c.to_tick) AS tick FROM casq.cursors AS c WHERE c.name = 'registry'
), raised AS (
    INSERT INTO casq.registry_floors AS f (kind, life, tick)
    SELECT $1, life, tick FROM reached
    ON CONFLICT (kind) DO UPDATE SET life = excluded.life, tick = excluded.tick
    WHERE (f.life, f.tick) < (excluded.life, excluded.tick)
)
SELECT life, tick FROM reached
