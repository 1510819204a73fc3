-- Is home ($1: it is also the source) a database to take ticks on?
SELECT NOT pg_is_in_recovery() AND ($1 OR EXISTS (SELECT FROM casq.tracked))
