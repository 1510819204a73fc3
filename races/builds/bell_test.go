package builds

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// bell is the common way to wait for builds: a request that finds none waits in a list of
// its process, and whoever has committed a build wakes the first of the list.
type bell struct {
	pool *pgxpool.Pool
	in   chan struct{} // a request waits
	hold time.Duration // for so long, at most

	mu      sync.Mutex
	waiting []chan struct{}
}

func newBell(pool *pgxpool.Pool) *bell {
	return &bell{pool: pool, in: make(chan struct{}, 10), hold: time.Second}
}

// ring wakes the request that has waited longest.
func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 {
		close(b.waiting[0])
		b.waiting = b.waiting[1:]
	}
}

// request is one of a runner in the background: a build, or 0 when it has waited in vain.
func (b *bell) request(ctx context.Context, t testing.TB) <-chan int64 {
	t.Helper()
	got := make(chan int64, 1)
	go func() {
		defer close(got)
		ctx, cancel := context.WithTimeout(ctx, b.hold)
		defer cancel()
		if build := b.take(ctx, t); build != 0 {
			got <- build
			return
		}
		wake := make(chan struct{})
		b.mu.Lock()
		b.waiting = append(b.waiting, wake)
		b.mu.Unlock()
		b.in <- struct{}{}
		select {
		case <-wake:
			got <- b.take(ctx, t)
		case <-ctx.Done():
		}
	}()
	return got
}

// take hands out the first build, unless a runner is paused: there is one.
func (b *bell) take(ctx context.Context, t testing.TB) (build int64) {
	t.Helper()
	err := b.pool.QueryRow(ctx, `UPDATE casq.builds SET status = 'running', attempt = attempt + 1,
			token_hash = sha256(id::text::bytea), assigned_at = now(), start_by = now() + interval '2 minutes'
		WHERE id = (`+nextSQL+`) AND NOT EXISTS (SELECT FROM casq.runners WHERE paused) RETURNING id`).Scan(&build)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) && ctx.Err() == nil {
		t.Error(err)
	}
	return build
}

// lost asserts that a request got nothing, though a build waits for it.
func (b *bell) lost(t testing.TB, got <-chan int64) {
	t.Helper()
	if build := <-got; build != 0 || !one[bool](t, b.pool, waitsSQL) {
		t.Errorf("it got build %d: the twin does not lose", build)
	}
}
