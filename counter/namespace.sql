-- Names this database among all that may share a Redis, and counts its shards.
SELECT (SELECT system_identifier FROM pg_control_system()) || '.'
       || (SELECT oid FROM pg_database WHERE datname = current_database()),
       (SELECT count(*) FROM casq.counter_shards)
