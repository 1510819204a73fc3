-- Of the runs ($1 to $6: kind, key, token, claim, incarnation, whether it is a
-- removal), those that work for nothing: the claim is another's, or the row is
-- gone (lost), or what they make may not be published any more, as the thing was
-- deleted or replaced. See mayPublish.
SELECT w.claim, r.claim IS DISTINCT FROM w.claim AS lost
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::bigint[], $6::boolean[])
     AS w (kind, resource_id, version, claim, incarnation, deleted)
LEFT JOIN LATERAL (
    SELECT r.claim, r.version, r.incarnation, r.deleted_at FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
) AS r ON true
WHERE r.claim IS DISTINCT FROM w.claim
   OR r.version <> w.version AND (w.deleted OR r.deleted_at IS NOT NULL OR r.incarnation <> w.incarnation)
