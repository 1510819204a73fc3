package registry

import (
	"strings"
	"testing"
)

// What a resource waits for is told by what is its own, however many jobs wait.
func TestWhyIsCheapBehindABacklog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.create(t, 1, "mine")
	const n = 50_000
	b.exec(t, `INSERT INTO river.river_job (args, kind, max_attempts, queue)
		SELECT jsonb_build_object('kind', 'thing', 'resource_id', 'r' || i, 'version', i), 'casq_sync', 25, 'thing' FROM generate_series(1, $1::int) AS i`, n)
	b.exec(t, `INSERT INTO river.river_job (id, args, kind, max_attempts, queue)
		SELECT 0, jsonb_build_object('kind', kind, 'resource_id', resource_id, 'version', version), 'casq_sync', 25, 'thing' FROM casq.registry`)
	b.exec(t, "SELECT casq.why('thing', 'mine')") // reads the catalogs
	for _, analyze := range []string{"SELECT 1", "ANALYZE river.river_job"} {
		b.exec(t, analyze)
		if n := buffers(t, b.pool, "SELECT casq.why('thing', 'mine')"); n > 200 {
			t.Errorf("%s: %d buffers", analyze, n)
		}
	}
	var why string
	if err := b.pool.QueryRow(t.Context(), "SELECT casq.why('thing', 'mine')").Scan(&why); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(why, "job 0 is available in queue thing") {
		t.Error(why)
	}
}
