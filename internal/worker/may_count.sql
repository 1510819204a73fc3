-- Is there something to count in home?
SELECT NOT pg_is_in_recovery() AND EXISTS (SELECT FROM casq.tracked WHERE scope_column IS NOT NULL)
