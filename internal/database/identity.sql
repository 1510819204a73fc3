-- What tells this database from every other one that uses the same Redis. It
-- stays the same across a failover, and changes with a restored dump. Servers that
-- were set up as copies of one have a system identifier in common; so have two
-- copies of a database the installation. A copy of a whole server that was made
-- after casq was installed cannot be told from it.
SELECT c.system_identifier || '.' || d.oid || '.' || i.id
FROM pg_control_system() AS c, pg_database AS d, casq.installation AS i
WHERE d.datname = current_database()
