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
