package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/registrytest"
	"casq/internal/testing/testproc"
	"casq/registry"

	"github.com/google/uuid"
)

// reconcileChild is a process that reconciles and freezes at the nth time that
// it comes to a point.
const reconcileChild = "reconcile"

func reconcileInChild(args []string) error {
	url, process, point := args[0], args[1], args[2]
	ctx := context.Background()
	pool, err := database.Open(ctx, url, database.Options{SearchPath: "public"})
	if err != nil {
		return err
	}
	defer pool.Close()
	passed := 0
	New(Config{
		Home: pool, Source: pool, Jobs: &registrytest.Queue{Pool: pool}, Process: uuid.MustParse(process),
		Logger: slog.New(slog.DiscardHandler), PageSize: 7, PollEvery: 10 * time.Millisecond,
		Hook: func(at string) {
			if at == point {
				passed++
				if passed == 3 {
					testproc.Freeze("frozen")
				}
			}
		},
	}).Run(ctx)
	return nil
}

// halves has 50 resources without a row, and 50 rows without a resource.
func halves(t *testing.T) *refetchBundle {
	t.Helper()
	b := setupRefetch(t)
	b.Exec(t, "INSERT INTO resources SELECT 'there/' || to_char(i, 'FM00'), i FROM generate_series(1, 50) AS i")
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
		SELECT $1, 'gone/' || to_char(i, 'FM00'), 1, i, 1, '{}' FROM generate_series(1, 50) AS i`, kind)
	b.tick(t)
	b.follow(t)
	return b
}

func (b *refetchBundle) finished(t *testing.T, id int64) bool {
	t.Helper()
	return b.Text(t, "SELECT (finished_at IS NOT NULL)::text FROM casq.reconcile_runs WHERE id = $1", id) == "true"
}

// wantDone fails unless each resource was done once, and counted once.
func (b *refetchBundle) wantDone(t *testing.T, id int64) {
	t.Helper()
	if !b.finished(t, id) {
		t.Error("the run is not finished")
	}
	if got := b.report(t, id); got != "resource: created 50 removed 50" {
		t.Errorf("the report says %q", got)
	}
	// 50 resources, and 50 rows where one walk went through both from the beginning, else the
	// 100 that there are by then.
	if got := b.Text(t, "SELECT examined::text FROM casq.reconcile_counts WHERE run = $1 AND kind = $2", id, kind); got != "100" && got != "150" {
		t.Errorf("examined %s", got)
	}
	jobs := b.TakeJobs(t)
	seen := make(map[string]bool)
	for _, j := range jobs {
		if seen[j.ResourceID] || j.Deleted != strings.HasPrefix(j.ResourceID, "gone/") {
			t.Errorf("job %v", j)
		}
		seen[j.ResourceID] = true
	}
	if len(jobs) != 100 {
		t.Errorf("%d jobs", len(jobs))
	}
}

// A process is killed at each point of a run. Another one goes on after the
// last page that was committed, and counts nothing twice.
func TestReconcilerIsKilled(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"reconcile:read", "reconcile:compared", "reconcile:applied", "reconcile:committed", "reconcile:rows"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			b := halves(t)
			id := b.ask(t, registry.Request{})
			first := b.Process(t)
			child := testproc.Start(t, reconcileChild, b.Pool.Config().ConnString(), first.ID().String(), point)
			child.AwaitFrozen("frozen")
			second := b.reconciler(t, func(c *Config) { c.PageSize = 7 })
			b.round(t, second)
			if got := b.Text(t, "SELECT process::text FROM casq.reconcile_runs WHERE id = $1", id); got != first.ID().String() {
				t.Fatalf("process %s has it while the first one lives", got)
			}
			child.Kill()
			b.Exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", first.ID())
			until(t, "the end of the run", func() bool {
				b.round(t, second) // passes the run by until the server finds out that its holder is gone
				return b.finished(t, id)
			})
			b.wantDone(t, id)
		})
	}
}

// A process is taken for dead, and wakes when another has gone on: its page is
// rolled back.
func TestReconcilerIsFenced(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"reconcile:read", "reconcile:compared", "reconcile:rows"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			b := halves(t)
			id := b.ask(t, registry.Request{})
			first := b.Process(t)
			child := testproc.Start(t, reconcileChild, b.Pool.Config().ConnString(), first.ID().String(), point)
			child.AwaitFrozen("frozen")
			b.Exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", first.ID())
			b.round(t, b.reconciler(t, func(c *Config) { c.PageSize = 7 }))
			child.Thaw()
			b.wantDone(t, id)
			until(t, "the end of the late page", func() bool {
				return b.Text(t, `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'`) == "0"
			})
			b.WantJobs(t)
			child.Kill()
		})
	}
}

// Many at once: a run is one process's, and each of them is carried out.
func TestReconcilersAtOnce(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := halves(t)
	ids := []int64{b.ask(t, registry.Request{}), b.ask(t, registry.Request{})}
	var group sync.WaitGroup
	for range 4 {
		r := b.reconciler(t, func(c *Config) { c.PageSize, c.Patience, c.PollEvery = 7, deadline, 10*time.Millisecond })
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			for ctx.Err() == nil {
				if err := r.round(ctx); err != nil {
					t.Error(err)
				}
				var open bool
				err := b.Pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM casq.reconcile_runs WHERE finished_at IS NULL)").Scan(&open)
				if err != nil || !open {
					return
				}
			}
		})
	}
	group.Wait()
	// A row that the other run has removed or made meanwhile is left to the log. Each run reads
	// 50 resources and 50 rows, and those of 50 more that have come by then.
	sums := b.Text(t, `SELECT sum(created) || ' ' || sum(removed) || ' ' || (sum(examined) BETWEEN 200 AND 300) FROM casq.reconcile_counts WHERE run = ANY ($1)`, ids)
	if want := "50 50 true"; sums != want {
		t.Errorf("got %s, want %s", sums, want)
	}
	if jobs := b.TakeJobs(t); len(jobs) != 100 {
		t.Errorf("%d jobs", len(jobs))
	}
}

