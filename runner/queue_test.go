package runner_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"casq/runner"
)

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), sql, args...)
	must(b.t, err)
}

// sweeps returns a channel that gets a word at the end of a sweep, unless it has one.
func sweeps() (<-chan struct{}, func(string)) {
	passed := make(chan struct{}, 1)
	return passed, func(point string) {
		if point == "swept" {
			select {
			case passed <- struct{}{}:
			default:
			}
		}
	}
}

func TestABuildIsNotHeldForEver(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(b *bench, first int64, held func() int64) int64{
		"it was locked when there was room": func(b *bench, first int64, held func() int64) int64 {
			id := held()
			tx, err := b.pool.Begin(b.t.Context())
			must(b.t, err)
			_, err = tx.Exec(b.t.Context(), "SELECT casq.cancel_build($1)", id)
			must(b.t, err)
			b.exec("SELECT casq.cancel_build($1)", first)
			must(b.t, tx.Rollback(b.t.Context()))
			return id
		},
		"the build before it was deleted": func(b *bench, first int64, held func() int64) int64 {
			id := held()
			b.exec("DELETE FROM casq.pipelines WHERE id = (SELECT pipeline_id FROM casq.builds WHERE id = $1)", first)
			return id
		},
		"an old snapshot does not show it": func(b *bench, first int64, held func() int64) int64 {
			tx, err := b.pool.Begin(b.t.Context())
			must(b.t, err)
			defer tx.Rollback(context.WithoutCancel(b.t.Context()))
			_, err = tx.Exec(b.t.Context(), "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM casq.builds")
			must(b.t, err)
			id := held()
			_, err = tx.Exec(b.t.Context(), "SELECT casq.cancel_build($1)", first)
			must(b.t, err)
			must(b.t, tx.Commit(b.t.Context()))
			return id
		},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			swept, hook := sweeps()
			b := newBench(t, runner.Options{SweepEvery: 50 * time.Millisecond, Hook: hook})
			b.exec("INSERT INTO casq.projects (id, max_running) VALUES (7, 1)")
			first := b.enqueue()
			id := end(b, first, func() int64 { return b.enqueue() })
			for range 3 { // the last of them has begun since
				<-swept
			}
			var held bool
			must(t, b.pool.QueryRow(t.Context(), "SELECT held FROM casq.builds WHERE id = $1", id).Scan(&held))
			if held {
				t.Error("the build is held, and no other of its project is there")
			}
		})
	}
}

func TestTwoRetriesOfWhatABuildNeeds(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	ids := b.pipeline(
		runner.Build{Name: "one"},
		runner.Build{Name: "two"},
		runner.Build{Name: "three", Needs: []string{"one", "two"}},
	)
	for range 30 { // they deadlocked within ten
		for _, id := range ids[:2] {
			b.exec("SELECT casq.cancel_build($1)", id)
		}
		errs := make(chan error)
		for _, id := range ids[:2] {
			go func() {
				_, err := b.pool.Exec(t.Context(), "SELECT casq.retry_build($1)", id)
				errs <- err
			}()
		}
		for range 2 {
			must(t, <-errs)
		}
		if status := b.status(ids[2]); status != "created" {
			t.Fatalf("what needs both is %s", status)
		}
	}
}

// What a project has had does not count against what it asks for now.
func TestATurnIsBehindThoseThatWait(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	ahead := func(id int64) (minutes float64) {
		must(t, b.pool.QueryRow(t.Context(),
			"SELECT turn / 6e7 - extract(epoch FROM created_at)::float8 / 60 FROM casq.builds WHERE id = $1", id).Scan(&minutes))
		return minutes
	}
	var ids []int64
	for range 10 {
		ids = append(ids, b.enqueue())
	}
	if minutes := ahead(ids[9]); minutes < 8 {
		t.Errorf("the tenth that waits is %.1f minutes behind", minutes)
	}
	for _, id := range ids {
		b.exec("SELECT casq.cancel_build($1)", id)
	}
	if minutes := ahead(b.enqueue()); minutes > 1 {
		t.Errorf("the only one that waits is %.1f minutes behind", minutes)
	}
}

func TestWhatTheQueueRefuses(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	ids := b.pipeline(
		runner.Build{Name: "one"},
		runner.Build{Name: "two", Needs: []string{"one"}},
	)
	for what, sql := range map[string]string{
		"a build goes that another waits for": fmt.Sprintf("DELETE FROM casq.builds WHERE id = %d", ids[0]),
		"a runner is for no known project":    "SELECT casq.create_runner('x', projects => '{7,NULL}')",
		"a runner's projects are a table":     "SELECT casq.create_runner('x', projects => '{{7,8}}')",
	} {
		if _, err := b.pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s", what)
		}
	}
	b.exec("DELETE FROM casq.pipelines WHERE project_id = 7")
}

// A transaction that is left open holds the row of a runner: of one with a limit, which a
// pick locks, or of one whose token is being reset. Others get their builds meanwhile.
func TestARunnerWhoseRowIsHeldHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"limited": "UPDATE casq.runners SET description = 'held' WHERE tags = '{held}'",
		"reset":   "SELECT casq.reset_runner_token(id) FROM casq.runners WHERE tags = '{held}'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, runner.Options{Picks: 2})
			held, other := b.runner("held"), b.runner("other")
			if name == "limited" {
				_, err := b.pool.Exec(t.Context(), "UPDATE casq.runners SET max_running = 1 WHERE tags = '{held}'")
				must(t, err)
			}
			build := b.enqueue("held")
			tx, err := b.pool.Begin(t.Context())
			must(t, err)
			defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }() // rolled back below, as a rule
			_, err = tx.Exec(t.Context(), change)
			must(t, err)
			first, second := b.c.Ask(t.Context(), held, ""), b.c.Ask(t.Context(), held, "")
			theirs := b.enqueue("other")
			if a := b.request(other, ""); a.Build() != theirs {
				t.Fatalf("got %s, want build %d", a, theirs)
			}
			must(t, tx.Rollback(t.Context()))
			select {
			case a := <-first:
				if a.Build() != build {
					t.Errorf("got %s, want build %d", a, build)
				}
			case a := <-second:
				if a.Build() != build {
					t.Errorf("got %s, want build %d", a, build)
				}
			}
		})
	}
}
