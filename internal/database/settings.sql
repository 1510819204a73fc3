-- Nothing is set where it is so already. transaction_timeout is of Postgres 17. In a
-- session of a replica no foreign key and no trigger of casq's tables works; only a
-- role that may set that may set it back, so any other is told.
SELECT pg_catalog.set_config(s.name, s.value, false)
FROM (VALUES ('transaction_timeout', '0'), ('session_replication_role', 'origin')) AS s (name, value)
WHERE pg_catalog.current_setting(s.name, true) <> s.value
