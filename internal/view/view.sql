-- name: Apply
SELECT casq.apply_source_changes($1::integer[], $2::text[]::jsonb[])

-- name: Compare
SELECT casq.compare_views()

-- name: Due
SELECT casq.due_views(compare_after => $1)

-- name: Do
SELECT casq.do_view(kind => $1, compare_after => $2)

-- name: Watch
SELECT casq.watch_sources()

-- name: Prune
SELECT casq.prune_source_changes()
