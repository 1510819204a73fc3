package counter

import (
	"maps"
	"testing"
)

func TestCount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "INSERT INTO artifacts SELECT n, n % 7, n * 10 FROM generate_series(1, 100) AS n")
	b.feed(t)
	for scope, want := range b.real(t) {
		if got := b.live(t, scope); got != want {
			t.Errorf("scope %s: live %v, want %v", scope, got, want)
		}
	}
	if got := b.flushedValues(t); len(got) > 0 {
		t.Errorf("flushed before a flush: %v", got)
	}
	b.flush(t)
	if got, want := b.flushedValues(t), b.real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
	b.exec(t, "DELETE FROM artifacts WHERE id % 3 = 0")
	b.exec(t, "UPDATE artifacts SET size = size + 1, project = project + 1 WHERE id % 3 = 1")
	b.feed(t)
	for scope, want := range b.real(t) {
		if got := b.live(t, scope); got != want {
			t.Errorf("scope %s: live %v, want %v", scope, got, want)
		}
	}
	b.flush(t)
	b.flush(t)
	if got, want := b.flushedValues(t), b.real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
}

func TestRecount(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Request{
		"all":  {Kind: "artifact", All: true},
		"some": {Kind: "artifact", Scopes: []string{"1", "2", "3", "4"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, "INSERT INTO artifacts SELECT n, n % 4 + 1, n * 10 FROM generate_series(1, 100) AS n")
			b.feed(t)
			b.flush(t)
			b.exec(t, "UPDATE casq.counters SET size = 5, items = 7")
			b.exec(t, "INSERT INTO artifacts VALUES (1000, 1, 1)")
			b.recount(t, r)
			b.feed(t)
			b.flush(t)
			if got, want := b.flushedValues(t), b.real(t); !maps.Equal(got, want) {
				t.Errorf("flushed %v, want %v", got, want)
			}
			var done, open int
			err := b.pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE finished_at IS NULL)
				FROM casq.refreshes`).Scan(&done, &open)
			if err != nil || open != 0 || done < 4 {
				t.Errorf("%d done, %d open, %v", done, open, err)
			}
		})
	}
}

// Without Redis everything goes to Postgres; when it is back, it goes on from
// there.
func TestWithoutRedis(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, "INSERT INTO artifacts SELECT n, n % 4, 10 FROM generate_series(1, 20) AS n")
	b.feed(t)
	b.exec(t, "INSERT INTO artifacts SELECT n, n % 4, 10 FROM generate_series(21, 40) AS n")
	b.tick(t)
	b.feedFrom(t, false)
	if got, want := b.flushedValues(t), b.real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, want %v", got, want)
	}
	b.exec(t, "DELETE FROM artifacts WHERE id < 30")
	b.feed(t)
	for scope, want := range b.real(t) {
		if got := b.live(t, scope); got != want {
			t.Errorf("scope %s: live %v, want %v", scope, got, want)
		}
	}
}
