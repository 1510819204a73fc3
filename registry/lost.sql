-- Of the runs ($1 to $6: kind, key, token, claim, incarnation, whether it is a
-- removal), those that work for nothing, and why: the claim is another's, or the
-- row is gone; or what they make may not be published any more, as the thing was
-- deleted or replaced (see mayPublish); or an operator has cancelled what is asked
-- for ($7 is what cancel.sql writes).
SELECT w.claim,
       CASE WHEN r.claim IS DISTINCT FROM w.claim THEN 'fenced'
            WHEN r.version <> w.version AND (w.deleted OR r.deleted_at IS NOT NULL OR r.incarnation <> w.incarnation) THEN 'replaced'
            ELSE 'cancelled' END
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[], $6::boolean[])
     AS w (kind, resource_id, version, claim, incarnation, deleted)
LEFT JOIN LATERAL (
    SELECT r.claim, r.version, r.incarnation, r.deleted_at, r.failed_version, r.retry_at, r.last_error
    FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
) AS r ON true
WHERE r.claim IS DISTINCT FROM w.claim
   OR r.version <> w.version AND (w.deleted OR r.deleted_at IS NOT NULL OR r.incarnation <> w.incarnation)
   OR r.failed_version = r.version AND r.retry_at IS NULL AND r.last_error = $7
