package registry_test

import (
	"slices"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// What waits since an earlier request, and nobody has begun on, is not queued
// twice. Everything else is: a row whose job is gone, most of all. A version that
// takes the place of one whose job is prompt is prompt, too.
func TestResyncLeavesWhatWaitsUntouched(t *testing.T) {
	t.Parallel()
	const waits = registry.Urgency(-1)
	claimed := "UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = gen_random_uuid()"
	for name, test := range map[string]struct {
		job, set string // the state of its job, and what else was done
		opts     registry.ResyncOptions
		want     registry.Urgency
	}{
		"waits":                  {job: "available", want: waits},
		"waits since a bulk":     {job: "available", set: "UPDATE river.river_job SET priority = 3", want: waits},
		"is to be removed":       {job: "available", set: "UPDATE casq.registry SET deleted_at = now()", want: waits},
		"fresh":                  {job: "available", opts: registry.ResyncOptions{Fresh: true}, want: registry.Prompt},
		"its job is lost":        {want: registry.Bulk},
		"its job was ended":      {job: "completed", want: registry.Bulk},
		"an older one's job":     {job: "available", set: "UPDATE casq.registry SET version = nextval('casq.registry_version')", want: registry.Bulk},
		"another resource's job": {job: "available", set: `UPDATE river.river_job SET args = args || '{"resource_id": "y"}'`, want: registry.Bulk},
		"a verification":         {job: "available", set: "UPDATE river.river_job SET kind = 'casq_verify'", want: registry.Bulk},
		"was fetched":            {job: "running", want: registry.Prompt},
		"was fetched before":     {job: "available", set: "UPDATE river.river_job SET attempt = 1", want: registry.Prompt},
		"will be tried again":    {job: "retryable", set: "UPDATE casq.registry SET attempts = 1", want: registry.Prompt},
		"of a bulk, tried":       {job: "retryable", set: "UPDATE river.river_job SET priority = 3", want: registry.Bulk},
		"was tried":              {job: "available", set: "UPDATE casq.registry SET attempts = 1", want: registry.Prompt},
		"is claimed":             {job: "available", set: claimed, want: registry.Prompt},
		"has failed":             {job: "available", set: "UPDATE casq.registry SET failed_version = version", want: registry.Prompt},
		"failed, job is gone":    {set: "UPDATE casq.registry SET failed_version = version", opts: registry.ResyncOptions{FailedOnly: true}, want: registry.Bulk},
		"is in place":            {job: "available", set: "UPDATE casq.registry SET synced_version = version", want: registry.Bulk},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			token := b.Create(t, 1, "x")
			if test.job != "" {
				b.riverJob(t, token, test.job)
			}
			if test.set != "" {
				b.Exec(t, test.set)
			}
			before := b.Row(t, "x")
			var asked []registry.Job
			test.opts.Asked = func(page []registry.Job) error { asked = page; return nil }
			done, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, kind, test.opts)
			if err != nil || len(asked) != 1 {
				t.Fatal(done, asked, err)
			}
			got, queued := b.Row(t, "x"), b.TakeJobs(t)
			if asked[0].Version != got.Version || asked[0].Deleted != got.Deleted {
				t.Errorf("asked for %v, the row is %+v", asked, got)
			}
			if test.want == waits {
				if got.Version != before.Version || len(queued) != 0 || done != (registry.Resynced{Waiting: 1}) {
					t.Errorf("got %+v, %v and %+v; it waits already", done, queued, got)
				}
				return
			}
			if got.Version <= before.Version || len(queued) != 1 || queued[0].Version != got.Version || done != (registry.Resynced{Raised: 1}) {
				t.Errorf("got %+v, %v and %+v; want a new version with a job", done, queued, got)
			}
			if asked[0].Urgency != test.want {
				t.Errorf("urgency is %d, want %d", asked[0].Urgency, test.want)
			}
		})
	}
}

// A resync of one resource asks for it in any case, and at once.
func TestResyncOfOneDoesNotWaitBehindABulk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.riverJob(t, b.Create(t, 1, "x"), "available")
	b.Exec(t, "UPDATE river.river_job SET priority = 3")
	version, err := registry.ResyncOne(t.Context(), b.Pool, b.Queue, kind, "x", false)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Urgencies(t); !slices.Equal(got, []registry.Urgency{registry.Prompt}) {
		t.Errorf("urgencies are %v", got)
	}
	b.WantJobs(t, jobFor("x", version, false))
}

// An event commits while a resync waits for its row. The resync meets its version,
// and has to meet its job, too: otherwise it would take it for lost, and put what
// the event asks for behind everything.
func TestAResyncSeesTheJobOfAnEventThatItHasWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.synced(t, b.Registry(t), 1, "x")
	event := b.begin(t)
	b.applyWithJob(t, event, 2, "x")
	type result struct {
		done registry.Resynced
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		done, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, kind, registry.ResyncOptions{})
		ended <- result{done, err}
	}()
	b.untilBlocked(t)
	if err := event.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := receive(t, "the resync's end", ended); r.err != nil || r.done != (registry.Resynced{Waiting: 1}) {
		t.Errorf("got %+v", r)
	}
}

// applyWithJob applies an event of a resource, and puts its job into River's table.
func (b *testBundle) applyWithJob(t *testing.T, tx pgx.Tx, id int64, key string) {
	t.Helper()
	err := b.Transposer.Apply(t.Context(), tx, eventBatch(id, eventlog.Updated, key))
	if err == nil {
		_, err = tx.Exec(t.Context(), `INSERT INTO river.river_job (kind, queue, max_attempts, args)
			SELECT 'casq_sync', kind, 25, jsonb_build_object('kind', kind, 'resource_id', resource_id, 'version', version) FROM casq.registry`)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func eventBatch(id int64, op eventlog.Op, key string) eventlog.Batch {
	return eventlog.Batch{Events: []eventlog.Event{event(id, op, key, "{}")}, Timeline: eventlog.Timeline{Ordinal: 1}, Tick: id}
}

func (b *testBundle) begin(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := b.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// untilBlocked returns when a session of the database waits for another's lock.
func (b *testBundle) untilBlocked(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(deadline); ; {
		var blocked bool
		err := b.Pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&blocked)
		if err != nil {
			t.Fatal(err)
		}
		if blocked {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nobody waits for a lock")
		}
	}
}
