-- Is a scan ($1) over, and has it to wait? For the live process (other than $2)
-- that has it; for enough scans ($3) that run; or for an earlier recount of one
-- of its scopes. A part waits for no other recount: the one that it is a part of
-- has done so. A recount in parts is over as a scan; lost, when the one part was lost
-- that is always under way.
SELECT s.finished_at IS NOT NULL OR s.scanned_at IS NOT NULL OR s.in_parts AND p.under_way,
       (s.token IS NOT NULL AND s.process <> $2
        AND EXISTS (SELECT FROM casq.processes AS p WHERE p.id = s.process AND p.dead_at IS NULL))
       OR (SELECT count(*) FROM casq.scans AS o
           JOIN casq.processes AS p ON p.id = o.process AND p.dead_at IS NULL
           WHERE o.finished_at IS NULL AND o.scanned_at IS NULL AND o.token IS NOT NULL AND o.id <> s.id) >= $3
       OR s.part_of IS NULL AND EXISTS (
           SELECT FROM casq.scans AS o
           WHERE o.finished_at IS NULL AND coalesce(o.part_of, o.id) < s.id AND o.kind = s.kind
             AND (o.whole OR s.whole OR EXISTS (
                 SELECT FROM casq.refreshes AS a JOIN casq.refreshes AS b ON b.scope_id = a.scope_id
                 WHERE a.scan = s.id AND b.scan = o.id AND b.finished_at IS NULL))
       ),
       s.in_parts AND NOT p.under_way
FROM casq.scans AS s
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM casq.scans AS o WHERE o.part_of = s.id AND o.finished_at IS NULL) AS under_way
) AS p
WHERE s.id = $1
FOR UPDATE OF s
