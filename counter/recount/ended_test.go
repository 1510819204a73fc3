package recount

import (
	"context"
	"errors"
	"maps"
	"testing"

	"casq/internal/database"
	"casq/internal/testing/faultproxy"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ending is a recount whose run is disturbed when it has summed everything up, on
// the first of two hosts. Whatever is summed up after that has one artifact more,
// in the scope 1, and the scope 2 has none any more.
type ending struct {
	*testBundle
	network *faultproxy.Network
	summed  int // runs
}

// newEnding has its first host, and with home the other one, behind a network that
// loses what it is told to when the sums are there.
func newEnding(t *testing.T, home bool, disturb func(e *ending)) *ending {
	t.Helper()
	e := &ending{network: faultproxy.New()}
	e.testBundle = setup(t, func(c *settings) {
		c.Hook = func(point string) {
			switch point {
			case "scan:snapshot":
				if e.summed == 1 {
					t.Error("it is scanned again")
				}
			case "scan:summed":
				e.summed++
				if e.summed > 1 {
					return
				}
				e.Exec(t, "INSERT INTO artifacts VALUES (1000, 1, 100)")
				e.Exec(t, "DELETE FROM artifacts WHERE project = 2")
				e.Tick(t)
				disturb(e)
			}
		}
	})
	first, err := database.Open(t.Context(), e.URL, database.Options{Application: "first host"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	if home {
		e.cfg.Home = e.network.Pool(t, e.URL)
	} else {
		first = e.network.Pool(t, e.URL)
	}
	e.cfg.Standbys = []*pgxpool.Pool{first}
	e.Exec(t, "INSERT INTO artifacts SELECT n, 1 + n % 3, n FROM generate_series(1, 50) AS n")
	e.Feed(t)
	e.FlushAll(t)
	e.Exec(t, "UPDATE casq.counters SET size = size + 7, items = items + 1")
	return e
}

// same carries out what is queued, and compares the counters with the table.
func (e *ending) same(t *testing.T) {
	t.Helper()
	e.work(t)
	e.Feed(t)
	e.FlushAll(t)
	if got, want := e.Flushed(t), e.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
	var done int
	err := e.Pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.scans WHERE finished_at IS NOT NULL AND scanned_rows = 50").Scan(&done)
	if err != nil || done != 1 {
		t.Errorf("%d scans are done and have seen 50 rows, %v", done, err)
	}
}

// A scan has ended, and the run that ended it does not know. No host is scanned
// again: what was found would be replaced, under the position that belongs to it.
func TestAScanThatHasEndedIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]Request{
		"all":  {Kind: "artifact", All: true},
		"list": {Kind: "artifact", Scopes: []string{"1", "2", "3"}},
	} {
		for disturbed, disturb := range map[string]struct {
			home bool
			by   func(t *testing.T, e *ending)
		}{
			"the snapshot's transaction cannot end": {by: func(_ *testing.T, e *ending) { e.network.Lose("commit") }},
			"the answer to its end is lost":         {by: func(_ *testing.T, e *ending) { e.network.LoseAnswer("commit") }},
			"home's answer is lost":                 {home: true, by: func(_ *testing.T, e *ending) { e.network.LoseAnswer("commit") }},
			"home does not hear of it":              {home: true, by: func(_ *testing.T, e *ending) { e.network.Lose("commit") }},
			"the host ends the session": {home: true, by: func(t *testing.T, e *ending) {
				e.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'first host' AND datname = current_database()")
			}},
		} {
			t.Run(name+"/"+disturbed, func(t *testing.T) {
				t.Parallel()
				e := newEnding(t, disturb.home, func(e *ending) { disturb.by(t, e) })
				if _, _, err := e.Refresh(t.Context(), request); err != nil {
					t.Fatal(err)
				}
				e.same(t)
			})
		}
	}
}

// Each statement of a run asks by itself whether the scan has ended: a run that
// comes so late that it has the token still, in whatever step, changes nothing.
func TestNoStepOfARunChangesAScanThatHasEnded(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]Request{
		"all":  {Kind: "artifact", All: true},
		"list": {Kind: "artifact", Scopes: []string{"1", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Exec(t, "INSERT INTO artifacts VALUES (1, 1, 10), (2, 2, 20)")
			b.Feed(t)
			b.FlushAll(t)
			scan, _, err := b.Refresh(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			s, err := b.startScan(t.Context(), scan, 1, b.process)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.run(t.Context(), b.Pool); err != nil {
				t.Fatal(err)
			}
			late := seen{host: "late"}
			for step, try := range map[string]func() error{
				"forget": func() error { return s.forget(t.Context()) },
				"store": func() error {
					return s.store(t.Context(), &found{scopes: []string{"1"}, sizes: []string{"77"}, items: []int64{7}})
				},
				"end":    func() error { return s.end(t.Context(), late) },
				"divide": func() error { return s.divide(context.WithoutCancel(t.Context())) },
				"run":    func() error { return s.run(t.Context(), b.Pool) },
			} {
				if err := try(); !errors.Is(err, ErrSuperseded) {
					t.Errorf("%s: %v, want %v", step, err, ErrSuperseded)
				}
			}
			b.Exec(t, "UPDATE casq.counters SET size = 1, items = 1")
			b.work(t)
			if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
				t.Errorf("flushed %v, the table has %v", got, want)
			}
		})
	}
}
