-- Positions for reads from standbys: which timeline a host is in. It is what
-- replica.Setup makes elsewhere, as replica/setup.sql has it.
--
-- Lock: none. Deploy: at any time.

-- A row for each promotion. Its number is above all that the server had; else it is
-- the time in seconds and 24 random bits. So numbers order one history whatever the
-- clock says, and two servers that were promoted from one standby do not share one.
-- It is not casq.timelines, which begin with a tick, and continue when a log is adopted.
CREATE TABLE casq.server_timelines (
    timeline bigint PRIMARY KEY CHECK (timeline > 0),
    system_identifier bigint NOT NULL,
    server_timeline integer NOT NULL,
    began_lsn pg_lsn NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Begins a timeline when the newest one is not this server's, and returns the one
-- that is: a position is only taken in a timeline whose row was committed before.
CREATE FUNCTION casq.begin_server_timeline() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cluster bigint := (SELECT c.system_identifier FROM pg_control_system() AS c);
    line integer;
    newest casq.server_timelines;
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a timeline begins on the primary only, this server is a standby'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Connect to the primary.';
    END IF;
    -- pg_control_checkpoint() shows a promotion only after the next checkpoint.
    line := ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::integer;
    LOCK TABLE casq.server_timelines IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO newest FROM casq.server_timelines ORDER BY timeline DESC LIMIT 1;
    IF (newest.system_identifier, newest.server_timeline) IS NOT DISTINCT FROM (cluster, line) THEN
        RETURN newest.timeline;
    END IF;
    -- A row that was seen must not be lost by a crash of this server.
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO casq.server_timelines (timeline, system_identifier, server_timeline, began_lsn)
    VALUES (greatest(coalesce(newest.timeline, 0) + 1, extract(epoch FROM clock_timestamp())::bigint << 24) + floor(random() * 16777216)::bigint,
            cluster, line, pg_current_wal_insert_lsn())
    RETURNING * INTO newest;
    RETURN newest.timeline;
END $$;

---- create above / drop below ----

-- Lock: none. Deploy: when nothing reads by package replica from this database.
DROP FUNCTION casq.begin_server_timeline();
DROP TABLE casq.server_timelines;
