SELECT scope_id, size::text, items FROM casq.sum_beyond($1, $2, $3)
