-- The recount that the scan $1 is, or is a part of.
SELECT FROM casq.scans
WHERE id = (SELECT coalesce(part_of, id) FROM casq.scans WHERE id = $1)
FOR UPDATE
