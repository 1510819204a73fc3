package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/registrytest"
	"casq/registry"

	"github.com/google/uuid"
)

const dump = `SELECT coalesce(string_agg(to_jsonb(r)::text, E'\n' ORDER BY kind, resource_id), '') FROM casq.registry AS r`

// bothWays has resources and rows that differ in each way.
func bothWays(t *testing.T) *refetchBundle {
	t.Helper()
	b := setupRefetch(t)
	for _, key := range []string{"d new", "c same", "e changed", "a back", "i in place", "g newer in the log", "k tombstone of later"} {
		b.put(t, key, 2)
	}
	// No event of it can be appended.
	simple(t, b.Pool, `SELECT casq.untrack('resources')`, `INSERT INTO resources VALUES (repeat('long', 300), 2)`, trackResources)
	now := b.tick(t)
	b.follow(t)
	b.know(t, "c same", 2, now, false)
	b.know(t, "e changed", 0, now, false)
	b.know(t, "a back", 0, now, true)
	b.know(t, "b gone", 1, now, false)
	b.know(t, "f gone long ago", 1, now, true)
	b.know(t, "g newer in the log", 7, now+1, false)
	b.know(t, "h gone, but newer in the log", 7, now+1, false)
	b.know(t, "k tombstone of later", 2, now+1, true)
	return b
}

func TestReconcileBothWays(t *testing.T) {
	t.Parallel()
	for pageSize, bytes := range map[int]int64{1: pageBytes, 3: pageBytes, 100: pageBytes, 99: 20, 98: 1} {
		t.Run(fmt.Sprintf("pages of %d and %d bytes", pageSize, bytes), func(t *testing.T) {
			t.Parallel()
			b := bothWays(t)
			small := func(c *Config) {
				c.PageSize, c.PageBytes = pageSize, bytes
				c.InPlace = func(_ context.Context, k eventlog.Kind, key string) bool {
					return k.Name == kind && key == "i in place"
				}
			}
			const want = "resource: adopted 1 changed 1 created 2 late 3 removed 1"
			before := b.Text(t, dump)
			if got := b.reconcile(t, registry.Request{DryRun: true}, small); got != want+" :" && got != want {
				t.Errorf("dry run: got %q, want %q", got, want)
			}
			if after := b.Text(t, dump); after != before {
				t.Errorf("a dry run has changed\n%s\nto\n%s", before, after)
			}
			b.WantJobs(t)
			if got := b.reconcile(t, registry.Request{}, small); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			jobs := b.TakeJobs(t)
			keys := keysOf(slices.SortedFunc(slices.Values(jobs), func(x, y registry.Job) int { return registrytest.CompareTokens(x.Token, y.Token) }))
			if want := "a back, b gone, d new, e changed, i in place"; keys != want {
				t.Errorf("jobs for %s, want %s", keys, want)
			}
			for _, j := range jobs {
				if got := b.Row(t, j.ResourceID); got.Version != j.Version || got.Deleted != j.Deleted || got.Deleted != (j.ResourceID == "b gone") {
					t.Errorf("job %v for %+v", j, got)
				}
			}
			// The late ones are what the log was to bring.
			if got := b.reconcile(t, registry.Request{}, small); got != "resource: late 3" {
				t.Errorf("the next run: got %q", got)
			}
			b.WantJobs(t)
		})
	}
}

// What is written meanwhile is on its way in the log, and no difference: events that
// no tick has delivered yet, some of a transaction that was open at the last one.
func TestReconcileLeavesToTheLogWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	simple(t, b.Pool, `SELECT casq.untrack('resources')`, `INSERT INTO resources VALUES ('really new', 1)`, trackResources)
	for _, key := range []string{"changed", "gone", "changed late", "gone late", "same"} {
		b.put(t, key, 1)
	}
	tick := b.tick(t)
	for _, key := range []string{"changed", "gone", "changed late", "gone late", "same"} {
		b.know(t, key, 1, tick, false)
	}
	slow, err := b.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Rollback(context.WithoutCancel(t.Context())) // committed below
	for _, sql := range []string{`INSERT INTO resources VALUES ('created late', 2)`, `UPDATE resources SET v = 2 WHERE key = 'changed late'`, `DELETE FROM resources WHERE key = 'gone late'`} {
		if _, err := slow.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	b.tick(t)
	b.follow(t)
	b.put(t, "created", 2)
	b.put(t, "changed", 2)
	b.Exec(t, "DELETE FROM resources WHERE key = 'gone'")
	if err := slow.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.know(t, "really gone", 1, tick, false)
	if got := b.reconcile(t, registry.Request{}); got != "resource: created 1 late 6 removed 1" {
		t.Errorf("got %q", got)
	}
	if keys := keysOf(b.TakeJobs(t)); keys != "really new, really gone" {
		t.Errorf("jobs for %s", keys)
	}
}

