-- name: Server
-- What this server is: its version, whether it is a standby, which cluster, what the
-- session's role is, and whether event triggers of casq's are there.
SELECT current_setting('server_version_num')::integer, pg_is_in_recovery(),
       (SELECT system_identifier FROM pg_control_system()), current_user::text,
       (SELECT count(*) FROM pg_event_trigger WHERE evtname IN ('casq_ddl', 'casq_drop', 'casq_rewrite') AND evtenabled IN ('O', 'A')),
       current_setting('transaction_read_only') = 'on'

-- name: Received
-- Of a standby: whether it receives WAL, as far as this role may see, and how far it is
-- behind what it has received.
SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL),
       coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint

-- name: Health
SELECT severity, what, command FROM casq.health() WHERE severity <> 'ok'

-- name: Target
-- The id of this site's target of a transfer ($1), and where it is said to be, if it has
-- been marked.
SELECT id::text, place FROM casq.targets WHERE transfer = $1 AND marked_at IS NOT NULL

-- name: Tracked
SELECT count(*) FROM casq.tracked

-- name: Lacking
-- The rights on tables of what is granted as $1 that this role has not, of which one may be
-- granted by hand: those on all tables of a schema, or on some.
SELECT DISTINCT a.verb || ' on ' || c.relnamespace::regnamespace || '.' || c.relname AS lacking
FROM casq.privileges() AS p,
     regexp_match(p.privilege, '^([A-Z, ]+) ON (?:ALL TABLES IN SCHEMA ([a-z, ]+)|([a-z_., ]+))$') AS m,
     regexp_split_to_table(m[1], ', ') AS a (verb)
JOIN pg_class AS c ON c.relkind IN ('r', 'p', 'v')
WHERE p.what = $1
  AND (c.relnamespace::regnamespace::text = ANY (regexp_split_to_array(m[2], ', '))
       OR c.relnamespace::regnamespace || '.' || c.relname = ANY (regexp_split_to_array(m[3], ', ')))
  AND a.verb <> 'MAINTAIN' -- which is done without
  AND has_schema_privilege(c.relnamespace, 'USAGE') AND NOT has_table_privilege(c.oid, a.verb)
ORDER BY lacking
