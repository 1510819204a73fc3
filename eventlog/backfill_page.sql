SELECT n, last_key, busy FROM casq.backfill_page(kind => $1, after => $2, page_size => $3)
