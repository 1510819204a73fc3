-- name: Begin
-- The first start of a cursor. Of two at once one inserts, both go on with it.
INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (name) DO NOTHING

-- name: Row
-- What a cursor's row and the sessions show of its holder. A session of another role
-- hides its start: it is taken for the holder's, that is, alive.
SELECT c.epoch, c.beat, coalesce(c.holder, ''), c.backend_pid, c.backend_start,
       c.backend_pid IS NOT NULL AND EXISTS (
           SELECT FROM pg_stat_get_activity(c.backend_pid) AS session
           WHERE session.backend_start = c.backend_start OR session.backend_start IS NULL),
       c.system_identifier, c.timeline, c.timeline_id, c.tick, c.nonce, c.to_tick, c.to_nonce, c.page
FROM casq.cursors AS c
WHERE c.name = $1

-- name: Position
-- How far a cursor has read the log.
SELECT system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page
FROM casq.cursors WHERE name = $1

-- name: Names
SELECT name FROM casq.cursors ORDER BY name

-- name: Epoch
SELECT epoch FROM casq.cursors WHERE name = $1

-- name: AsLogin
-- Until its batch ends, this session is the role that has logged in. Where that
-- one sets another (ALTER ROLE ... SET role), the login's sessions are hidden from the
-- other, which may not end them.
SELECT set_config('role', 'none', true)

-- name: Started
-- When this session has begun, by which it is told from another one with its pid.
SELECT backend_start FROM pg_stat_get_activity(pg_backend_pid())

-- name: End
-- Ends the old holder's session, and no other that has its pid by now.
SELECT pg_terminate_backend(session.pid)
FROM pg_stat_get_activity($1::integer) AS session
WHERE session.backend_start = $2::timestamptz AND session.pid <> pg_backend_pid()

-- name: Take
-- A new epoch: batches of earlier holders no longer commit. Of several processes that
-- have seen the same holder one gets the cursor. It does not know yet how old the log is.
UPDATE casq.cursors
SET epoch = epoch + 1, beat = beat + 1, holder = $2, backend_pid = pg_backend_pid(),
    backend_start = $4,
    beat_at = clock_timestamp(), caught_up_to = coalesce(caught_up_to, greatest(moved_at, beat_at))
WHERE name = $1 AND epoch = $3
RETURNING epoch, system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page

-- name: Check
-- The fence, read before the batch's work, with the position ($2 to $9); Move is the
-- fence itself.
SELECT epoch,
       system_identifier = $2 AND timeline = $3 AND timeline_id = $4 AND tick = $5 AND nonce = $6
       AND to_tick = $7 AND to_nonce = $8 AND page = $9
FROM casq.cursors
WHERE name = $1

-- name: Move
-- The fence: from one position ($4 to $11) to another ($12 to $19). The page is part of
-- the position: else a batch whose commit succeeded while its answer was lost would be
-- applied twice.
--
-- $3: the batch has events. $20 is how many seconds ago the tick that it leads to was seen to be
-- new, NULL: it may be of any age; and $21, whether all was applied when it was. Else what it
-- brings may be as old as what was applied before it. A batch that comes late tells so:
-- see casq.log_delays.
WITH late AS (
    INSERT INTO casq.log_delays AS d (cursor, since, delay)
    SELECT c.name, came.at, late.delay
    FROM casq.cursors AS c
    CROSS JOIN LATERAL (SELECT CASE WHEN $21::boolean THEN make_interval(secs => $20::float8) ELSE clock_timestamp() - c.caught_up_to END AS delay) AS late
    CROSS JOIN generate_series(date_bin('10 s', now(), 'epoch'), clock_timestamp(), interval '10 s') AS came (at)
    WHERE c.name = $1 AND $3::boolean AND late.delay > interval '1 s'
    ON CONFLICT ON CONSTRAINT log_delays_pkey DO UPDATE SET delay = greatest(d.delay, excluded.delay)
)
UPDATE casq.cursors
SET system_identifier = $12, timeline = $13, timeline_id = $14, tick = $15, nonce = $16,
    to_tick = $17, to_nonce = $18, page = $19,
    beat = beat + 1, moved_at = clock_timestamp(), last_error = NULL,
    caught_up_to = CASE WHEN NOT $3 AND caught_up_to IS NULL THEN NULL
                        WHEN $21 OR $17::bigint = 0 AND $20 IS NOT NULL THEN clock_timestamp() - make_interval(secs => $20)
                        ELSE caught_up_to END
WHERE name = $1 AND epoch = $2
  AND system_identifier = $4 AND timeline = $5 AND timeline_id = $6 AND tick = $7 AND nonce = $8
  AND to_tick = $9 AND to_nonce = $10 AND page = $11

-- name: Beat
-- The holder is alive, in the middle of a batch that takes long.
UPDATE casq.cursors
SET beat = beat + 1, beat_at = clock_timestamp()
WHERE name = $1 AND epoch = $2

-- name: LastError
UPDATE casq.cursors
SET last_error = $3
WHERE name = $1 AND epoch = $2

-- name: Fail
-- Dead-letters an event. It may have a row: a cursor that starts over, or goes back,
-- reads events again. Then it has failed again, and is open again.
INSERT INTO casq.event_failures AS f (cursor, timeline, event_id, tick, kind, resource_id, scope_id, op, payload,
                                      occurred_at, reason, code, tries)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10, $11, $12, $13)
ON CONFLICT (cursor, timeline, event_id) DO UPDATE
SET tick = excluded.tick, reason = excluded.reason, code = excluded.code,
    tries = f.tries + excluded.tries, failed_at = excluded.failed_at, replayed_at = NULL

-- name: Reset
-- Locks a cursor that is about to be moved by an operator, under a new epoch:
-- the active one's batches no longer commit.
UPDATE casq.cursors SET epoch = epoch + 1, moved_at = clock_timestamp() WHERE name = $1
RETURNING system_identifier, timeline, timeline_id, tick, nonce, to_tick, to_nonce, page

-- name: Place
-- Moves a cursor that Reset has locked to another position.
UPDATE casq.cursors
SET system_identifier = $2, timeline = $3, timeline_id = $4, tick = $5, nonce = $6, to_tick = $7, to_nonce = $8, page = $9
WHERE name = $1

-- name: Lag
UPDATE casq.cursors
SET caught_up_to = CASE WHEN NOT $3 THEN clock_timestamp() - $4::interval END
WHERE name = $1 AND epoch = $2

-- name: States
-- Where the cursors are, and who holds them: not how many events lie beyond, which would
-- have to be counted.
SELECT c.name, CASE WHEN session.pid IS NOT NULL THEN coalesce(c.holder, '') ELSE '' END, c.epoch, c.timeline, c.tick, c.nonce,
       c.to_tick, c.page,
       greatest(c.moved_at, c.beat_at, session.state_change), c.moved_at, coalesce(c.last_error, '')
FROM casq.cursors AS c
LEFT JOIN LATERAL (
    SELECT a.pid, a.state_change FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a
    WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL
) AS session ON true
ORDER BY c.name
