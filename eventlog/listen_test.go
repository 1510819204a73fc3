package eventlog_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

// background calls f with a context that ends before the test does, and waits for it.
func background(t *testing.T, f func(ctx context.Context)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// TestDrawnIDsAreSeen: a ticker that polls once an hour takes its tick when an event
// was committed.
func TestDrawnIDsAreSeen(t *testing.T) {
	t.Parallel()
	b := setupLog(t)
	b.poll(t)
	background(t, func(ctx context.Context) {
		(&eventlog.Ticker{Pool: b.pool, Logger: slog.New(slog.DiscardHandler), Interval: time.Hour}).Run(ctx)
	})
	b.write(t, "a")
	b.until(t, "SELECT EXISTS (SELECT FROM casq.ticks WHERE high_id > 0)")
}

// TestListen: ticks are told of, also after the session was ended, and by a standby that
// was promoted meanwhile.
func TestListen(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t, testdb.Standbys(1))
	b := newLog(t, testdb.Pool(t, cluster.URL()))
	standby := &logBundle{testdb.Pool(t, cluster.StandbyURL(0))}
	told, toldStandby := make(chan struct{}), make(chan struct{})
	hear := func(b *logBundle, told chan<- struct{}) {
		background(t, func(ctx context.Context) {
			eventlog.Listen(ctx, b.pool, slog.New(slog.DiscardHandler), func() {
				select {
				case told <- struct{}{}:
				case <-ctx.Done():
				}
			})
		})
	}
	hear(b, told)
	hear(standby, toldStandby)
	heard := func(told <-chan struct{}, what string) {
		t.Helper()
		select {
		case <-told:
		case <-time.After(30 * time.Second):
			t.Fatal("not told: " + what)
		}
	}
	heard(told, "that it is connected")
	b.tick(t)
	heard(told, "a tick")
	b.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN casq_tick'")
	heard(told, "that it is connected again")
	b.tick(t)
	heard(told, "a tick of then")
	select {
	case <-toldStandby:
		t.Error("a standby has told of a tick: there this can be no test of what polls are for")
	default:
	}
	if err := cluster.Standbys[0].Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	heard(toldStandby, "that it is connected to what was a standby")
	standby.tick(t)
	heard(toldStandby, "a tick of what was a standby")
}
