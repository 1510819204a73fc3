// Package await waits for what other goroutines and processes do, and fails a test
// for which that takes too long.
package await

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const pollEvery = 5 * time.Millisecond

// Nil polls until met returns nil. What it returned last is told when that does not
// happen in time.
func Nil(t testing.TB, within time.Duration, what string, met func() error) {
	t.Helper()
	deadline, poll := time.NewTimer(within), time.NewTicker(pollEvery)
	defer deadline.Stop()
	defer poll.Stop()
	for {
		err := met()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("waited for %s until %s: %v", within, what, err)
			return
		}
	}
}

var errNotYet = errors.New("not yet")

// True polls until met returns true.
func True(t testing.TB, within time.Duration, what string, met func() bool) {
	t.Helper()
	Nil(t, within, what, func() error {
		if met() {
			return nil
		}
		return errNotYet
	})
}

// Row polls until a query returns true.
func Row(t testing.TB, within time.Duration, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, query string,
) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	True(t, within, query, func() (met bool) {
		if err := db.QueryRow(ctx, query).Scan(&met); err != nil {
			t.Fatalf("wait until %s: %v", query, err)
		}
		return met
	})
}

// Value receives from a channel.
func Value[T any](t testing.TB, within time.Duration, what string, from <-chan T) T {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case v := <-from:
		return v
	case <-timer.C:
		t.Fatalf("waited for %s: %s", within, what)
		panic("unreachable")
	}
}
