-- When the source has lost what was read ($2), the floor of a kind says nothing
-- of its present history beyond the tick that is left ($4, $5; NULL: none is).
WITH floors AS (
    UPDATE casq.registry_floors AS f
    SET life = coalesce($4::integer, 0), tick = coalesce($5::bigint, 0)
    WHERE $2 = 'lost' AND (f.life, f.tick) > (coalesce($4::integer, 0), coalesce($5::bigint, 0))
)
INSERT INTO casq.reconcile_runs (kind, reason, dry_run, beyond_life, beyond_tick, at_life, at_tick)
VALUES (nullif($1, ''), $2, $3, $4, $5, $6, $7)
RETURNING id
