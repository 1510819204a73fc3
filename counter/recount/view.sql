-- name: Settings
-- What a scan does takes its time, whatever the role or the database allows others:
-- it is bounded by who runs it. $1: how many milliseconds a lock is waited for; $2:
-- how long home may take to store a page. transaction_timeout is of Postgres 17.
SELECT set_config(s.name, s.value, true)
FROM (VALUES
    ('statement_timeout', '0'),
    ('transaction_timeout', '0'),
    ('lock_timeout', $1::bigint::text),
    ('idle_in_transaction_session_timeout', $2::bigint::text)
) AS s (name, value)
WHERE current_setting(s.name, true) IS NOT NULL

-- name: Seen
-- In the snapshot of a scan ($1) by the run $2: the newest tick, and the
-- transactions with events beyond it. No row: the host does not show the run, or
-- the tick ($3, $4) that the request saw.
SELECT t.timeline, t.id, t.nonce,
       ARRAY(
           SELECT DISTINCT e.xid::text FROM casq.events AS e WHERE e.xid >= pg_snapshot_xmax(t.snapshot)
           UNION
           SELECT late.xid::text FROM pg_snapshot_xip(t.snapshot) AS late (xid)
           WHERE EXISTS (SELECT FROM casq.events AS e WHERE e.xid = late.xid)
       )
FROM (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS t
WHERE EXISTS (SELECT FROM casq.scans AS s WHERE s.id = $1 AND s.token = $2)
  AND (t.timeline, t.id) >= ($3, $4)

-- name: Table
-- Is the table of a kind ($1) the one that this snapshot shows: the same partitions,
-- with the same files? A table that was rewritten has no row for an older snapshot;
-- partitions are found as they are now, whatever the snapshot shows. Whoever has
-- read the table holds it: only a partition can be attached after that. And is a
-- partition on its way out, concurrently? Its rows count until it has left. And what
-- the order of the scopes comes from.
WITH RECURSIVE t AS MATERIALIZED (
    SELECT relation::oid AS oid FROM casq.tracked WHERE kind = $1
), shown (oid, relkind, file, detaching) AS (
    SELECT c.oid, c.relkind, nullif(c.relfilenode, 0), false
    FROM t JOIN pg_class AS c ON c.oid = t.oid
    UNION ALL
    SELECT c.oid, c.relkind, nullif(c.relfilenode, 0), i.inhdetachpending
    FROM shown AS s
    JOIN pg_inherits AS i ON s.relkind = 'p' AND i.inhparent = s.oid
    JOIN pg_class AS c ON c.oid = i.inhrelid
), present (oid, file) AS (
    SELECT m.oid, pg_relation_filenode(m.oid)
    FROM (SELECT oid FROM t UNION SELECT p.relid FROM t, pg_partition_tree(t.oid) AS p) AS m
)
SELECT NOT EXISTS ((SELECT oid, file FROM shown EXCEPT SELECT oid, file FROM present)
                   UNION ALL (SELECT oid, file FROM present EXCEPT SELECT oid, file FROM shown)),
       EXISTS (SELECT FROM shown WHERE detaching),
       coalesce((SELECT c.atttypid || ' ' || c.attcollation
                 FROM casq.tracked AS k, casq.tracked_column(k, k.scope_column) AS c WHERE k.kind = $1), '')
