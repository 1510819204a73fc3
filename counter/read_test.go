package counter_test

import (
	"maps"
	"testing"

	"casq/counter/internal/countertest"
	"casq/internal/testing/long"
)

func TestCount(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := countertest.New(t)
	b.Exec(t, "INSERT INTO artifacts SELECT n, n % 7, n * 10 FROM generate_series(1, 100) AS n")
	b.Feed(t)
	for scope, want := range b.Real(t) {
		if got := b.Live(t, scope); got != want {
			t.Errorf("scope %s: live %v, want %v", scope, got, want)
		}
	}
	if got := b.Flushed(t); len(got) > 0 {
		t.Errorf("flushed before a flush: %v", got)
	}
	b.FlushAll(t)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
	b.Exec(t, "DELETE FROM artifacts WHERE id % 3 = 0")
	b.Exec(t, "UPDATE artifacts SET size = size + 1, project = project + 1 WHERE id % 3 = 1")
	b.Feed(t)
	for scope, want := range b.Real(t) {
		if got := b.Live(t, scope); got != want {
			t.Errorf("scope %s: live %v, want %v", scope, got, want)
		}
	}
	b.FlushAll(t)
	b.FlushAll(t)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}
