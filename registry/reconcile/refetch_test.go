package reconcile

import (
	"errors"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/registrytest"

	"github.com/google/uuid"
)

// refetchBundle is a database that is source and home, with a table of resources that
// is tracked, and no cursor: what the registry knows is what a test says.
type refetchBundle struct{ *testBundle }

func setupRefetch(t *testing.T) *refetchBundle {
	t.Helper()
	b := &refetchBundle{setup(t)}
	simple(t, b.Pool, `CREATE TABLE resources (key text PRIMARY KEY, v int)`, trackResources)
	b.tick(t)
	return b
}

// tick takes a tick and returns it.
func (b *refetchBundle) tick(t *testing.T) (tick int64) {
	t.Helper()
	if err := b.Pool.QueryRow(t.Context(), "SELECT casq.tick(true)").Scan(&tick); err != nil {
		t.Fatal(err)
	}
	return tick
}

// follow puts home's cursor at the newest tick, as if everything was applied.
func (b *refetchBundle) follow(t *testing.T) {
	t.Helper()
	b.Exec(t, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce)
		SELECT 'registry', l.system_identifier, l.timeline, l.id, t.id, t.nonce FROM casq.ticks AS t JOIN casq.timelines AS l USING (timeline)
		ORDER BY t.id DESC LIMIT 1
		ON CONFLICT (name) DO UPDATE SET timeline = excluded.timeline, timeline_id = excluded.timeline_id, tick = excluded.tick, nonce = excluded.nonce`)
}

// put writes a resource and tells nobody but the log.
func (b *refetchBundle) put(t *testing.T, key string, v int) {
	t.Helper()
	b.Exec(t, "INSERT INTO resources VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET v = excluded.v", key, v)
}

// know writes a row of the registry, synced at a tick of timeline 1.
func (b *refetchBundle) know(t *testing.T, key string, v int, tick int64, deleted bool) {
	t.Helper()
	b.Exec(t, `WITH r AS (INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, deleted_at, payload)
			VALUES ($1, $2, 1, 1000, $4, CASE WHEN $5 THEN now() END, jsonb_build_object('v', $3::int)) RETURNING *)
		SELECT FROM r`, kind, key, v, tick, deleted)
	b.Exec(t, `UPDATE casq.registry SET synced_version = version, synced_incarnation = 1, verified_at = now() WHERE resource_id = $1`, key)
}

func (b *refetchBundle) refetch(t *testing.T, keys ...string) RefetchReport {
	t.Helper()
	report, err := Refetch(t.Context(), b.Pool, b.Pool, b.Queue, kind, keys)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestRefetch(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	for _, key := range []string{"d new", "c same", "e changed", "a back", "g newer in the log"} {
		b.put(t, key, 2)
	}
	now := b.tick(t)
	b.know(t, "c same", 2, now, false)
	b.know(t, "e changed", 0, now, false)
	b.know(t, "a back", 0, now, true)
	b.know(t, "b gone", 1, now, false)
	b.know(t, "f gone long ago", 1, now, true)
	b.know(t, "g newer in the log", 7, now+1, false)
	b.know(t, "h gone, but newer in the log", 7, now+1, false)
	same := b.Row(t, "c same").Version

	report := b.refetch(t, "d new", "c same", "e changed", "a back", "b gone", "f gone long ago", "g newer in the log",
		"h gone, but newer in the log", "never heard of", "d new")
	if want := (RefetchReport{Copied: 4, Removed: 1, Late: 2, Unknown: 2}); report != want {
		t.Errorf("got %+v, want %+v", report, want)
	}
	for key, want := range map[string]registrytest.Row{
		"d new":     {EventID: 0, Tick: now, Incarnation: 1, Payload: `{"v": 2}`, Status: "pending"},
		"c same":    {EventID: 1000, Tick: now, Incarnation: 1, Payload: `{"v": 2}`, Status: "pending"},
		"e changed": {EventID: 1000, Tick: now, Incarnation: 2, Payload: `{"v": 2}`, Status: "pending"},
		"a back":    {EventID: 1000, Tick: now, Incarnation: 1, Payload: `{"v": 2}`, Status: "pending"},
		"b gone":    {EventID: 1000, Tick: now, Incarnation: 2, Payload: `{"v": 1}`, Status: "removing", Deleted: true},

		"f gone long ago":              {EventID: 1000, Tick: now, Incarnation: 1, Payload: `{"v": 1}`, Status: "removed", Deleted: true},
		"g newer in the log":           {EventID: 1000, Tick: now + 1, Incarnation: 1, Payload: `{"v": 7}`, Status: "synced"},
		"h gone, but newer in the log": {EventID: 1000, Tick: now + 1, Incarnation: 1, Payload: `{"v": 7}`, Status: "synced"},
	} {
		got := b.Row(t, key)
		short := registrytest.Row{EventID: got.EventID, Tick: got.Tick, Incarnation: got.Incarnation, Payload: got.Payload, Status: got.Status, Deleted: got.Deleted}
		if short != want {
			t.Errorf("%s: got %+v, want %+v", key, short, want)
		}
	}
	if got := b.Row(t, "c same").Version; got <= same {
		t.Errorf("version %d is not above %d", got, same)
	}
	jobs := b.TakeJobs(t)
	if len(jobs) != 5 {
		t.Errorf("got jobs %v", jobs)
	}
	for _, j := range jobs {
		if got := b.Row(t, j.ResourceID); got.Version != j.Version || got.Deleted != j.Deleted {
			t.Errorf("job %v for %+v", j, got)
		}
	}
}

// The timeline of a page is newer than that of a row: ticks of two timelines do not
// compare, and every event that is still to come has to count as newer.
func TestRefetchInANewerTimeline(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.put(t, "x", 1)
	now := b.tick(t)
	b.Exec(t, `INSERT INTO casq.timelines SELECT 2, gen_random_uuid(), system_identifier, server_timeline, $1, '0/0' FROM casq.timelines`, now)
	b.Exec(t, `UPDATE casq.ticks SET timeline = 2 WHERE id = $1`, now)
	b.know(t, "x", 1, now+500, false)
	b.know(t, "y", 1, now+500, false)
	if report := b.refetch(t, "x", "y"); report != (RefetchReport{Copied: 1, Removed: 1}) {
		t.Errorf("got %+v", report)
	}
	for _, key := range []string{"x", "y"} {
		if got := b.Row(t, key); got.Timeline != 2 || got.EventID != 0 || got.Tick != now {
			t.Errorf("got %+v", got)
		}
	}
	b.TakeJobs(t)
	b.ApplyBatch(t, eventlog.Batch{Events: []eventlog.Event{event(3, eventlog.Deleted, "x", "{}"), event(4, eventlog.Created, "y", `{"v": 2}`)},
		Timeline: eventlog.Timeline{Ordinal: 2}, Tick: now + 1})
	if x, y := b.Row(t, "x"), b.Row(t, "y"); !x.Deleted || y.Deleted || y.Payload != `{"v": 2}` {
		t.Errorf("got %+v and %+v", x, y)
	}
}

// What a host that is late, or another database, shows must not be acted on.
func TestRefetchRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change string
		want   error
	}{
		"no table":           {`SELECT casq.untrack('resources')`, ErrUnlisted},
		"tombstones purged":  {`INSERT INTO casq.registry_floors VALUES ('resource', 1, 1000)`, ErrLateSource},
		"an older timeline":  {`UPDATE casq.cursors SET timeline = 2, timeline_id = gen_random_uuid()`, ErrLateSource},
		"another's timeline": {`UPDATE casq.cursors SET timeline_id = '` + uuid.NewString() + `'`, ErrLateSource},
		"no ticks":           {`DELETE FROM casq.ticks`, eventlog.ErrNoTicks},
		"floor of the past":  {`INSERT INTO casq.registry_floors VALUES ('resource', 1, 1)`, nil},
		"floor of the other": {`INSERT INTO casq.registry_floors VALUES ('other', 1, 1000)`, nil},
		"no cursor yet":      {`DELETE FROM casq.cursors`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.put(t, "x", 1)
			b.tick(t)
			b.follow(t)
			b.know(t, "y", 1, 1, false)
			simple(t, b.Pool, c.change)
			report, err := Refetch(t.Context(), b.Pool, b.Pool, b.Queue, kind, []string{"x", "y"})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v", err)
			}
			if want := (RefetchReport{}); err != nil && (report != want || b.Row(t, "y").Deleted) {
				t.Errorf("got %+v", report)
			}
			if want := (RefetchReport{Copied: 1, Removed: 1}); err == nil && report != want {
				t.Errorf("got %+v", report)
			}
		})
	}
}

// A kind of which there never was an event is not known at home.
func TestRefetchLearnsTheKind(t *testing.T) {
	long.Test(t)
	t.Parallel()
	source, home := setupRefetch(t), setup(t)
	home.Exec(t, "DELETE FROM casq.kinds")
	source.put(t, "x", 1)
	source.tick(t)
	report, err := Refetch(t.Context(), home.Pool, source.Pool, home.Queue, kind, []string{"x"})
	if err != nil || report.Copied != 1 {
		t.Fatal(report, err)
	}
	if kinds, err := eventlog.Kinds(t.Context(), home.Pool); err != nil || kinds[kind].Queue != "resource" {
		t.Errorf("%v: %v", kinds, err)
	}
}
