package cursor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/logged"

	"github.com/jackc/pgx/v5"
)

// rewriter is a consumer that makes good for what was lost by writing down what
// it was told.
type rewriter struct {
	writer
	failRewind func() error // may be nil
}

func (r rewriter) Rewound(ctx context.Context, tx pgx.Tx, w eventlog.Rewind) error {
	_, err := tx.Exec(ctx, "INSERT INTO effects (resource, tick) VALUES ($1, $2)",
		fmt.Sprintf("rewound everything=%t incomparable=%t", w.Everything, w.Incomparable), w.To.Tick)
	if err == nil && r.failRewind != nil {
		err = r.failRewind()
	}
	return err
}

const (
	wentBack    = "rewound everything=false incomparable=false"
	startedOver = "rewound everything=true incomparable=false"
	fellOut     = "rewound everything=true incomparable=true"
)

// lose does to the log what a promotion does that has lost all beyond a tick:
// what is gone is gone, the ids are issued again, and a new timeline begins.
func (b *testBundle) lose(t *testing.T, beyond int64) {
	t.Helper()
	b.exec(t, "DELETE FROM casq.events WHERE NOT pg_visible_in_snapshot(xid, (SELECT snapshot FROM casq.ticks WHERE id = $1))", beyond)
	b.exec(t, "DELETE FROM casq.ticks WHERE id > $1", beyond)
	b.exec(t, "UPDATE casq.timelines SET server_timeline = server_timeline - 1")
	b.exec(t, "SELECT setval('casq.events_id_seq', (SELECT high_id + 1 FROM casq.ticks WHERE id = $1), false)", beyond)
	b.tick(t)
}

func wantStopped(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("the cursor stopped by itself: %v", err)
	}
}

func (b *testBundle) newestTick(t *testing.T) (id int64) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT max(id) FROM casq.ticks").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func (b *testBundle) rewinding(t *testing.T) Config {
	t.Helper()
	cfg := b.config(t)
	cfg.Consumer = rewriter{}
	return cfg
}

func TestGoesBackWhenTheSourceHasLostTicks(t *testing.T) {
	t.Parallel()
	for _, page := range []int{100, 2} {
		t.Run(fmt.Sprintf("pages of %d", page), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.write(t, "a", "b")
			kept := b.newestTick(t)
			cfg := b.rewinding(t)
			cfg.PageSize = page
			run(t, cfg)
			b.untilEffects(t, "a", "b")
			b.write(t, "lost1", "lost2", "lost3")
			b.untilEffects(t, "a", "b", "lost1", "lost2", "lost3")
			b.until(t, "SELECT tick > "+fmt.Sprint(kept)+" FROM casq.cursors WHERE to_tick = 0")
			b.lose(t, kept)
			b.write(t, "c") // under the lost one's ids
			b.untilEffects(t, "a", "b", "lost1", "lost2", "lost3", wentBack, "c")
		})
	}
}

// The step that was lost was read in part: it had begun with a tick that is
// left, and what that does not show is read again.
func TestGoesBackOutOfAStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	kept := b.newestTick(t)
	stop := newStop("batch:entered")
	cfg := b.rewinding(t)
	cfg.PageSize = 2
	first := run(t, cfg)
	b.untilEffects(t, "a")
	wantStopped(t, first.stop())
	b.write(t, "b", "c", "lost")
	batches := 0
	cfg.Hook = func(point string) {
		if point == "batch:entered" {
			batches++
			if batches == 2 {
				stop.hook(point)
			}
		}
	}
	second := run(t, cfg)
	stop.await(t)
	second.cancel()
	close(stop.resume)
	wantStopped(t, second.stop())
	b.wantEffects(t, "a", "b", "c")
	b.lose(t, kept)
	b.write(t, "b", "c", "d")
	run(t, b.rewinding(t))
	b.untilEffects(t, "a", "b", "c", wentBack, "b", "c", "d")
}

