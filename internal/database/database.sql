-- name: Settings
-- Nothing is set where it is so already. transaction_timeout is of Postgres 17. In a
-- session of a replica no foreign key and no trigger of casq's tables works; only a
-- role that may set that may set it back, so any other is told.
SELECT pg_catalog.set_config(s.name, s.value, false)
FROM (VALUES ('transaction_timeout', '0'), ('session_replication_role', 'origin')) AS s (name, value)
WHERE pg_catalog.current_setting(s.name, true) <> s.value

-- name: Identity
-- What tells this database from every other one that uses the same Redis. It
-- stays the same across a failover, and changes with a restored dump. Servers that
-- were set up as copies of one have a system identifier in common; so have two
-- copies of a database the installation. A copy of a whole server that was made
-- after casq was installed cannot be told from it.
SELECT c.system_identifier || '.' || d.oid || '.' || i.id
FROM pg_control_system() AS c, pg_database AS d, casq.installation AS i
WHERE d.datname = current_database()

-- name: ByIndex
-- Of an index along which it finds nothing a planner may expect more than of the whole table.
-- Where there is no index, of tables of a few rows, that makes a plan dear in its eyes: it is
-- not to compile it, nor to start processes for it.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)
