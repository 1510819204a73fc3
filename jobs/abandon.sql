-- Ends jobs ($1) that nobody works on. Whoever comes late to the end of one finds it
-- ended: River writes an end only to what is running. In the order of their ids, as
-- several may do so at once.
UPDATE river.river_job AS j
SET state = 'cancelled', finalized_at = clock_timestamp(),
    metadata = j.metadata || jsonb_build_object('cancel_attempted_at', clock_timestamp())
FROM (
    SELECT q.id FROM river.river_job AS q
    WHERE q.id = ANY ($1::bigint[]) AND q.finalized_at IS NULL
    ORDER BY q.id FOR UPDATE
) AS mine
WHERE j.id = mine.id
