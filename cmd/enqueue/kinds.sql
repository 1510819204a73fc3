-- The kinds of this site, where they are, and what there is of each: rows that are
-- wanted, and those that something is still to be done about.
SELECT k.kind, k.transfer, k.queue, k.prefix, k.source_prefix, t.name,
       (SELECT count(*) FROM casq.registry AS r WHERE r.kind = k.kind AND r.deleted_at IS NULL),
       (SELECT count(*) FROM casq.registry AS r WHERE r.kind = k.kind AND r.synced_version IS DISTINCT FROM r.version)
FROM casq.kinds AS k
LEFT JOIN casq.tracked AS t USING (kind)
ORDER BY k.kind
