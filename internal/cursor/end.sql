-- Ends the old holder's session, and no other that has its pid by now.
SELECT pg_terminate_backend(session.pid)
FROM pg_stat_get_activity($1::integer) AS session
WHERE session.backend_start = $2::timestamptz AND session.pid <> pg_backend_pid()
