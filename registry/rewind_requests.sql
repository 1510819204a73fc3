-- What was asked for in other lives waits for a tick that no host shows. One of
-- the present life (life $1, tick $2) will do.
UPDATE casq.reconcile_runs SET at_life = $1, at_tick = $2
WHERE finished_at IS NULL AND at_life IS NOT NULL
