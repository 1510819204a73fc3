-- The name under which this site reports to the one that it follows: it stays
-- the same when home fails over.
SELECT system_identifier || '/' || current_database() FROM pg_control_system()