// What is due is asked for once, however many ask.
func TestReconcileIsScheduledOnce(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.follow(t)
	daily := func(c *Config) { c.Every = 24 * time.Hour }
	counts := func() string {
		return b.Text(t, `SELECT count(*) || ' ' || count(*) FILTER (WHERE finished_at IS NULL) FROM casq.reconcile_runs WHERE reason = 'scheduled'`)
	}
	rounds := func() {
		var group sync.WaitGroup
		for range 6 {
			r := b.reconciler(t, daily)
			group.Go(func() {
				if err := r.round(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}
	for i, step := range []struct{ change, want string }{
		{"", "1 1"},
		{"UPDATE casq.reconcile_runs SET not_before = NULL", "1 0"}, // the first one waits for the log to be read
		{"", "1 0"},
		{"UPDATE casq.reconcile_runs SET requested_at = now() - interval '25 hours'", "2 0"},
		{"UPDATE casq.reconcile_runs SET requested_at = now() - interval '25 hours', dry_run = id = 2", "3 0"},
		{"UPDATE casq.reconcile_runs SET requested_at = now() - interval '25 hours', finished_at = NULL, not_before = now() + interval '1 hour'", "3 3"},
	} {
		if step.change != "" {
			b.Exec(t, step.change)
		}
		rounds()
		if got := counts(); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}

// Folders of claims that some row still has stay, and so do those that are made
// while the claims are read.
func TestReconcileRemovesStaging(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.follow(t)
	p := b.Process(t)
	for _, key := range []string{"a", "b", "c"} {
		b.put(t, key, 1)
		b.know(t, key, 1, 1, false)
	}
	staging := &stagingList{folders: map[string]string{"working": b.claimed(t, "b", p.ID()), "left": uuid.NewString(), "left too": uuid.NewString()}}
	var later string
	staging.listed = func() {
		later = b.claimed(t, "c", p.ID())
		staging.folders["begun just now"], staging.listed = later, nil
	}
	with := func(c *Config) { c.Staging = []Staging{staging} }
	b.tick(t)
	b.follow(t)
	if got := b.reconcile(t, registry.Request{DryRun: true}, with); !strings.Contains(got, ": staging_removed 2") || len(staging.folders) != 4 {
		t.Errorf("got %q, left %v", got, staging.folders)
	}
	if got := b.reconcile(t, registry.Request{}, with); !strings.Contains(got, ": staging_removed 2") {
		t.Errorf("got %q", got)
	}
	if len(staging.folders) != 2 || staging.folders["working"] == "" || staging.folders["begun just now"] != later {
		t.Errorf("left %v", staging.folders)
	}
}

// Rows change after they were read: what was found for them is void, for other
// versions, or done by others.
func TestReconcileOfRowsThatChangeMeanwhile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ key, change, want string }{
		"asked for again":        {"gone", `UPDATE casq.registry SET version = nextval('casq.registry_version')`, "resource: late 1"},
		"deleted by the log":     {"gone", `UPDATE casq.registry SET version = nextval('casq.registry_version'), deleted_at = now()`, "resource: late 1"},
		"asked for, idle before": {"idle", `UPDATE casq.registry SET version = nextval('casq.registry_version')`, "resource:"},
		"done, idle before":      {"idle", `UPDATE casq.registry SET synced_version = version`, "resource:"},
		"begun, idle before":     {"idle", `UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = (SELECT id FROM casq.processes)`, "resource:"},
		"nothing":                {"gone", `SELECT`, "resource: removed 1"},
		"nothing, idle before":   {"idle", `SELECT`, "resource: requeued 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.put(t, "idle", 1)
			b.know(t, c.key, 1, 1, false)
			if c.key == "idle" {
				b.Exec(t, "UPDATE casq.registry SET synced_version = NULL, queued_at = now() - interval '2 hours'")
			} else {
				b.Exec(t, "DELETE FROM resources")
			}
			b.tick(t)
			b.follow(t)
			got := b.reconcile(t, registry.Request{}, func(cfg *Config) {
				cfg.Hook = func(point string) {
					if point == "reconcile:rows" {
						b.Exec(t, c.change)
					}
				}
			})
			if got = strings.TrimSpace(got); got != c.want && got != strings.TrimSuffix(c.want, "resource:") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Who has lost a run to another cannot move it, however far the other is.
func TestReconcileMoveIsFenced(t *testing.T) {
	t.Parallel()
	b := halves(t)
	b.ask(t, registry.Request{})
	first, second := b.reconciler(t), b.reconciler(t)
	lost, err := first.take(t.Context())
	if err != nil || lost == nil {
		t.Fatal(lost, err)
	}
	if other, err := second.take(t.Context()); err != nil || other != nil {
		t.Fatal(other, err)
	}
	b.Exec(t, "UPDATE casq.processes SET dead_at = now() WHERE id = $1", first.cfg.Process)
	kept, err := second.take(t.Context())
	if err != nil || kept == nil {
		t.Fatal(kept, err)
	}
	there := progress{resourcesPhase, new("resource"), new("x")}
	if err := lost.commit(t.Context(), there, kind, &found{created: 1}, nil); !errors.Is(err, errTakenOver) {
		t.Errorf("got %v", err)
	}
	if err := lost.finish(t.Context()); !errors.Is(err, errTakenOver) {
		t.Errorf("got %v", err)
	}
	if err := kept.commit(t.Context(), there, kind, &found{created: 1}, nil); err != nil {
		t.Error(err)
	}
}
