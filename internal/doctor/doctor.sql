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
