-- What a verification of the token ($1 to $3: kind, key, version; 0: whichever
-- it is) needs. No row: something else is wanted by now. Without a checksum there
-- is nothing to compare with but the source.
SELECT r.version, r.payload, coalesce(r.checksum, ''), r.deleted_at IS NOT NULL,
       r.synced_version IS NOT DISTINCT FROM r.version,
       r.verified_at, clock_timestamp()
FROM casq.registry AS r
WHERE r.kind = $1 AND r.resource_id = $2 AND $3::bigint IN (0, r.version)
