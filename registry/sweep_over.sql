-- Of the things ($1, $2) that somebody dead had in hand, those that no run will
-- begin again, with the claim that they had last. Whoever had it may have died
-- after his commit and before he removed his staging, which may hold all bytes of
-- a thing that was removed.
SELECT r.kind, r.resource_id, r.last_claim
FROM unnest($1::text[], $2::text[]) AS w (kind, resource_id)
CROSS JOIN LATERAL (
    SELECT * FROM casq.registry AS r
    WHERE r.kind = w.kind AND r.resource_id = w.resource_id
      AND r.claim IS NULL AND r.last_claim IS NOT NULL
      AND (r.synced_version = r.version OR r.failed_version = r.version)
) AS r
