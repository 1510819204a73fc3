package registrytest

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Queue is a queue whose jobs are rows, so that what is rolled back is not
// there.
type Queue struct{ Pool *pgxpool.Pool }

// Insert implements [registry.Jobs].
func (q *Queue) Insert(ctx context.Context, tx pgx.Tx, jobs []registry.Job, bulk bool) error {
	for _, j := range jobs {
		_, err := tx.Exec(ctx, "INSERT INTO jobs (kind, resource_id, version, deleted, bulk, urgency) VALUES ($1, $2, $3, $4, $5, $6)",
			j.Kind, j.ResourceID, j.Version, j.Deleted, bulk, j.Urgency)
		if err != nil {
			return err
		}
	}
	return nil
}

// Orphans implements [registry.Queue], in small pages.
func (q *Queue) Orphans(ctx context.Context) (tokens []registry.Token, jobs []int64, err error) {
	rows, err := q.Pool.Query(ctx, `SELECT id, kind, resource_id, version FROM jobs
		WHERE state = 'running' AND process NOT IN (SELECT id FROM casq.processes WHERE dead_at IS NULL)
		ORDER BY id LIMIT 3`)
	if err != nil {
		return nil, nil, err
	}
	var id int64
	var token registry.Token
	_, err = pgx.ForEachRow(rows, []any{&id, &token.Kind, &token.ResourceID, &token.Version}, func() error {
		tokens, jobs = append(tokens, token), append(jobs, id)
		return nil
	})
	return tokens, jobs, err
}

// Abandon implements [registry.Queue].
func (q *Queue) Abandon(ctx context.Context, jobs []int64) error {
	_, err := q.Pool.Exec(ctx, "UPDATE jobs SET state = 'abandoned' WHERE id = ANY ($1)", jobs)
	return err
}

// TakeJobs returns the jobs that were queued since it was last called, without
// their urgency.
func (h *Home) TakeJobs(t *testing.T) []registry.Job {
	t.Helper()
	rows, err := h.Pool.Query(t.Context(), `WITH taken AS (DELETE FROM jobs WHERE state = 'available' RETURNING *)
		SELECT kind, resource_id, version, deleted FROM taken ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := registry.CollectJobs(rows)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

// WantJobs fails unless exactly these jobs were queued since it was last asked.
func (h *Home) WantJobs(t *testing.T, want ...registry.Job) {
	t.Helper()
	if got := h.TakeJobs(t); !slices.Equal(got, want) {
		t.Fatalf("got jobs %v, want %v", got, want)
	}
}

// JobFor is a job of the test kind.
func JobFor(key string, version int64, deleted bool) registry.Job {
	return registry.Job{Token: registry.Token{Kind: Kind, ResourceID: key, Version: version}, Deleted: deleted}
}

// Urgencies are those of the jobs that wait, in their order.
func (h *Home) Urgencies(t *testing.T) []registry.Urgency {
	t.Helper()
	rows, err := h.Pool.Query(t.Context(), "SELECT urgency FROM jobs WHERE state = 'available' ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[registry.Urgency])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// CompareTokens orders tokens by kind, resource and version.
func CompareTokens(a, b registry.Token) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ResourceID, b.ResourceID), cmp.Compare(a.Version, b.Version))
}
