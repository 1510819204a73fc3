-- Closes exactly these failures ($1, $2): one that came while the things were
-- looked at stays open.
UPDATE casq.event_failures AS f
SET replayed_at = clock_timestamp()
FROM unnest($1::integer[], $2::bigint[]) AS w (life, event_id)
WHERE f.cursor = 'registry' AND f.life = w.life AND f.event_id = w.event_id AND f.replayed_at IS NULL
