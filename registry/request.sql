INSERT INTO casq.reconcile_runs (kind, reason, dry_run, beyond_life, beyond_tick, at_life, at_tick, walk, remove_orphans, allow_remove)
VALUES (nullif($1, ''), $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id
