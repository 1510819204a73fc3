package registrytest

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// CountsSQL tells where casq.registry_summary differs from what the registry's rows say,
// and casq.registry_groups: nothing, at any time.
const CountsSQL = `SELECT coalesce(string_agg(to_jsonb(d)::text, E'\n'), '') FROM (
	SELECT kind, status, want.count AS want, got.count AS got, want.bytes AS want_bytes, got.bytes AS got_bytes,
	       want.oldest AS want_oldest, got.oldest AS got_oldest
	FROM (SELECT s.kind, s.status, count(*) AS count, sum(coalesce(r.size, 0)) AS bytes,
	             date_bin('10 s', min(s.queued_at) FILTER (WHERE
	                 s.synced_version IS DISTINCT FROM s.version AND r.failed_version IS DISTINCT FROM r.version), 'epoch') AS oldest
	      FROM casq.registry_status AS s JOIN casq.registry AS r USING (kind, resource_id)
	      GROUP BY s.kind, s.status) AS want
	FULL JOIN casq.registry_summary AS got USING (kind, status)
	WHERE (want.count, want.bytes, want.oldest) IS DISTINCT FROM (got.count, got.bytes, got.oldest)
	UNION ALL
	SELECT kind, reason, want.count, got.count, 0, 0, 'epoch', 'epoch'
	FROM (SELECT r.kind, coalesce(r.failure_reason, 'unknown') AS reason, count(*) AS count
	      FROM casq.registry AS r
	      WHERE r.failed_version = r.version AND NOT r.absent AND r.synced_version IS DISTINCT FROM r.version
	      GROUP BY 1, 2) AS want
	FULL JOIN casq.registry_failures AS got USING (kind, reason)
	WHERE want.count IS DISTINCT FROM got.count
	UNION ALL
	SELECT kind, 'at risk', want.count, got.resources, want.bytes, got.bytes, 'epoch', 'epoch'
	FROM (SELECT k.kind, count(r.kind) AS count,
	             coalesce(sum(CASE WHEN jsonb_typeof(r.payload -> 'size') = 'number' THEN greatest(0, (r.payload ->> 'size')::numeric) END), 0) AS bytes
	      FROM casq.kinds AS k
	      LEFT JOIN casq.registry AS r ON r.kind = k.kind AND r.deleted_at IS NULL AND r.synced_version IS DISTINCT FROM r.version
	           AND (r.failed_version = r.version AND r.absent) IS NOT TRUE
	      GROUP BY k.kind) AS want
	FULL JOIN casq.at_risk AS got USING (kind)
	WHERE (want.count, want.bytes) IS DISTINCT FROM (got.resources, got.bytes)
) AS d`

// wantCounts compares what is kept with what is there, when the test is over.
func wantCounts(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		var there bool
		if err := pool.QueryRow(ctx, "SELECT to_regclass('casq.registry_status') IS NOT NULL").Scan(&there); err == nil && !there {
			return // the test has dropped it
		}
		var differs string
		if err := pool.QueryRow(ctx, CountsSQL).Scan(&differs); err != nil {
			t.Errorf("compare the counts of the registry: %v", err)
		} else if differs != "" {
			t.Errorf("the registry has other counts than those that are kept:\n%s", differs)
		}
	})
}
