-- The holder is alive, in the middle of a batch that takes long.
UPDATE casq.cursors
SET beat = beat + 1, beat_at = clock_timestamp()
WHERE name = $1 AND epoch = $2
