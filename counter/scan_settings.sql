-- What a scan does takes its time, whatever the role or the database allows others:
-- it is bounded by who runs it. $1: how many milliseconds a lock is waited for; $2:
-- how long home may take to store a page. transaction_timeout is of Postgres 17.
SELECT set_config(s.name, s.value, true)
FROM (VALUES
    ('statement_timeout', '0'),
    ('transaction_timeout', '0'),
    ('lock_timeout', $1::bigint::text),
    ('idle_in_transaction_session_timeout', $2::bigint::text)
) AS s (name, value)
WHERE current_setting(s.name, true) IS NOT NULL
