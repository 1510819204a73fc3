package runner_test

import (
	"crypto/sha256"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"casq/runner"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// first is the first column of a statement's first row.
func (b *bench) first(sql string, args ...any) any {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), sql, args...)
	must(b.t, err)
	values, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
	must(b.t, err)
	return values[0]
}

// A runner is known by a process for half a minute: what it may have is asked with the pick.
func TestAPickByATokenThatIsNoMore(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	hash := sha256.Sum256([]byte(b.runner()))
	build := b.enqueue()
	pick := func() any {
		return b.first(runner.Picks[0], b.value("SELECT id FROM casq.runners"), hash[:], hash[:], 60.0, "s", "{}")
	}
	b.exec("UPDATE casq.runners SET token_expires_at = now()")
	if pick() != false || b.status(build) != "pending" {
		t.Error("by one that has expired")
	}
	b.exec("UPDATE casq.runners SET token_expires_at = NULL, token_hash = sha256('another')")
	if pick() != false || b.status(build) != "pending" {
		t.Error("by one that was reset")
	}
	b.exec("UPDATE casq.runners SET token_hash = $1", hash[:])
	if pick() != true || b.status(build) != "running" {
		t.Error("by one that is right: not picked")
	}
}

// A host of another history may have a tick of the same number.
func TestAHostWithAnotherTickDoesNotShowIt(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	var tick int64
	var nonce uuid.UUID
	must(t, b.pool.QueryRow(t.Context(), "SELECT id, nonce FROM casq.ticks ORDER BY id DESC LIMIT 1").Scan(&tick, &nonce))
	for _, row := range []struct {
		tick  int64
		nonce uuid.UUID
		want  bool
	}{{tick, nonce, true}, {tick, uuid.New(), false}, {tick + 1000, nonce, false}} {
		var waits, shows bool
		must(t, b.pool.QueryRow(t.Context(), runner.Waits, []string{}, true, nil, row.tick, row.nonce).Scan(&waits, &shows))
		if shows != row.want {
			t.Errorf("tick %d: shown %t", row.tick, shows)
		}
	}
}

// Only an attempt that nobody has heard of goes back, and only that one.
func TestWhatIsNotGivenBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	build := b.enqueue()
	a := b.request(b.runner(), "")
	hash := sha256.Sum256([]byte(a.Token()))
	for _, row := range []struct {
		when, change string
		hash         []byte
		want         string
	}{
		{"of an earlier attempt", "SELECT 1", make([]byte, 32), "running"},
		{"of one that has begun", "UPDATE casq.builds SET started_at = now()", hash[:], "running"},
		{"of one that is to stop", "UPDATE casq.builds SET status = 'canceling'", hash[:], "canceling"},
	} {
		tx, err := b.pool.Begin(t.Context())
		must(t, err)
		_, err = tx.Exec(t.Context(), row.change)
		must(t, err)
		_, err = tx.Exec(t.Context(), runner.GiveBack, build, row.hash)
		must(t, err)
		var status string
		must(t, tx.QueryRow(t.Context(), "SELECT status FROM casq.builds").Scan(&status))
		must(t, tx.Rollback(t.Context()))
		if status != row.want {
			t.Errorf("%s: it is %s", row.when, status)
		}
	}
	b.exec(runner.GiveBack, build, hash[:])
	if status := b.status(build); status != "pending" {
		t.Errorf("of one that nobody has heard of: it is %s", status)
	}
}

// More requests than may wait are answered at once.
func TestRequestsThatWaitAreLimited(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]runner.Options{"of a runner": {MostOfRunner: 1}, "in all": {MostWaiting: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var entered atomic.Int32
			in := make(chan struct{}, 10)
			options.Hold = 3 * time.Second
			options.Hook = func(point string) {
				if point == "entered" {
					entered.Add(1)
					in <- struct{}{}
				}
			}
			b := newBench(t, options)
			one := b.runner()
			two := one
			if name == "in all" {
				two = b.runner()
			}
			waits := b.c.Ask(t.Context(), one, "")
			<-in
			if a := b.request(two, ""); a.Status != http.StatusNoContent {
				t.Errorf("got %s", a)
			}
			if n := entered.Load(); n != 1 {
				t.Errorf("%d requests wait, one may", n)
			}
			<-waits
		})
	}
}
