package registry_test

import (
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// What a resource waits for is told by what is its own, however many jobs wait.
func TestWhyIsCheapBehindABacklog(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.Create(t, 1, "mine")
	const n = 50_000
	b.Exec(t, `INSERT INTO river.river_job (args, kind, max_attempts, queue)
		SELECT jsonb_build_object('kind', 'resource', 'resource_id', 'r' || i, 'version', i), 'casq_sync', 25, 'resource' FROM generate_series(1, $1::int) AS i`, n)
	b.Exec(t, `INSERT INTO river.river_job (id, args, kind, max_attempts, queue)
		SELECT 0, jsonb_build_object('kind', kind, 'resource_id', resource_id, 'version', version), 'casq_sync', 25, 'resource' FROM casq.registry`)
	b.Exec(t, "SELECT casq.why('resource', 'mine')") // reads the catalogs
	for _, analyze := range []string{"SELECT 1", "ANALYZE river.river_job"} {
		b.Exec(t, analyze)
		if n := testdb.Buffers(t, b.Pool, "SELECT casq.why('resource', 'mine')"); n > 200 {
			t.Errorf("%s: %d buffers", analyze, n)
		}
	}
	var why string
	if err := b.Pool.QueryRow(t.Context(), "SELECT casq.why('resource', 'mine')").Scan(&why); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(why, "job 0 is available in queue resource; at least 1000 jobs are in front of it (1000 for events and single requests)") {
		t.Error(why)
	}
}

// What is in front of a job is what River fetches before it.
func TestWhySaysWhatIsInFront(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.riverJob(t, b.Create(t, 1, "mine"), "available")
	b.Exec(t, "UPDATE river.river_job SET priority = 3, scheduled_at = '2020-01-01'")
	const nothing = "in queue resource; nothing is in front of it"
	if why := b.why(t, kind, "mine"); !strings.Contains(why, nothing) {
		t.Error(why)
	}
	other := func(n int, priority int, at, state, queue string) {
		b.Exec(t, `INSERT INTO river.river_job (args, kind, max_attempts, queue, state, priority, scheduled_at)
			SELECT '{}', 'casq_sync', 25, $5, $4::text::river.river_job_state, $2, $3::text::timestamptz FROM generate_series(1, $1::int)`, n, priority, at, state, queue)
	}
	other(1, 4, "2019-01-01", "available", "resource")
	other(1, 3, "2020-01-02", "available", "resource")
	other(1, 3, "2020-01-01", "available", "resource") // with a higher id
	other(1, 1, "2019-01-01", "available", "others")
	other(1, 1, "2019-01-01", "running", "resource")
	other(1, 1, "2019-01-01", "retryable", "resource")
	if why := b.why(t, kind, "mine"); !strings.Contains(why, nothing) {
		t.Error(why)
	}
	other(1, 2, "2021-01-01", "available", "resource")
	if why := b.why(t, kind, "mine"); !strings.Contains(why, "; 1 job is in front of it (1 for comparisons)") {
		t.Error(why)
	}
	other(2, 1, "2021-01-01", "available", "resource")
	other(3, 3, "2019-01-01", "available", "resource")
	want := "; 6 jobs are in front of it (2 for events and single requests, 1 for comparisons, 3 for resyncs of many and backfills)"
	if why := b.why(t, kind, "mine"); !strings.Contains(why, want) {
		t.Error(why)
	}
}
