SELECT cardinality(casq.backfill_rows(kind => $1, keys => ARRAY[$2::text], wait => true))::bigint
