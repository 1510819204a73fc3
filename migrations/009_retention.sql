-- What of the log is kept, for how long, and who still needs it.
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

---- create above / drop below ----

-- Lock: its own table. Deploy: at any time; the log is kept whole from then on.
DROP FUNCTION casq.prune_events(bigint, integer);
DROP FUNCTION casq.prune_ticks(interval, integer);
DROP FUNCTION casq.oldest_needed_tick(interval);
DROP FUNCTION casq.forget_follower(text);
DROP FUNCTION casq.report_follower(text, bigint, uuid, bigint, numeric);
DROP TABLE casq.followers;
