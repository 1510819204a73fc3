package reconcile

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/registrytest"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// A change waits for the batch that goes by the selection of before, and sees how
// far that has come; and a batch waits for a change.
func TestChangesAndBatchesTakeTurns(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.follow(t)
	tx, err := b.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if err := b.Transposer.Apply(t.Context(), tx, eventlog.Batch{
		Events: []eventlog.Event{scoped(1, eventlog.Created, "k", "7", 1)}, Timeline: eventlog.Timeline{Ordinal: 1}, Tick: 60,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "UPDATE casq.cursors SET tick = 60"); err != nil {
		t.Fatal(err)
	}
	selected := make(chan error, 1)
	go func() {
		_, err := registry.Select(t.Context(), b.Pool, b.Pool, registry.Selection{Kind: kind, Scopes: []string{"8"}})
		selected <- err
	}()
	until(t, "the change's wait", func() bool {
		return b.Text(t, registrytest.AdvisoryWaits) == "1"
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the change", selected); err != nil {
		t.Fatal(err)
	}
	if got := b.Text(t, "SELECT at_timeline || '/' || at_tick FROM casq.reconcile_runs"); got != "1/60" {
		t.Errorf("the run reads at %s, want what the batch had read", got)
	}
}

// A page under another selection is read again, be it for what is there or for
// what is not.
func TestALookUnderAnotherSelection(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.put(t, "k1", 1)
	b.put(t, "k2", 2)
	now := b.tick(t)
	b.follow(t)
	b.know(t, "k2", 2, now, false)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)
	changed := false
	source := changing{b.Pool, func(sql string) {
		if sql == refetchSQL.Of && !changed {
			changed = true
			b.selects(t, []string{"2"})
		}
	}}
	report, err := Refetch(t.Context(), b.Pool, source, b.Queue, kind, []string{"k1", "k2"})
	if err != nil || report != (RefetchReport{Copied: 1, Unknown: 1}) || !changed {
		t.Errorf("%+v; %v", report, err)
	}
	b.wantHere(t, "k2")
	// Only what is not there.
	changed = false
	source = changing{b.Pool, func(sql string) {
		if sql == refetchSQL.Of && !changed {
			changed = true
			b.selects(t, nil)
		}
	}}
	b.Exec(t, "UPDATE casq.selections SET scopes = '{1}', generation = generation + 1")
	report, err = Refetch(t.Context(), b.Pool, source, b.Queue, kind, []string{"k2"})
	if err != nil || report != (RefetchReport{Copied: 1}) || !changed {
		t.Errorf("%+v; %v", report, err)
	}
	b.wantHere(t, "k2")
}

// A page that was read under another selection is not applied, whichever way.
func TestAPageOfAnotherSelection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, after []string
		want          string
	}{
		"entering": {[]string{"1"}, []string{"2"}, "k2"},
		"leaving":  {[]string{"2"}, nil, "k1 k2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRefetch(t)
			b.put(t, "k1", 1)
			b.put(t, "k2", 2)
			now := b.tick(t)
			b.follow(t)
			if name == "leaving" {
				b.know(t, "k1", 1, now, false)
				b.know(t, "k2", 2, now, false)
			}
			b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, $2)", kind, test.before)
			b.ask(t, registry.Request{})
			var changed atomic.Bool // pages are read ahead, by another goroutine
			reconciler := b.reconciler(t, func(cfg *Config) {
				cfg.Source = changing{b.Pool, func(sql string) {
					// After the page was read, and before it is applied.
					if name == "leaving" && sql != refetchSQL.Missing {
						return
					}
					if name == "entering" && sql != refetchSQL.Resources {
						return
					}
					if changed.CompareAndSwap(false, true) {
						b.selects(t, test.after)
					}
				}}
			})
			for range 3 {
				b.round(t, reconciler)
			}
			b.wantHere(t, test.want)
			if got := b.Text(t, "SELECT count(*)::text FROM casq.reconcile_runs WHERE finished_at IS NULL"); got != "0" {
				t.Errorf("%s runs are left", got)
			}
			if !changed.Load() {
				t.Error("the selection did not change")
			}
		})
	}
}

// changing calls something after each answer.
type changing struct {
	eventlog.DB
	after func(sql string)
}

func (c changing) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return changedRow{c.DB.QueryRow(ctx, sql, args...), func() { c.after(sql) }}
}

type changedRow struct {
	pgx.Row
	after func()
}

func (r changedRow) Scan(into ...any) error {
	defer r.after()
	return r.Row.Scan(into...)
}

// Of a page, what is there and what is not are applied one after the other: the
// selection may change in between.
func TestARemovalOfAnotherSelection(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.know(t, "k", 2, 1, false)
	found := &page{kind: kind, listed: true, timeline: 1, tick: 5, selection: registry.Selection{Kind: kind, Scopes: []string{"1"}, Generation: 1}}
	versions := map[string]int64{"k": b.Row(t, "k").Version}
	n, err := removeAlone(t.Context(), b.Pool, b.Queue, found, versions)
	if !errors.Is(err, registry.ErrSelectionChanged) || n != 0 {
		t.Errorf("%d; %v", n, err)
	}
	b.wantHere(t, "k")
}

// Nor does a walk remove what has entered since it asked the source.
func TestAWalkOfAnotherSelection(t *testing.T) {
	t.Parallel()
	b := setupWalk(t)
	b.put(t, "orphan", 2)
	b.tick(t)
	b.follow(t)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ($1, '{1}')", kind)
	b.ask(t, registry.Request{Walk: true, RemoveOrphans: true})
	changed := false
	reconciler := b.reconciler(t, b.configure(100), func(cfg *Config) {
		cfg.Source = changing{b.Pool, func(sql string) {
			phase := b.Text(t, "SELECT phase FROM casq.reconcile_runs ORDER BY id LIMIT 1")
			if sql == refetchSQL.Missing && phase == stagingPhase && !changed {
				changed = true
				b.selects(t, []string{"1", "2"})
			}
		}}
	})
	b.round(t, reconciler)
	if !changed {
		t.Fatal("the walk asked for nothing")
	}
	if r := b.Row(t, "orphan"); r.Deleted || r.Incarnation != 1 {
		t.Errorf("%+v", r)
	}
}
