package jobs

import (
	"context"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// setupQuiet has kind resource copied when it has been quiet for so long.
func setupQuiet(t *testing.T, quiet time.Duration) *testBundle {
	t.Helper()
	b := setup(t)
	if _, err := registry.SetKind(t.Context(), b.pool, "resource", registry.KindOptions{Quiet: &quiet}); err != nil {
		t.Fatal(err)
	}
	return b
}

// waitingJobs tells of each job that waits: whether it carries its row's version, and, in
// seconds of a minute's quiet time, since when it waits, and when it is due.
func (b *testBundle) waitingJobs(t *testing.T) (told string) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(format('%s %s %s %s', j.args ->> 'resource_id', (j.args ->> 'version')::bigint = r.version,
			round(extract(epoch FROM now() - (j.metadata ->> 'quiet_since')::timestamptz) / 60), round(extract(epoch FROM j.scheduled_at - now()) / 60)), ', ' ORDER BY j.id), '')
		FROM river.river_job AS j JOIN casq.registry AS r ON r.resource_id = j.args ->> 'resource_id'
		WHERE j.state IN ('available', 'scheduled')`).Scan(&told)
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// Sixty changes of a resource are one job, which carries the last of them and is not put off
// for ever.
func TestQuietResourcesHaveOneJob(t *testing.T) {
	t.Parallel()
	b := setupQuiet(t, time.Minute)
	for range 60 {
		b.transpose(t, "x")
	}
	b.transpose(t, "x", "y", "y")
	if jobs := b.riverJobs(t); len(jobs) != 2 {
		t.Errorf("61 changes of x and one of y are %d jobs", len(jobs))
	}
	wants := func(when, want string) {
		t.Helper()
		if got := b.waitingJobs(t); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	wants("quiet", "x t 0 1, y t 0 1")
	b.exec(t, `UPDATE river.river_job SET metadata = metadata || jsonb_build_object('quiet_since', now() - interval '3 minutes')`)
	b.transpose(t, "x")
	wants("at the bound", "x t 3 1, y t 3 1")
	b.exec(t, `UPDATE river.river_job SET metadata = metadata || jsonb_build_object('quiet_since', now() - interval '6 minutes')`)
	b.transpose(t, "x")
	wants("beyond the bound", "x t 6 -2, y t 6 1")
	if _, err := registry.ResyncOne(t.Context(), b.pool, b.queue, "resource", "x", false); err != nil {
		t.Fatal(err)
	}
	wants("a resync waits for nothing", "x f 6 -2, y t 6 1, x t  0")
}

// A job that is being fetched cannot be given another version. The next one takes over
// what it has waited for, until a run has begun.
func TestQuietJobsThatAreFetched(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, want string }{
		"being fetched":         {"SELECT FROM river.river_job FOR UPDATE", "x f 3 1, x t 3 1"},
		"fetched, not claimed":  {"UPDATE river.river_job SET state = 'running', attempt = 1, attempted_at = now()", "x t 3 1"},
		"claimed":               {"UPDATE river.river_job SET state = 'running', attempt = 1, attempted_at = now()", "x t 0 1"},
		"failed, to be retried": {"UPDATE river.river_job SET state = 'retryable', attempt = 1, attempted_at = now()", "x t 0 1"},
		"asleep":                {"UPDATE river.river_job SET state = 'scheduled', attempted_at = now(), scheduled_at = now() + interval '1 hour'", "x t 0 1"},
		"not begun":             {"SELECT", "x t 3 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupQuiet(t, time.Minute)
			b.transpose(t, "x")
			b.exec(t, `UPDATE river.river_job SET metadata = metadata || jsonb_build_object('quiet_since', now() - interval '3 minutes')`)
			other, err := b.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Rollback(context.WithoutCancel(t.Context())) }()
			if _, err := other.Exec(t.Context(), c.before); err != nil {
				t.Fatal(err)
			}
			if name != "being fetched" {
				if err := other.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if name == "claimed" {
				b.exec(t, "UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = gen_random_uuid(), claim_job = (SELECT id FROM river.river_job)")
			}
			b.transpose(t, "x")
			if got := b.waitingJobs(t); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Removals wait for nothing, and what was to be copied is superseded.
func TestRemovalsAreNotQuiet(t *testing.T) {
	t.Parallel()
	b := setupQuiet(t, time.Minute)
	b.transpose(t, "x")
	batch := eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 1}, Tick: 2, Events: []eventlog.Event{{ID: 9, Kind: "resource", ResourceID: "x", Op: eventlog.Deleted, Payload: []byte("{}")}}}
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return (&registry.Transposer{Jobs: b.queue}).Apply(t.Context(), tx, batch)
	})
	if got := b.waitingJobs(t); err != nil || got != "x f 0 1, x t  0" {
		t.Error(got, err)
	}
}

// A resource that changes all the while, faster than its quiet time, is copied all the
// same, and in the end as it was left.
func TestWhatIsNeverQuietIsCopied(t *testing.T) {
	t.Parallel()
	b := setupQuiet(t, 400*time.Millisecond)
	b.startRiver(t, &mover{})
	done := func() (n int) {
		t.Helper()
		if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.registry WHERE synced_version IS NOT NULL").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	changes := 0
	await.True(t, time.Minute, "it is copied while it changes", func() bool {
		changes++
		b.transpose(t, "x")
		return done() == 1
	})
	b.transpose(t, "x")
	await.Row(t, time.Minute, b.pool, "SELECT synced_version = version FROM casq.registry")
	var jobs int
	if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM river.river_job").Scan(&jobs); err != nil || jobs*10 > changes {
		t.Errorf("%d changes were %d jobs (%v)", changes, jobs, err)
	}
	t.Logf("%d changes were %d jobs", changes, jobs)
}
