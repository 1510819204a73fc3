-- Puts an event aside. There may be a row of it: a cursor that starts over, or
-- goes back, reads events again. Then it has failed again, and is open again.
INSERT INTO casq.event_failures AS f (cursor, life, event_id, tick, kind, resource_id, scope_id, op, payload,
                                      occurred_at, reason, code, tries)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $11, $12, $13)
ON CONFLICT (cursor, life, event_id) DO UPDATE
SET tick = excluded.tick, reason = excluded.reason, code = excluded.code,
    tries = f.tries + excluded.tries, failed_at = excluded.failed_at, replayed_at = NULL
