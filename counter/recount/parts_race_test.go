package recount

import (
	"context"
	"maps"
	"runtime"
	"testing"

	"casq/counter/internal/countertest"
	"casq/internal/testing/long"

	"github.com/jackc/pgx/v5"
)

// waiting waits until so many transactions wait for locks.
func (s *slow) waiting(t *testing.T, n int) {
	t.Helper()
	for s.count(t, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()") < n {
		runtime.Gosched()
	}
}

// asking is a [Jobs] that calls scan in the transaction that asks for one.
type asking struct {
	Jobs
	scan func()
}

func (a asking) Scan(ctx context.Context, tx pgx.Tx, scan int64) (int64, error) {
	a.scan()
	return a.Jobs.Scan(ctx, tx, scan)
}

// What a scan has stored when it gives up is no recount of a scope.
func TestWhatWasStoredWhenAScanGivesUp(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.whenSlow = func() {
		s.Exec(t, `INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, started_at, finalizing_at, scanned_size, scanned_items)
			SELECT id, kind, '1', $1, 'finalizing', now(), clock_timestamp(), 77, 7 FROM casq.scans WHERE all_scopes`,
			countertest.ShardOf("1", 4))
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	s.same(t)
	if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE state <> 'done'"); n > 0 {
		t.Errorf("%d recounts are not done", n)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE scope_id = '1'"); n != 1 {
		t.Errorf("the scope was counted %d times", n)
	}
}

// A recount in parts ends early in the moment when a part asks for the next one,
// which ends with it.
func TestRecountEndsEarlyBetweenParts(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *slow, refresh, part int64) error{
		"cancelled": func(s *slow, refresh, _ int64) error { return s.Cancel(context.Background(), refresh) },
		"failed": func(s *slow, _, part int64) error {
			return s.Fail(context.Background(), part, context.DeadlineExceeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSlow(t)
			s.wrong(t)
			ended := make(chan error, 1)
			asked := 0
			s.cfg.Jobs = asking{s.queue, func() {
				asked++
				if asked != 4 { // the third part
					return
				}
				refresh := s.count(t, "SELECT id FROM casq.refreshes WHERE scope_id IS NULL")
				part := s.count(t, "SELECT max(id) FROM casq.scans")
				go func() { ended <- end(s, int64(refresh), int64(part)) }()
				s.waiting(t, 1)
			}}
			if _, _, err := s.Refresh(t.Context(), Request{Kind: "artifact", All: true}); err != nil {
				t.Fatal(err)
			}
			for asked < 4 {
				s.step(t)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			s.work(t)
			if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
				t.Errorf("%d scans are not over", n)
			}
			if asked != 4 {
				t.Errorf("it went on, %d scans were asked for", asked)
			}
			s.recount(t, Request{Kind: "artifact", All: true})
			s.same(t)
		})
	}
}

// A part is halved while the recount is cancelled: of the two, one waits.
func TestRecountIsCancelledWhileAPartIsHalved(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	s.between = func(n int) { s.once = n != 7 } // the rest
	slow, cancelled := 0, make(chan error, 1)
	s.whenSlow = func() {
		slow++
		if slow != 2 {
			return
		}
		refresh := s.count(t, "SELECT id FROM casq.refreshes WHERE scope_id IS NULL")
		tx, err := s.Pool.Begin(t.Context())
		if err == nil {
			_, err = tx.Exec(t.Context(), "SELECT FROM casq.scans WHERE id = (SELECT min(id) FROM casq.scans WHERE part = 'table') FOR UPDATE")
		}
		if err != nil {
			t.Error(err)
		}
		go func() { cancelled <- s.Cancel(context.Background(), int64(refresh)) }()
		s.waiting(t, 1)
		go func() {
			s.waiting(t, 2)
			if err := tx.Rollback(context.Background()); err != nil {
				t.Error(err)
			}
		}()
	}
	s.recount(t, Request{Kind: "artifact", All: true})
	if err := <-cancelled; err != nil {
		t.Error(err)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE finished_at IS NULL"); n > 0 {
		t.Errorf("%d scans are not over", n)
	}
}

// A comparison in parts compares all counters, those without rows too, and changes
// nothing: neither their values nor what they are worth.
func TestCompareInParts(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSlow(t)
	s.wrong(t)
	before := s.Texts(t, "SELECT scope_id, size || ' ' || items || ' ' || exact FROM casq.statistics")
	s.recount(t, Request{Kind: "artifact", All: true, Compare: true})
	if n := s.count(t, "SELECT count(*) FROM casq.scans WHERE part = 'table'"); n < 6 {
		t.Fatalf("%d parts of the table, want one for each scope", n)
	}
	if after := s.Texts(t, "SELECT scope_id, size || ' ' || items || ' ' || exact FROM casq.statistics"); !maps.Equal(after, before) {
		t.Errorf("counters were %v, and are %v", before, after)
	}
	if n := s.count(t, "SELECT count(*) FROM casq.refreshes WHERE abs(drift_size) = 1000 AND abs(drift_items) = 10 AND state = 'done'"); n != len(before) {
		t.Errorf("%d of %d counters were found to differ", n, len(before))
	}
}

// The table is tracked anew after the last swap: the recount does not make its kind
// complete, since it does not know what has changed in between.
func TestTrackedAnewBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"in parts", "in one"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSlow(t)
			s.wrong(t)
			s.once = name == "in one"
			hook, swapped := s.cfg.Hook, 0
			s.cfg.Hook = func(point string) {
				hook(point)
				if point != "finalize:swapped" {
					return
				}
				swapped++
				if s.once && swapped == 1 && name == "in one" || swapped == 8 { // six projects, nothing beyond them, the rest
					s.Exec(t, "SELECT casq.untrack('artifacts')")
					s.Exec(t, "UPDATE artifacts SET size = size + 7")
					s.Track(t)
					s.Exec(t, "DELETE FROM casq.scans WHERE job IS NULL") // the recount that would make it so
				}
			}
			s.recount(t, Request{Kind: "artifact", All: true})
			if n := s.count(t, "SELECT count(*) FROM casq.counter_kinds WHERE generation > 1"); n != 1 {
				t.Fatal("it was not tracked anew")
			}
			if n := s.count(t, "SELECT count(*) FROM casq.counter_kinds WHERE complete"); n > 0 {
				t.Error("the kind is complete")
			}
			if n := s.count(t, "SELECT count(*) FROM casq.statistics WHERE exact"); n > 0 {
				t.Errorf("%d counters claim to be exact", n)
			}
			s.recount(t, Request{Kind: "artifact", All: true})
			s.same(t)
		})
	}
}
