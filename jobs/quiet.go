package jobs

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

//go:embed quiet.sql
var quietText string

// quietSQL has the statements of quiet.sql.
var quietSQL = queries.Parse[struct{ Rewrite, Delay string }]("jobs/quiet", quietText)

// mostQuiet is how often its kind's quiet time a resource waits at most, however often it
// changes.
const mostQuiet = 4

// quieted are jobs of resources that are copied when they have been quiet for some time.
// A resource has one job that waits, and carries its newest version: one that is inserted
// for each version would be 600 for a push of 600 refs.
//
// No change is lost: its version is carried by the job that waits, or by another one that
// is inserted in the same transaction. And none waits for ever: what a job has waited for
// is taken over by the one that comes in its place.
type quieted struct {
	jobs []registry.Job

	kinds, keys []string
	versions    []int64
	quiet       []time.Duration
	priorities  []int16
}

// takeQuiet takes out of jobs those that have to wait.
func takeQuiet(jobs []registry.Job, kinds map[string]eventlog.Kind) (now []registry.Job, later *quieted) {
	later = &quieted{}
	for _, j := range jobs {
		if kinds[j.Kind].Quiet == 0 || j.Deleted {
			now = append(now, j)
			continue
		}
		later.add(j, kinds[j.Kind].Quiet)
	}
	return now, later
}

func (q *quieted) add(j registry.Job, quiet time.Duration) {
	q.jobs = append(q.jobs, j)
	q.kinds, q.keys, q.versions = append(q.kinds, j.Kind), append(q.keys, j.ResourceID), append(q.versions, j.Version)
	q.quiet, q.priorities = append(q.quiet, quiet), append(q.priorities, int16(priority(j.Urgency)))
}

// rewrite gives the versions to jobs that wait already, and leaves the others.
func (q *quieted) rewrite(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, quietSQL.Rewrite, q.kinds, q.keys, q.versions, q.quiet, q.priorities, mostQuiet)
	if err != nil {
		return fmt.Errorf("give %d versions to jobs that wait: %w", len(q.jobs), err)
	}
	given := make(map[[2]string]bool)
	var kind, key string
	_, err = pgx.ForEachRow(rows, []any{&kind, &key}, func() error { given[[2]string{kind, key}] = true; return nil })
	if err != nil {
		return fmt.Errorf("give %d versions to jobs that wait: %w", len(q.jobs), err)
	}
	left := quieted{}
	for i, j := range q.jobs {
		if !given[[2]string{j.Kind, j.ResourceID}] {
			left.add(j, q.quiet[i])
		}
	}
	*q = left
	return nil
}

// delay has those that were inserted in tx wait.
func (q *quieted) delay(ctx context.Context, tx pgx.Tx) error {
	if len(q.jobs) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, quietSQL.Delay, q.kinds, q.keys, q.versions, q.quiet, mostQuiet); err != nil {
		return fmt.Errorf("have %d jobs wait: %w", len(q.jobs), err)
	}
	return nil
}
