package worker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/testdb"

	"github.com/google/uuid"
)

func TestLogWatch(t *testing.T) {
	t.Parallel()
	first, second := uuid.New(), uuid.New()
	var l sight
	long := func() { l.moved = time.Now().Add(-eventlog.StaleAfter) }
	for _, step := range []struct {
		what   string
		before func()
		tick   uuid.UUID
		err    error
		want   string
	}{
		{"at the start nothing is known", nil, uuid.Nil, nil, ""},
		{"no tick was ever taken", long, uuid.Nil, nil, "no new tick"},
		{"the first tick", nil, first, nil, ""},
		{"the same one, for a while", nil, first, nil, ""},
		{"the same one, for too long", long, first, nil, "no worker takes ticks"},
		{"and the source is away", nil, first, errors.New("refused"), "has not answered for 30s: refused"},
		{"another one", nil, second, nil, ""},
		{"the source is away for a moment", nil, uuid.Nil, errors.New("refused"), ""},
		{"and there again", nil, second, nil, ""},
	} {
		if step.before != nil {
			step.before()
		}
		if got := l.observe(shown{Nonce: step.tick}, step.err, time.Now()); !strings.Contains(got, step.want) || (got == "") != (step.want == "") {
			t.Errorf("%s: got %q, want %q", step.what, got, step.want)
		}
	}
}

// A log of another cluster, as after a dump was restored: no tick can be taken,
// the worker is not ready, and says what to run.
func TestATickerThatCannotTakeTicksIsNotReady(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	pool := db.Pool(t)
	w := &worker{
		cfg: Config{HomeURL: db.URL}.withDefaults(), log: slog.New(slog.DiscardHandler), home: pool, roles: newRoles(),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { w.tick(ctx) })
	t.Cleanup(func() { cancel(); group.Wait() })
	ticker := func() roleState { state, _ := w.roles.snapshot(); return state["ticker"] }
	until(t, "a ticker that is ready, and a tick", func() bool {
		var ticks int
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.ticks").Scan(&ticks)
		return err == nil && ticks > 0 && ticker().Ready
	})
	if _, err := pool.Exec(t.Context(), "UPDATE casq.ticks SET snapshot = '4000000000:4000000000:'"); err != nil {
		t.Fatal(err)
	}
	until(t, "one that is not", func() bool { return !ticker().Ready })
	if _, waiting := w.roles.snapshot(); waiting == "" || !strings.Contains(ticker().Error, "casq.adopt_log()") {
		t.Errorf("got %+v", ticker())
	}
}
