-- What of the log is kept, for how long, who still needs it, and how far they have come.
--
-- Lock: none on existing objects. Deploy: at any time.

-- Who reads this log from another database, and how far they have come.
CREATE TABLE casq.followers (
    name text COLLATE "C" PRIMARY KEY
        CONSTRAINT followers_name_length CHECK (octet_length(name) BETWEEN 1 AND 200),
    tick bigint NOT NULL,
    nonce uuid NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What is not in place there, as it has reported: see casq.at_risk. NULL: not known.
    resources bigint,
    bytes numeric
);

COMMENT ON TABLE casq.followers IS
    'Who reads this log from another database. What they have not read is kept for as long as '
    'they report.';
COMMENT ON COLUMN casq.followers.name IS 'as the follower calls itself';
COMMENT ON COLUMN casq.followers.tick IS 'the newest tick that it has applied';
COMMENT ON COLUMN casq.followers.nonce IS 'nonce of that tick';
COMMENT ON COLUMN casq.followers.reported_at IS 'when it said so';
COMMENT ON COLUMN casq.followers.resources IS 'how many resources it wanted and had not in place then';
COMMENT ON COLUMN casq.followers.bytes IS 'the bytes that were asked for of those';

-- Tells how far a follower has come: what it has still to read is kept, for as
-- long as it reports now and then. Returns false when this log does not have the
-- tick; such a report holds nothing back. A role that may report can make up
-- names, but not any number of them.
CREATE FUNCTION casq.report_follower(name text, tick bigint, nonce uuid, resources bigint DEFAULT NULL, bytes numeric DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM casq.followers AS f WHERE f.name = report_follower.name)
        AND (SELECT count(*) FROM casq.followers) >= 1000
    THEN
        RAISE EXCEPTION 'casq: 1000 followers have reported here, % would be one more', quote_literal(report_follower.name)
            USING ERRCODE = 'configuration_limit_exceeded',
                  HINT = 'SELECT * FROM casq.followers; those that do not come back: SELECT casq.forget_follower(''...'').';
    END IF;
    INSERT INTO casq.followers AS f (name, tick, nonce, resources, bytes)
    VALUES (report_follower.name, report_follower.tick, report_follower.nonce, report_follower.resources, report_follower.bytes)
    ON CONFLICT ON CONSTRAINT followers_pkey DO UPDATE
    SET tick = excluded.tick, nonce = excluded.nonce, reported_at = excluded.reported_at, resources = excluded.resources, bytes = excluded.bytes;
    RETURN EXISTS (SELECT FROM casq.ticks AS t
                   WHERE t.id = report_follower.tick AND t.nonce = report_follower.nonce);
END $$;

