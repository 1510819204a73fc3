-- At most $2 of the oldest recounts that have waited for their turn, with the jobs
-- (kind $1) that will look again. Those are left out whose turn it cannot be, behind
-- an earlier one of everything, or as one: see scan_busy.sql of the counters.
SELECT s.id, j.id
FROM river.river_job AS j
JOIN casq.scans AS s ON s.id = (j.args ->> 'scan')::bigint
WHERE j.kind = $1 AND j.queue = $1 AND j.state = 'available' AND j.metadata ? 'snoozes'
  AND s.finished_at IS NULL AND s.token IS NULL
  AND NOT EXISTS (
      SELECT FROM casq.scans AS o
      WHERE o.finished_at IS NULL AND o.kind = s.kind AND coalesce(o.part_of, o.id) < s.id AND (o.whole OR s.whole)
  )
ORDER BY s.id
LIMIT $2
