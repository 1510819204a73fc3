-- Cursors that take over from each other.
--
-- Lock: casq.cursors, for a moment. Deploy: at any time.

-- beat moves on with each batch, each takeover, and now and then while a batch
-- takes long. Who has seen the same beat for a lease's time of his own clock,
-- while there was something to apply, may take over, also without Redis.
--
-- lag_seconds is how old the newest event of the last batch was when that was
-- applied; NULL when it had none.
ALTER TABLE casq.cursors
    ADD COLUMN beat bigint NOT NULL DEFAULT 0,
    ADD COLUMN beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN lag_seconds double precision,
    ADD COLUMN last_error text;

-- Where the cursors stand.
--
-- holder: NULL when the session of the last one is over. last_beat: its last
-- sign of life; one that has nothing to do asks for its epoch every two
-- seconds. lag_events and lag_seconds: what home's log has and the cursor has
-- not applied, and the age of the oldest of it. The log of another site cannot
-- be counted here: lag_events is NULL, and lag_seconds that of the last batch,
-- which was applied at last_beat or before. A backlog of a million events takes
-- some 0.3 s to count.
CREATE VIEW casq.cursor_status AS
SELECT c.name,
       CASE WHEN session.pid IS NOT NULL THEN c.holder END AS holder,
       c.epoch,
       c.tick,
       c.page,
       CASE WHEN at.id IS NOT NULL THEN behind.events END AS lag_events,
       CASE WHEN at.id IS NULL THEN c.lag_seconds
            WHEN behind.events = 0 THEN 0
            ELSE greatest(0, extract(epoch FROM clock_timestamp() - behind.oldest))::double precision
       END AS lag_seconds,
       greatest(c.moved_at, c.beat_at, session.state_change) AS last_beat,
       c.last_error
FROM casq.cursors AS c
-- Of a session of another role only the pid is told.
LEFT JOIN LATERAL (
    SELECT a.pid, a.state_change
    FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a
    WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL
) AS session ON true
LEFT JOIN casq.ticks AS at ON at.id = c.tick AND at.mark = c.mark
LEFT JOIN casq.ticks AS target ON target.id = c.to_tick AND target.mark = c.to_mark
LEFT JOIN LATERAL (
    SELECT count(*) AS events, min(e.occurred_at) AS oldest
    FROM casq.events AS e
    WHERE at.id IS NOT NULL
      AND (e.xid >= pg_snapshot_xmax(at.snapshot)
           OR e.xid = ANY (ARRAY(SELECT pg_snapshot_xip(at.snapshot))))
      -- Within a step that is read in pages.
      AND (target.id IS NULL OR e.id > c.page OR NOT pg_visible_in_snapshot(e.xid, target.snapshot))
) AS behind ON true;

---- create above / drop below ----

DROP VIEW casq.cursor_status;
ALTER TABLE casq.cursors
    DROP COLUMN beat,
    DROP COLUMN beat_at,
    DROP COLUMN lag_seconds,
    DROP COLUMN last_error;
