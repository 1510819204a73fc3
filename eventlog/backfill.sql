-- name: Page
SELECT n, last_key, busy FROM casq.backfill_page(kind => $1, after => $2, page_size => $3)

-- name: Row
SELECT cardinality(casq.backfill_rows(kind => $1, keys => ARRAY[$2::text], wait => true))::bigint