// Whatever goes wrong on the way back, the position and what the consumer makes
// good come together, once.
func TestGoingBackIsOneTransaction(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		point string // where the session ends; empty: the consumer fails
	}{
		{"the consumer fails", ""},
		{"killed before it", "rewind:found"},
		{"killed before it is made good", "rewind:entered"},
		{"killed before the commit", "rewind:applied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.write(t, "a")
			kept := b.newestTick(t)
			cfg := b.rewinding(t)
			r := run(t, cfg)
			b.write(t, "lost")
			b.untilEffects(t, "a", "lost")
			wantStopped(t, r.stop())
			b.lose(t, kept)
			done := false
			if test.point == "" {
				cfg.Consumer = rewriter{failRewind: func() error {
					if done {
						return nil
					}
					done = true
					return errors.New("not today")
				}}
			}
			cfg.Hook = func(point string) {
				if point == test.point && !done {
					done = true
					b.exec(t, "SELECT pg_terminate_backend(backend_pid) FROM casq.cursors")
				}
			}
			run(t, cfg)
			b.write(t, "c")
			b.untilEffects(t, "a", "lost", wentBack, "c")
			if !done {
				t.Error("nothing went wrong")
			}
		})
	}
}

// Home's own failover takes the epochs back with the positions, and issues them
// again. A cursor of before, which has the same epoch in its memory as the one
// of now, can move nothing from a position that was lost; and where both have
// the same position, only one of them moves it.
func TestEpochsThatAreIssuedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	kept := b.newestTick(t)
	// hold a cursor as of now, without the lock that keeps others away.
	hold := func() *holder {
		c := New(b.rewinding(t))
		conn, err := c.cfg.Home.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h := &holder{Cursor: c, conn: conn}
		t.Cleanup(conn.Release)
		// Nobody ends the session of the one before.
		b.exec(t, "UPDATE casq.cursors SET backend_pid = NULL")
		if ok, err := h.take(t.Context(), anyEpoch); err != nil || !ok {
			t.Fatal(ok, err)
		}
		return h
	}
	step := func(h *holder) error {
		_, err := h.step(t.Context())
		return err
	}
	before := hold()
	if err := step(before); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "CREATE TABLE image AS SELECT * FROM casq.cursors; CREATE TABLE effects_image AS SELECT * FROM effects")
	before = hold()
	idle := hold()
	idle.epoch = before.epoch // the same epoch and position, and nothing moved yet
	b.write(t, "lost")
	if err := step(before); err == nil {
		t.Fatal("an epoch that is over has moved the cursor")
	}
	before.epoch++
	if err := step(before); err != nil {
		t.Fatal(err)
	}
	b.wantEffects(t, "a", "lost")

	// Home as it was.
	b.exec(t, "DELETE FROM casq.cursors; INSERT INTO casq.cursors SELECT * FROM image")
	b.exec(t, "DELETE FROM effects WHERE resource = 'lost'")
	b.lose(t, kept)
	now := hold()
	for now.epoch < before.epoch {
		now = hold()
	}
	if now.epoch != before.epoch {
		t.Fatalf("epoch %d is not issued again, but %d", before.epoch, now.epoch)
	}
	b.write(t, "c")
	batch := eventlog.Batch{Next: before.stored}
	batch.Next.Tick++
	if err := before.apply(t.Context(), batch); !errors.Is(err, ErrFenced) {
		t.Errorf("a lost position was moved: %v", err)
	}
	if err := before.diverged(t.Context(), eventlog.ErrLost); !errors.Is(err, ErrFenced) {
		t.Errorf("went back from a lost position: %v", err)
	}
	// Two of one epoch and one position.
	idle.epoch = now.epoch
	if idle.stored != now.stored {
		t.Fatalf("positions %v and %v are not the same", idle.stored, now.stored)
	}
	if err := step(now); err != nil {
		t.Fatal(err)
	}
	if err := step(idle); !errors.Is(err, ErrFenced) {
		t.Errorf("the second has moved the cursor, too: %v", err)
	}
	b.wantEffects(t, "a", "c")
}