-- Forgets a follower that does not come back; false when there is none of that
-- name. One that does, and for which the log was not kept, compares everything.
CREATE FUNCTION casq.forget_follower(name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM casq.followers AS f WHERE f.name = forget_follower.name;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION casq.forget_follower IS
    'Forgets a follower that does not come back, so that the log is not kept for it; false '
    'where there is none of that name. One that does come back compares everything.';

-- The oldest tick that somebody goes on from; the newest one when nobody does.
-- A cursor that follows another log, or has not noticed yet that its tick was
-- lost, has a nonce that is not here, and holds nothing back. Inside a step it is
-- the tick that the step began with which is needed. Counters go on from the
-- positions of their shards, and recounts from the newest tick at the beginning of
-- their run, as long as there is something to count: without, nobody ends one. A
-- recount that waits, however long, needs nothing. retention is how long a follower's report counts.
--
-- Whatever else goes on from a tick is added here.
CREATE FUNCTION casq.oldest_needed_tick(retention interval) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(
        (SELECT min(t.id) FROM casq.cursors AS c
         JOIN casq.ticks AS t ON t.id = c.tick AND t.nonce = c.nonce),
        (SELECT min(t.id) FROM casq.followers AS f
         JOIN casq.ticks AS t ON t.id = f.tick AND t.nonce = f.nonce
         WHERE f.reported_at > clock_timestamp() - oldest_needed_tick.retention),
        (SELECT min(t.id) FROM casq.counter_shards AS s
         JOIN casq.ticks AS t ON t.id = s.tick AND t.nonce = s.nonce
         WHERE EXISTS (SELECT FROM casq.tracked WHERE scope_column IS NOT NULL)),
        (SELECT min(s.floor_tick) FROM casq.scans AS s
         WHERE s.finished_at IS NULL AND s.token IS NOT NULL
           AND EXISTS (SELECT FROM casq.tracked WHERE scope_column IS NOT NULL)),
        (SELECT max(t.id) FROM casq.ticks AS t))
$$;

-- Deletes ticks that nobody needs, oldest first, at most batch of them, and
-- returns how many they were; 0 also when another session is at it. A tick goes
-- when the one after it is older than retention: what came between the two had
-- been there to be read for at least that long.
--
-- Ticks go before the events that they lead to: a reader finds its tick gone,
-- never a step with holes. A worker's role deletes from the log by this function and
-- the next one alone.
CREATE FUNCTION casq.prune_ticks(retention interval, batch integer DEFAULT 5000) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    needed bigint;
    keep bigint;
    pruned bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('casq.prune', 0)) THEN
        RETURN 0;
    END IF;
    needed := casq.oldest_needed_tick(retention);
    SELECT page.id INTO keep
    FROM (
        SELECT oldest.id, lead(oldest.taken_at) OVER (ORDER BY oldest.id) AS next_taken_at
        FROM (SELECT t.id, t.taken_at FROM casq.ticks AS t
              WHERE t.id <= needed ORDER BY t.id LIMIT batch + 1) AS oldest
    ) AS page
    WHERE page.next_taken_at IS NULL OR page.next_taken_at > clock_timestamp() - retention
    ORDER BY page.id LIMIT 1;
    DELETE FROM casq.ticks AS t WHERE t.id < keep;
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;