// Ticks go on without events, and a promotion begins a timeline without any: the
// cursor's row stays where it is, and nobody waits for it.
func TestReconcileOnAnIdleLog(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]string{
		"ticks": "SELECT casq.tick(true)",
		"a timeline": `WITH timeline AS (INSERT INTO casq.timelines SELECT 2, gen_random_uuid(), system_identifier, server_timeline, 100, '0/0' FROM casq.timelines)
			INSERT INTO casq.ticks SELECT 100, gen_random_uuid(), 2, snapshot, low_id, high_id, lsn, taken_at FROM casq.ticks ORDER BY id DESC LIMIT 1`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.put(t, "x", 1)
			b.tick(t)
			b.follow(t)
			b.Exec(t, idle)
			b.Exec(t, "DELETE FROM casq.reconcile_runs") // what a new timeline asks for
			if got := b.reconcile(t, registry.Request{}); got != "resource: created 1" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A page waits until the log has brought what it brings: else all resources of a
// backlog would be copied twice.
func TestReconcileWaitsForTheLog(t *testing.T) {
	t.Parallel()
	for name, hinder := range map[string]func(t *testing.T, b *refetchBundle) (pass func()){
		"the cursor is behind": func(t *testing.T, b *refetchBundle) func() {
			b.put(t, "x", 2)
			b.tick(t)
			return func() { b.follow(t) }
		},
		"no cursor has begun": func(t *testing.T, b *refetchBundle) func() {
			b.Exec(t, "DELETE FROM casq.cursors")
			return func() { b.follow(t) }
		},
		"the cursor's tick is not the source's": func(t *testing.T, b *refetchBundle) func() {
			b.tick(t)
			b.Exec(t, "UPDATE casq.cursors SET nonce = $1", uuid.New())
			return func() { b.follow(t) }
		},
		"the source is in another timeline": func(t *testing.T, b *refetchBundle) func() {
			b.Exec(t, "UPDATE casq.cursors SET timeline_id = $1", uuid.New())
			return func() { b.follow(t) }
		},
		"the host is a timeline behind": func(t *testing.T, b *refetchBundle) func() {
			b.Exec(t, "UPDATE casq.cursors SET timeline = 2, timeline_id = $1", uuid.New())
			return func() { b.follow(t) }
		},
		"tombstones beyond the page are gone": func(t *testing.T, b *refetchBundle) func() {
			b.Exec(t, "INSERT INTO casq.registry_floors VALUES ($1, 1, $2)", kind, 1000)
			return func() {
				b.Exec(t, "UPDATE casq.ticks SET id = 1000 WHERE id = (SELECT max(id) FROM casq.ticks)")
				b.follow(t)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.put(t, "x", 1)
			b.tick(t)
			b.follow(t)
			pass := hinder(t, b)
			id := b.ask(t, registry.Request{})
			r := b.reconciler(t)
			b.round(t, r)
			if got := b.Text(t, `SELECT state || '/' || phase || '/' || coalesce(waiting, '') FROM casq.reconcile_report`); !strings.HasPrefix(got, "waiting/resources/") || len(got) < 30 {
				t.Errorf("the run is %s", got)
			}
			b.WantJobs(t)
			pass()
			b.Exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
			b.round(t, r)
			if got := b.report(t, id); got != "resource: created 1" {
				t.Errorf("got %q", got)
			}
			b.WantJobs(t, jobFor("x", b.Row(t, "x").Version, false))
		})
	}
}

func TestReconcileAtATick(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.put(t, "x", 1)
	now := b.tick(t)
	b.follow(t)
	b.ask(t, registry.Request{At: &registry.Tick{Timeline: 1, ID: now + 1}})
	r := b.reconciler(t)
	b.round(t, r)
	b.WantJobs(t)
	b.tick(t)
	b.follow(t)
	b.Exec(t, "UPDATE casq.reconcile_runs SET not_before = NULL")
	b.round(t, r)
	if jobs := b.TakeJobs(t); len(jobs) != 1 {
		t.Errorf("got %v", jobs)
	}
}

// Work that nobody will do gets a job, and nothing else does.
func TestReconcileRequeues(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	live, dead := b.Process(t), b.Process(t)
	for key, change := range map[string]string{
		"lost":                         ``,
		"lost removal":                 `deleted_at = now()`,
		"lost, of a dead process":      `claim = gen_random_uuid(), claim_process = '` + dead.ID().String() + `'`,
		"retry is overdue":             `failed_version = version, retry_at = now() - interval '1 hour'`,
		"failed for good, before that": `failed_version = version - 1`,

		"synced":          `synced_version = version`,
		"just queued":     `queued_at = now()`,
		"has a run":       `claim = gen_random_uuid(), claim_process = '` + live.ID().String() + `'`,
		"retry is to be":  `failed_version = version, retry_at = now() + interval '1 hour'`,
		"retry just was":  `failed_version = version, retry_at = now()`,
		"failed for good": `failed_version = version`,
	} {
		b.put(t, key, 1)
		b.know(t, key, 1, 1, strings.Contains(change, "deleted"))
		b.Exec(t, "UPDATE casq.registry SET synced_version = NULL, queued_at = now() - interval '2 hours' WHERE resource_id = $1", key)
		if change != "" {
			b.Exec(t, "UPDATE casq.registry SET "+change+" WHERE resource_id = $1", key)
		}
	}
	b.Exec(t, "DELETE FROM resources WHERE key = 'lost removal'")
	b.Exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", dead.ID())
	b.tick(t)
	b.follow(t)
	versions := b.Text(t, "SELECT string_agg(version::text, ' ' ORDER BY resource_id) FROM casq.registry")
	b.riverJob(t, "other", 100*time.Hour, registry.Token{})
	b.riverJob(t, kind, time.Minute, registry.Token{})
	if got := b.reconcile(t, registry.Request{}); got != "resource: requeued 5" {
		t.Errorf("got %q", got)
	}
	keys := keysOf(slices.SortedFunc(slices.Values(b.TakeJobs(t)), func(x, y registry.Job) int { return registrytest.CompareTokens(x.Token, y.Token) }))
	if want := "failed for good, before that, lost, lost removal, lost, of a dead process, retry is overdue"; keys != want {
		t.Errorf("jobs for %s, want %s", keys, want)
	}
	if got := b.Text(t, "SELECT string_agg(version::text, ' ' ORDER BY resource_id) FROM casq.registry"); got != versions {
		t.Errorf("versions %s, want %s as before", got, versions)
	}
	if got := b.reconcile(t, registry.Request{}); got != "" && got != "resource:" {
		t.Errorf("again: got %q", got)
	}
}

// In a long queue what was queued since the oldest job waits in it.
func TestReconcileLeavesALongQueueAlone(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.put(t, "x", 1)
	b.tick(t)
	b.follow(t)
	b.know(t, "x", 1, 1, false)
	b.Exec(t, "UPDATE casq.registry SET synced_version = NULL, queued_at = now() - interval '2 hours'")
	b.riverJob(t, kind, 3*time.Hour, registry.Token{})
	b.Exec(t, "UPDATE river.river_job SET priority = 3")
	b.reconcile(t, registry.Request{})
	b.WantJobs(t)
	b.Exec(t, "UPDATE river.river_job SET state = 'completed', finalized_at = now()")
	b.reconcile(t, registry.Request{})
	if got := b.Urgencies(t); !slices.Equal(got, []registry.Urgency{registry.Compared}) {
		t.Errorf("urgencies are %v", got)
	}
}

func TestReconcileAsksForChecks(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setupRefetch(t)
	simple(t, b.Pool, `CREATE TABLE files (path text PRIMARY KEY)`,
		`SELECT casq.track('files', kind => 'file', transfer => 'file', key_column => 'path')`,
		`INSERT INTO files VALUES ('old'), ('new'), ('pending')`)
	b.tick(t)
	b.follow(t)
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload) SELECT 'file', path, 1, 1, 1, '{}' FROM files`)
	b.Exec(t, `UPDATE casq.registry SET synced_version = version, verified_at = now() - interval '2 days' WHERE resource_id <> 'pending'`)
	b.Exec(t, `UPDATE casq.registry SET verified_at = now() WHERE resource_id = 'new'`)
	b.know(t, "no bytes", 1, 1, false)
	b.put(t, "no bytes", 1)
	b.Exec(t, `UPDATE casq.registry SET verified_at = now() - interval '2 days' WHERE resource_id = 'no bytes'`)
	checks := &checkList{}
	daily := func(c *Config) { c.Checks, c.VerifyEvery = checks, 24*time.Hour }
	if got := b.reconcile(t, registry.Request{DryRun: true}, daily); got != "file: checks 1" || len(checks.tokens) != 0 {
		t.Errorf("got %q, %v", got, checks.tokens)
	}
	if got := b.reconcile(t, registry.Request{}, daily); got != "file: checks 1" {
		t.Errorf("got %q", got)
	}
	if len(checks.tokens) != 1 || checks.tokens[0].ResourceID != "old" || checks.tokens[0].Version == 0 {
		t.Errorf("got %v", checks.tokens)
	}
	if got := b.reconcile(t, registry.Request{}); strings.Contains(got, "checks") {
		t.Errorf("without a queue of checks: got %q", got)
	}
	// What waits is not asked for again, however often it is due, and what was lost
	// is: then the oldest job that waits is a newer one.
	b.riverJob(t, registry.VerifyQueue("file"), 0, checks.tokens[0])
	for range 3 {
		b.Exec(t, `UPDATE casq.registry SET check_asked_at = check_asked_at - interval '1 hour'`)
		b.Exec(t, `UPDATE river.river_job SET scheduled_at = scheduled_at - interval '1 hour'`)
		if got := b.reconcile(t, registry.Request{}, daily); got != "" {
			t.Errorf("of what waits: got %q", got)
		}
	}
	b.Exec(t, `UPDATE river.river_job SET scheduled_at = now()`)
	if got := b.reconcile(t, registry.Request{}, daily); got != "file: checks 1" {
		t.Errorf("of what was lost: got %q", got)
	}
	// Where events were not read, what was asked for before may have been read before.
	before := len(checks.tokens)
	if got := b.reconcile(t, registry.Request{Reason: registry.Pruned}, daily); got != "file: checks 2" && got != "file: checks 1" {
		t.Errorf("where events are lost: got %q", got)
	}
	if len(checks.tokens) == before {
		t.Error("nothing was asked for where events are lost")
	}
}
