-- What tells this database from every other one that uses the same Redis. It
-- stays the same across a failover, and changes with a restored dump.
SELECT c.system_identifier || '.' || d.oid
FROM pg_control_system() AS c, pg_database AS d
WHERE d.datname = current_database()
