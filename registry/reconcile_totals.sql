SELECT coalesce(sum(looked_at), 0)::bigint, coalesce(sum(created), 0)::bigint, coalesce(sum(adopted), 0)::bigint,
       coalesce(sum(changed), 0)::bigint, coalesce(sum(removed), 0)::bigint, coalesce(sum(requeued), 0)::bigint,
       coalesce(sum(checks), 0)::bigint, coalesce(sum(late), 0)::bigint, coalesce(sum(staging_removed), 0)::bigint,
       coalesce(sum(held_back), 0)::bigint, coalesce(sum(orphans), 0)::bigint, coalesce(sum(orphans_removed), 0)::bigint
FROM casq.reconcile_counts WHERE run = $1
