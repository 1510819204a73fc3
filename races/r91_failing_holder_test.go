package races

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/lease"

	"github.com/jackc/pgx/v5"
)

// TestR91FailingHolder: the holder's batch ends in an error, in a panic, or only
// its database connection is cut; its process, and its lease, live on. A holder
// that keeps its lease tries again for ever, while another could do better. It
// has to give the lease back, and another has to apply the batch within 2 s.
func TestR91FailingHolder(t *testing.T) {
	t.Parallel()
	t.Run("twin/keeps the lease", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		held, err := lease.New(lease.Config{Client: s.client}).Obtain(t.Context(), "race", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = held.Release(context.Background()) }()
		for range 3 {
			_ = (failing{}).Apply(t.Context(), nil, eventlog.Batch{}) // and tries again
			_, err := lease.New(lease.Config{Client: s.client}).Obtain(t.Context(), "race", slog.New(slog.DiscardHandler))
			if !errors.Is(err, lease.ErrHeld) {
				t.Errorf("another was given %v; it should be denied", err)
			}
		}
	})
	t.Run("ours/error", func(t *testing.T) {
		t.Parallel()
		playR91(t, failing{}, "")
	})
	t.Run("ours/panic", func(t *testing.T) {
		t.Parallel()
		playR91(t, failing{panics: true}, "")
	})
	t.Run("ours/connection cut", func(t *testing.T) {
		t.Parallel()
		playR91(t, applier{}, "SELECT pg_terminate_backend(backend_pid) FROM casq.cursors")
	})
}

// failing is a consumer that cannot apply anything.
type failing struct{ panics bool }

func (f failing) Apply(context.Context, pgx.Tx, eventlog.Batch) error {
	if f.panics {
		panic("as told")
	}
	return errors.New("fail as told")
}

func playR91(t *testing.T, consumer interface {
	Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error
}, cut string) {
	t.Helper()
	s := newLeaseSite(t)
	s.tick(t)
	obtained, began := make(chan struct{}), make(chan time.Time, 1)
	bad := s.leased(t, longLease)
	bad.Consumer, bad.Wait = consumer, 0
	bad.Logger = slog.New(onMessage{slog.DiscardHandler, "lease obtained, fetching events", func() {
		select {
		case <-obtained:
		default:
			close(obtained)
		}
	}})
	bad.Hook = func(point string) {
		if point != "batch:entered" {
			return
		}
		select {
		case began <- time.Now():
			if cut != "" {
				_, _ = s.pool.Exec(context.WithoutCancel(t.Context()), cut)
			}
		default: // only the first time
		}
	}
	follow(t, bad)
	<-obtained
	good := s.leased(t, longLease)
	good.Wait = 0
	follow(t, good)
	s.put(t, "a", "b")
	s.wantApplied(t, "a", "b")
	took := time.Since(<-began).Round(time.Millisecond)
	t.Logf("applied %v after the holder failed, with a lease of %v", took, longLease)
	if took > 2*time.Second+busy {
		t.Errorf("it took %v, want 2 s", took)
	}
}

// onMessage calls a function when something is logged.
type onMessage struct {
	slog.Handler
	message string
	call    func()
}

func (o onMessage) Enabled(context.Context, slog.Level) bool { return true }

func (o onMessage) WithAttrs([]slog.Attr) slog.Handler { return o }

func (o onMessage) Handle(_ context.Context, r slog.Record) error {
	if r.Message == o.message {
		o.call()
	}
	return nil
}
