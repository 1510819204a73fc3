-- What a verification of the token ($1 to $3: kind, key, version; 0: whichever
-- it is) needs. No row: something else is wanted by now. Without a checksum there
-- is nothing to compare with but the source. The place is that of the row's version:
-- one that is moved has another.
SELECT r.version, r.payload, coalesce(r.checksum, ''), r.deleted_at IS NOT NULL,
       r.synced_version IS NOT DISTINCT FROM r.version,
       r.verified_at, clock_timestamp(),
       k.kind, k.transfer, k.queue, coalesce(k.prefix, ''), coalesce(k.source_prefix, '')
FROM casq.registry AS r JOIN casq.kinds AS k USING (kind)
WHERE r.kind = $1 AND r.resource_id = $2 AND $3::bigint IN (0, r.version)
