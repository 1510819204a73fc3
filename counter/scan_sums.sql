SELECT scope_id, size::text, items FROM casq.sum_by_scope($1, $2)
