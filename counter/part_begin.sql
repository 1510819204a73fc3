-- The run $2 gives the scan $1 up, which goes on in parts; $3 is the generation that
-- they belong to.
UPDATE casq.scans SET in_parts = true, generation = $3, token = NULL, process = NULL
WHERE id = $1 AND token = $2 AND scanned_at IS NULL AND finished_at IS NULL
