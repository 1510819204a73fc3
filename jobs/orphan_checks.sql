-- As orphans.sql, verifications. Locked: of several that look one hands each on.
SELECT j.id, j.args
FROM river.river_job AS j
WHERE j.state = 'running'
  AND j.kind = 'casq_verify'
  AND NOT EXISTS (
      SELECT FROM casq.processes AS p
      WHERE p.id::text = j.attempted_by[array_upper(j.attempted_by, 1)] AND p.dead_at IS NULL
  )
  AND NOT j.metadata ? 'cancel_attempted_at'
LIMIT $1
FOR UPDATE OF j SKIP LOCKED
