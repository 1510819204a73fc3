-- May a page of life $2 at tick $3 be applied to rows of the kind? Locks the
-- floor until the end of the transaction: whoever purges tombstones raises it
-- first, and so either waits for this page or is seen by it.
SELECT (f.life, f.tick) <= ($2::integer, $3::bigint) FROM casq.registry_floors AS f WHERE f.kind = $1 FOR SHARE