func TestStartsOverWhenItsTickWasPruned(t *testing.T) {
	t.Parallel()
	b := setup(t)
	log := &logged.Messages{}
	cfg := b.rewinding(t)
	r := run(t, cfg)
	b.write(t, "a")
	b.untilEffects(t, "a")
	wantStopped(t, r.stop())
	b.write(t, "b")
	b.write(t, "c")
	b.exec(t, "DELETE FROM casq.ticks WHERE id < (SELECT max(id) FROM casq.ticks); DELETE FROM casq.events")
	cfg.Logger = slog.New(log)
	run(t, cfg)
	b.untilEffects(t, "a", startedOver)
	untilLogged(t, log, "log does not continue, went back", 1)
	b.write(t, "d")
	b.untilEffects(t, "a", startedOver, "d")
}

// Two at once, and one after them.
func TestFirstStartOnAPrunedLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	b.write(t, "b")
	b.exec(t, "DELETE FROM casq.ticks WHERE id < (SELECT max(id) FROM casq.ticks); DELETE FROM casq.events")
	first, second := run(t, b.rewinding(t)), run(t, b.rewinding(t))
	b.untilEffects(t, startedOver)
	b.write(t, "c")
	b.untilEffects(t, startedOver, "c")
	wantStopped(t, first.stop())
	wantStopped(t, second.stop())
	run(t, b.rewinding(t))
	b.write(t, "d")
	b.untilEffects(t, startedOver, "c", "d")
}

// A consumer that cannot make good does not pretend to.
func TestStopsWhenTheConsumerCannotGoBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	b.write(t, "b")
	b.exec(t, "DELETE FROM casq.ticks WHERE id < (SELECT max(id) FROM casq.ticks)")
	if err := run(t, b.config(t)).wait(t); !errors.Is(err, eventlog.ErrPruned) {
		t.Errorf("first start on a pruned log: %v", err)
	}
}

func TestStartOver(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		to   string // SQL
		want string
	}{
		{"same log", "SELECT", startedOver},
		{"another system", "UPDATE casq.cursors SET system_identifier = 1", fellOut},
		{"another timeline of this number", "UPDATE casq.timelines SET id = gen_random_uuid()", fellOut},
		{"set back", "DELETE FROM casq.events; DELETE FROM casq.ticks WHERE id > 1", fellOut},
		{"adopted", "SELECT casq.adopt_log()", fellOut},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			cfg := b.rewinding(t)
			r := run(t, cfg)
			b.tick(t)
			b.write(t, "a")
			b.untilEffects(t, "a")
			wantStopped(t, r.stop())
			b.exec(t, test.to)
			if test.name == "adopted" {
				if _, err := StartOver(t.Context(), cfg.Home, cfg.Source, cfg.Name, rewriter{}); !errors.Is(err, eventlog.ErrNoTicks) {
					t.Errorf("without a tick: %v", err)
				}
			}
			if test.name != "set back" {
				b.tick(t)
			}
			w, err := StartOver(t.Context(), cfg.Home, cfg.Source, cfg.Name, rewriter{})
			if err != nil || w.To.Tick != b.newestTick(t) {
				t.Fatalf("%+v, %v", w, err)
			}
			b.wantEffects(t, "a", test.want)
			run(t, cfg)
			b.write(t, "c")
			b.untilEffects(t, "a", test.want, "c")
		})
	}
}

// The active cursor goes on from where it was put.
func TestStartOverFencesTheActiveCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cfg := b.rewinding(t)
	stop := newStop("batch:read")
	cfg.Hook = func(point string) {
		var applied bool
		if err := b.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM effects)").Scan(&applied); err == nil && applied {
			stop.hook(point)
		}
	}
	run(t, cfg)
	b.write(t, "a")
	b.untilEffects(t, "a")
	b.write(t, "skipped")
	stop.await(t)
	if _, err := StartOver(t.Context(), cfg.Home, cfg.Source, cfg.Name, rewriter{}); err != nil {
		t.Fatal(err)
	}
	close(stop.resume)
	b.write(t, "c")
	b.untilEffects(t, "a", startedOver, "c")
}

// A cursor that never ran is put there, too.
func TestStartOverBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cfg := b.rewinding(t)
	b.write(t, "a")
	if _, err := StartOver(t.Context(), cfg.Home, cfg.Source, cfg.Name, rewriter{}); err != nil {
		t.Fatal(err)
	}
	run(t, cfg)
	b.write(t, "b")
	b.untilEffects(t, startedOver, "b")
}
