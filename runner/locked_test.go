package runner_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/runnertest"
	"casq/runner"
)

// hold runs a statement in a transaction that stays open until release.
func (b *bench) hold(sql string, args ...any) (release func()) {
	b.t.Helper()
	tx, err := b.pool.Begin(b.t.Context())
	must(b.t, err)
	b.t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(b.t.Context())) }) // released, as a rule
	_, err = tx.Exec(b.t.Context(), sql, args...)
	must(b.t, err)
	return func() { must(b.t, tx.Rollback(b.t.Context())) }
}

// until returns when something is so after a word of the signal.
func (b *bench) until(what string, signal <-chan struct{}, is func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeoutCause(b.t.Context(), 10*time.Second, errors.New("10 s are over"))
	defer cancel()
	for !is() {
		select {
		case <-signal:
		case <-ctx.Done():
			b.t.Fatalf("wait until %s: %v", what, context.Cause(ctx))
		}
	}
}

// begin has a runner get a build and begin it.
func (b *bench) begin(token string) {
	b.t.Helper()
	a := b.request(token, "")
	if got := b.c.Put(a.Build(), a.Token(), "running"); got.Status != http.StatusOK {
		b.t.Fatalf("begin %s: %s", a, got)
	}
}

// value reads one number.
func (b *bench) value(sql string, args ...any) (n int64) {
	b.t.Helper()
	must(b.t, b.pool.QueryRow(b.t.Context(), sql, args...).Scan(&n))
	return n
}

// Somebody's transaction that is left open holds a build, or what is changed with it. The
// sweep ends others, and that one when it is free.
func TestALockedBuildDoesNotStopTheSweep(t *testing.T) {
	t.Parallel()
	for name, lock := range map[string]string{
		"the build":             "SELECT FROM casq.builds WHERE name = 'one' FOR UPDATE",
		"one that waits for it": "SELECT FROM casq.builds WHERE name = 'waits' FOR UPDATE",
		"its project":           "SELECT FROM casq.projects WHERE id = 7 FOR UPDATE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, runner.Options{SweepEvery: time.Hour})
			token := b.runner()
			one := b.pipeline(runner.Build{Name: "one"}, runner.Build{Name: "waits", Needs: []string{"one"}})[0]
			b.begin(token)
			b.exec("UPDATE casq.projects SET max_running = 1")
			b.enqueue() // it is held until the first ends
			other := b.value("SELECT casq.add_build(casq.begin_pipeline(8), 'other', $1)", runnertest.Smallest)
			b.begin(token)
			b.exec("UPDATE casq.builds SET assigned_at = clock_timestamp() - interval '1 day' WHERE status = 'running'")
			release := b.hold(lock)
			swept, hook := sweeps()
			runnertest.New(t, b.pool, runner.Options{SweepEvery: 50 * time.Millisecond, Hook: hook})
			b.until("the other has failed", swept, func() bool { return b.status(other) == "failed" })
			if status := b.status(one); status != "running" {
				t.Errorf("the first is %s", status)
			}
			release()
			b.until("the first has failed", swept, func() bool { return b.status(one) == "failed" })
		})
	}
}

// After a failover to a server whose clock is a day behind, builds were handed out and runners
// heard of tomorrow. That is now: nobody waits a day to be missed.
func TestWhatWasInTheFutureIsNow(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newBench(t, runner.Options{SweepEvery: time.Hour})
	token := b.runner()
	begun, handed := b.enqueue(), b.enqueue()
	b.begin(token)
	if a := b.request(token, ""); a.Build() != handed {
		t.Fatalf("the second is %s", a)
	}
	b.exec("UPDATE casq.builds SET assigned_at = assigned_at + interval '1 day', started_at = started_at + interval '1 day', start_by = start_by + interval '1 day'")
	b.exec("UPDATE casq.build_signs SET heard_at = heard_at + interval '1 day'")
	swept, hook := sweeps()
	runnertest.New(t, b.pool, runner.Options{SweepEvery: 50 * time.Millisecond, Hook: hook})
	b.until("nothing is in the future", swept, func() bool {
		return b.value(`SELECT count(*) FROM casq.builds AS b LEFT JOIN casq.build_signs AS s ON s.build_id = b.id
			WHERE greatest(b.assigned_at, b.started_at, s.heard_at, b.start_by - interval '2 minutes') > clock_timestamp()`) == 0
	})
	if b.status(begun) != "running" || b.status(handed) != "running" {
		t.Errorf("they are %s and %s", b.status(begun), b.status(handed))
	}
}

// A call about a build whose row somebody holds is to be made again: it does not keep a
// connection of the pool until then.
func TestACallAboutALockedBuild(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newBench(t, runner.Options{})
	b.enqueue()
	a := b.request(b.runner(), "")
	release := b.hold("SELECT FROM casq.builds FOR UPDATE")
	for _, state := range []string{"running", "success"} {
		got := b.c.Put(a.Build(), a.Token(), state)
		if got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s of a build that is held: %s", state, got)
		}
	}
	release()
	if got := b.c.Put(a.Build(), a.Token(), "success"); got.Status != http.StatusOK {
		t.Errorf("when it is free: %s", got)
	}
}

// Nobody is taken for silent because somebody holds the row of a build, or of a runner.
func TestALockedRowDoesNotHideWhoWasHeardOf(t *testing.T) {
	t.Parallel()
	for name, lock := range map[string]string{
		"a build":  "SELECT FROM casq.builds WHERE name = 'one' FOR UPDATE",
		"a runner": "SELECT casq.reset_runner_token(id) FROM casq.runners WHERE tags = '{one}'",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, runner.Options{ContactsEvery: time.Hour})
			b.pipeline(runner.Build{Name: "one", Tags: []string{"one"}}, runner.Build{Name: "two", Tags: []string{"two"}})
			b.begin(b.runner("one"))
			b.begin(b.runner("two"))
			b.exec("UPDATE casq.build_signs SET heard_at = '2000-01-01'")
			release := b.hold(lock)
			b.c.Stop() // it writes down who was heard of, within a second
			if n := b.value("SELECT count(*) FROM casq.build_signs WHERE heard_at > '2001-01-01' AND build_id = (SELECT id FROM casq.builds WHERE name = 'two')"); n != 1 {
				t.Error("the sign of life of the other build is not there")
			}
			if n := b.value("SELECT count(*) FROM casq.runner_managers AS m JOIN casq.runners AS r ON r.id = m.runner_id WHERE r.tags = '{two}'"); n != 1 {
				t.Error("the process of the other runner is not there")
			}
			release()
		})
	}
}