-- Deletes what the oldest tick shows of the next batch of events above an id:
-- no step that is left to be read has any of them. What the tick does not show,
-- because it was committed late, stays. Returns how many it has deleted, and
-- the id to go on from; NULL when there is nothing beyond it, or another session
-- is at it.
CREATE FUNCTION casq.prune_events(after bigint, batch integer DEFAULT 10000, OUT pruned bigint, OUT last_id bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    oldest casq.ticks;
BEGIN
    pruned := 0;
    IF NOT pg_try_advisory_xact_lock(hashtextextended('casq.prune', 0)) THEN
        RETURN;
    END IF;
    SELECT * INTO oldest FROM casq.ticks AS t ORDER BY t.id LIMIT 1;
    SELECT max(page.id) INTO last_id
    FROM (SELECT e.id FROM casq.events AS e
          WHERE e.id > after AND e.id <= oldest.high_id ORDER BY e.id LIMIT batch) AS page;
    DELETE FROM casq.events AS e
    WHERE e.id > after AND e.id <= last_id AND pg_visible_in_snapshot(e.xid, oldest.snapshot);
    GET DIAGNOSTICS pruned = ROW_COUNT;
END $$;

-- Where the cursors stand.
--
-- holder: NULL when the session of the last one is over. last_beat: its last
-- sign of life; one that has nothing to do reads its epoch every two
-- seconds. lag_events and lag_seconds: what home's log has and the cursor has
-- not applied, and the age of the oldest of it. The log of another site cannot
-- be counted here: lag_events is NULL, and lag_seconds tells how long ago all
-- that the log had was applied. It grows when the log has shown no new tick for 30 s,
-- and when no process reads it; a holder that was killed while nothing happened may
-- have written it two minutes before. A backlog of a million events takes some
-- 0.3 s to count.
CREATE VIEW casq.cursor_status AS
SELECT c.name,
       CASE WHEN session.pid IS NOT NULL THEN c.holder END AS holder,
       c.epoch,
       c.tick,
       c.page,
       CASE WHEN at.id IS NOT NULL THEN behind.events END AS lag_events,
       CASE WHEN at.id IS NULL THEN
                greatest(0, extract(epoch FROM clock_timestamp() - coalesce(c.caught_up_to, session.state_change,
                    CASE WHEN session.pid IS NULL THEN greatest(c.moved_at, c.beat_at) END, clock_timestamp())))::double precision
            WHEN behind.events = 0 THEN 0
            ELSE greatest(0, extract(epoch FROM clock_timestamp() - behind.oldest))::double precision
       END AS lag_seconds,
       greatest(c.moved_at, c.beat_at, session.state_change) AS last_beat,
       c.last_error,
       c.timeline, c.nonce, c.to_tick, c.moved_at
FROM casq.cursors AS c
-- Of a session of another role only the pid is told.
LEFT JOIN LATERAL (
    SELECT a.pid, a.state_change
    FROM pg_stat_get_activity(coalesce(c.backend_pid, 0)) AS a
    WHERE a.backend_start = c.backend_start OR a.backend_start IS NULL
) AS session ON true
LEFT JOIN casq.ticks AS at ON at.id = c.tick AND at.nonce = c.nonce
LEFT JOIN casq.ticks AS target ON target.id = c.to_tick AND target.nonce = c.to_nonce
LEFT JOIN LATERAL (
    SELECT count(*) AS events, min(e.occurred_at) AS oldest
    -- Each part by the key: with OR between them all events that are kept were read.
    FROM (
        SELECT n.xid, n.id, n.occurred_at FROM casq.events AS n WHERE n.xid >= pg_snapshot_xmax(at.snapshot) AND c.name <> 'views'
        UNION ALL
        SELECT l.xid, l.id, l.occurred_at FROM pg_snapshot_xip(at.snapshot) AS late (xid)
        CROSS JOIN LATERAL (SELECT * FROM casq.events AS e WHERE e.xid = late.xid AND c.name <> 'views' OFFSET 0) AS l
        -- The consumer of views reads what has changed in their sources instead.
        UNION ALL
        SELECT n.xid, n.id, n.noted_at FROM casq.source_changes AS n WHERE c.name = 'views' AND NOT pg_visible_in_snapshot(n.xid, at.snapshot)
    ) AS e
    -- Within a step that is read in pages.
    WHERE target.id IS NULL OR e.id > c.page OR NOT pg_visible_in_snapshot(e.xid, target.snapshot)
) AS behind ON at.id IS NOT NULL;

COMMENT ON VIEW casq.cursor_status IS
    'How far this database''s cursors have come in the log, a row for each. Of a backlog of a '
    'million events it takes some 0.3 s.';
COMMENT ON COLUMN casq.cursor_status.name IS 'registry (what is copied follows this one), or another consumer of the log';
COMMENT ON COLUMN casq.cursor_status.holder IS 'the process that moves it, host and pid; NULL when its session is over';
COMMENT ON COLUMN casq.cursor_status.epoch IS 'rises with each change of the holder: what an earlier one still writes is refused';
COMMENT ON COLUMN casq.cursor_status.tick IS 'the newest tick of the log that is applied';
COMMENT ON COLUMN casq.cursor_status.page IS 'within a step that is read in pages: the last event that is applied; else 0';
COMMENT ON COLUMN casq.cursor_status.lag_events IS 'events that are not applied yet, for views changes of sources; NULL where the log is another database''s, and cannot be counted here';
COMMENT ON COLUMN casq.cursor_status.lag_seconds IS 'age of the oldest of them; of another database''s log: how long ago all that it had was applied';
COMMENT ON COLUMN casq.cursor_status.last_beat IS 'last sign of life of the holder';
COMMENT ON COLUMN casq.cursor_status.last_error IS 'what has kept it from going on; NULL since it goes on';
COMMENT ON COLUMN casq.cursor_status.timeline IS 'timeline of the log: another one begins with each failover of its database, and when a dump of it is restored';
COMMENT ON COLUMN casq.cursor_status.nonce IS 'of the tick: two logs that were one do not share it';
COMMENT ON COLUMN casq.cursor_status.to_tick IS 'end of the step that is read in pages; else 0';
COMMENT ON COLUMN casq.cursor_status.moved_at IS 'when it last moved';

---- create above / drop below ----

-- Lock: its own table. Deploy: at any time; the log is kept whole from then on.
DROP VIEW casq.cursor_status;
DROP FUNCTION casq.prune_events(bigint, integer);
DROP FUNCTION casq.prune_ticks(interval, integer);
DROP FUNCTION casq.oldest_needed_tick(interval);
DROP FUNCTION casq.forget_follower(text);
DROP FUNCTION casq.report_follower(text, bigint, uuid, bigint, numeric);
DROP TABLE casq.followers;
