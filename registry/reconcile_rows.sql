-- A page of the rows of a kind ($1) beyond a key ($2), of $3 at most, with what
-- may be to be done for each: 1 it wants its thing to be there; 2 its intent came
-- with a tick beyond (life $4, tick $5; NULL: any); 4 it has work to do that
-- nobody has in hand, since before $6; 8 it is in place, and was not compared
-- since $7 (NULL: never mind), nor asked since $8 to be.
SELECT array_agg(page.resource_id), array_agg(page.version), array_agg(page.flags)
FROM (
    SELECT r.resource_id, r.version,
           CASE WHEN r.deleted_at IS NULL THEN 1 ELSE 0 END
           + CASE WHEN $4::integer IS NULL OR (r.life, r.tick) > ($4::integer, $5::bigint) THEN 2 ELSE 0 END
           + CASE WHEN r.synced_version IS DISTINCT FROM r.version
                       AND greatest(r.queued_at, r.retry_at) < $6::timestamptz
                       -- Failed for good: an operator has to ask.
                       AND (r.failed_version IS DISTINCT FROM r.version OR r.retry_at IS NOT NULL)
                       AND NOT EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.claim_process AND p.dead_at IS NULL)
                  THEN 4 ELSE 0 END
           + CASE WHEN r.synced_version = r.version AND r.deleted_at IS NULL AND coalesce(r.verified_at, '-infinity') < $7::timestamptz
                       AND (r.check_asked_at > greatest(r.verified_at, $8::timestamptz)) IS NOT TRUE
                  THEN 8 ELSE 0 END AS flags
    FROM casq.registry AS r
    WHERE r.kind = $1 AND r.resource_id > $2
    ORDER BY r.resource_id
    LIMIT $3
) AS page
