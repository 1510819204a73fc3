package registry

import (
	"slices"
	"testing"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// What waits since an earlier request, and nobody has begun on, is not queued
// twice. Everything else is: a row whose job is gone, most of all. A version that
// takes the place of one whose job is prompt is prompt, too.
func TestResyncLeavesWhatWaitsUntouched(t *testing.T) {
	t.Parallel()
	const waits = Urgency(-1)
	claimed := "UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = gen_random_uuid()"
	for name, test := range map[string]struct {
		job, set string // the state of its job, and what else was done
		opts     ResyncOptions
		want     Urgency
	}{
		"waits":                  {job: "available", want: waits},
		"waits since a bulk":     {job: "available", set: "UPDATE river.river_job SET priority = 3", want: waits},
		"is to be removed":       {job: "available", set: "UPDATE casq.registry SET deleted_at = now()", want: waits},
		"fresh":                  {job: "available", opts: ResyncOptions{Fresh: true}, want: Prompt},
		"its job is lost":        {want: Bulk},
		"its job was ended":      {job: "completed", want: Bulk},
		"an older one's job":     {job: "available", set: "UPDATE casq.registry SET version = nextval('casq.registry_version')", want: Bulk},
		"another resource's job": {job: "available", set: `UPDATE river.river_job SET args = args || '{"resource_id": "y"}'`, want: Bulk},
		"a verification":         {job: "available", set: "UPDATE river.river_job SET kind = 'casq_verify'", want: Bulk},
		"was fetched":            {job: "running", want: Prompt},
		"was fetched before":     {job: "available", set: "UPDATE river.river_job SET attempt = 1", want: Prompt},
		"will be tried again":    {job: "retryable", set: "UPDATE casq.registry SET attempts = 1", want: Prompt},
		"of a bulk, tried":       {job: "retryable", set: "UPDATE river.river_job SET priority = 3", want: Bulk},
		"was tried":              {job: "available", set: "UPDATE casq.registry SET attempts = 1", want: Prompt},
		"is claimed":             {job: "available", set: claimed, want: Prompt},
		"has failed":             {job: "available", set: "UPDATE casq.registry SET failed_version = version", want: Prompt},
		"failed, job is gone":    {set: "UPDATE casq.registry SET failed_version = version", opts: ResyncOptions{FailedOnly: true}, want: Bulk},
		"is in place":            {job: "available", set: "UPDATE casq.registry SET synced_version = version", want: Bulk},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			token := b.create(t, 1, "x")
			if test.job != "" {
				b.riverJob(t, token, test.job)
			}
			if test.set != "" {
				b.exec(t, test.set)
			}
			before := b.row(t, "x")
			var asked []Job
			test.opts.Asked = func(page []Job) error { asked = page; return nil }
			done, err := ResyncKind(t.Context(), b.pool, b.queue, kind, test.opts)
			if err != nil || len(asked) != 1 {
				t.Fatal(done, asked, err)
			}
			got, queued := b.row(t, "x"), b.takeJobs(t)
			if asked[0].Version != got.Version || asked[0].Deleted != got.Deleted {
				t.Errorf("asked for %v, the row is %+v", asked, got)
			}
			if test.want == waits {
				if got.Version != before.Version || len(queued) != 0 || done != (Resynced{Waiting: 1}) {
					t.Errorf("got %+v, %v and %+v; it waits already", done, queued, got)
				}
				return
			}
			if got.Version <= before.Version || len(queued) != 1 || queued[0].Version != got.Version || done != (Resynced{Raised: 1}) {
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
	b.riverJob(t, b.create(t, 1, "x"), "available")
	b.exec(t, "UPDATE river.river_job SET priority = 3")
	version, err := ResyncOne(t.Context(), b.pool, b.queue, kind, "x", false)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.urgencies(t); !slices.Equal(got, []Urgency{Prompt}) {
		t.Errorf("urgencies are %v", got)
	}
	b.wantJobs(t, jobFor("x", version, false))
}

// An event commits while a resync waits for its row. The resync meets its version,
// and has to meet its job, too: otherwise it would take it for lost, and put what
// the event asks for behind everything.
func TestAResyncSeesTheJobOfAnEventThatItHasWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.synced(t, b.registry(t), 1, "x")
	event := b.begin(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(nil, b.transposer.Apply(t.Context(), event, eventBatch(2, eventlog.Updated, "x")))
	must(event.Exec(t.Context(), `INSERT INTO river.river_job (kind, queue, max_attempts, args)
		SELECT 'casq_sync', kind, 25, jsonb_build_object('kind', kind, 'resource_id', resource_id, 'version', version) FROM casq.registry`))
	type result struct {
		done Resynced
		err  error
	}
	ended := make(chan result, 1)
	go func() {
		done, err := ResyncKind(t.Context(), b.pool, b.queue, kind, ResyncOptions{})
		ended <- result{done, err}
	}()
	b.untilBlocked(t)
	must(nil, event.Commit(t.Context()))
	if r := receive(t, "the resync's end", ended); r.err != nil || r.done != (Resynced{Waiting: 1}) {
		t.Errorf("got %+v", r)
	}
}

func eventBatch(id int64, op eventlog.Op, key string) eventlog.Batch {
	return eventlog.Batch{Events: []eventlog.Event{event(id, op, key, "{}")}, Timeline: eventlog.Timeline{Ordinal: 1}, Tick: id}
}

func (b *testBundle) begin(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := b.pool.Begin(t.Context())
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
		err := b.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
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

// urgencies are those of the jobs that wait, in their order.
func (b *testBundle) urgencies(t *testing.T) []Urgency {
	t.Helper()
	rows, err := b.pool.Query(t.Context(), "SELECT urgency FROM jobs WHERE state = 'available' ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[Urgency])
	if err != nil {
		t.Fatal(err)
	}
	return got
}
