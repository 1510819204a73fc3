package registry_test

import (
	"slices"
	"testing"

	"casq/eventlog"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// What a backfill asks for yields to what an application's events ask for, and puts
// none of these behind itself, in whichever order they come.
func TestABackfillYields(t *testing.T) {
	t.Parallel()
	backfilled := func(id int64) eventlog.Event {
		e := event(id, eventlog.Updated, "x", "{}")
		e.Bulk = true
		return e
	}
	updated := func(id int64) eventlog.Event { return event(id, eventlog.Updated, "x", "{}") }
	for name, test := range map[string]struct {
		job    string // of the version before, in River; none: there is none
		set    string
		events []eventlog.Event
		want   registry.Urgency
	}{
		"what is in place":          {events: []eventlog.Event{backfilled(2)}, want: registry.Bulk},
		"beside an event before it": {events: []eventlog.Event{updated(2), backfilled(3)}, want: registry.Prompt},
		"beside an event after it":  {events: []eventlog.Event{backfilled(2), updated(3)}, want: registry.Prompt},
		"twice":                     {events: []eventlog.Event{backfilled(2), backfilled(3)}, want: registry.Bulk},
		"what an event asked for":   {job: "available", events: []eventlog.Event{backfilled(2)}, want: registry.Prompt},
		"what a run is at":          {job: "running", events: []eventlog.Event{backfilled(2)}, want: registry.Prompt},
		"what is tried again":       {job: "retryable", events: []eventlog.Event{backfilled(2)}, want: registry.Prompt},
		"what is done":              {job: "completed", events: []eventlog.Event{backfilled(2)}, want: registry.Bulk},
		"another backfill":          {job: "available", set: "UPDATE river.river_job SET priority = 3", events: []eventlog.Event{backfilled(2)}, want: registry.Bulk},
		"a verification":            {job: "available", set: "UPDATE river.river_job SET kind = 'casq_verify'", events: []eventlog.Event{backfilled(2)}, want: registry.Bulk},
		"a backfill, by an event":   {job: "available", set: "UPDATE river.river_job SET priority = 3", events: []eventlog.Event{updated(2)}, want: registry.Prompt},
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
			b.Apply(t, test.events...)
			if got := b.Urgencies(t); !slices.Equal(got, []registry.Urgency{test.want}) {
				t.Errorf("urgencies are %v, want one job of %d", got, test.want)
			}
			if got := b.Row(t, "x"); got.Version <= token.Version {
				t.Errorf("the version is %d, and was %d", got.Version, token.Version)
			}
		})
	}
}

// An event commits while a backfill waits for its row. The backfill takes the place of
// the version that it meets, and has to see that one's job, too: otherwise it would put
// what the event asks for behind everything.
func TestABackfillSeesTheJobOfAnEventThatItHasWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Create(t, 1, "x")
	b.TakeJobs(t)
	event := b.begin(t)
	b.applyWithJob(t, event, 2, "x")
	backfill := eventBatch(3, eventlog.Updated, "x")
	backfill.Events[0].Bulk = true
	ended := make(chan error, 1)
	go func() {
		ended <- pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error { return b.Transposer.Apply(t.Context(), tx, backfill) })
	}()
	b.untilBlocked(t)
	if err := event.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the backfill's end", ended); err != nil {
		t.Fatal(err)
	}
	if got := b.Urgencies(t); !slices.Equal(got, []registry.Urgency{registry.Prompt, registry.Prompt}) {
		t.Errorf("urgencies are %v", got)
	}
}
