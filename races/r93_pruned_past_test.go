package races

import (
	"strings"
	"testing"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR93PrunedPast: a cursor comes back after the log was pruned past its tick.
// What it has not read cannot be told by the log any more. It has to start over
// at the newest tick, to ask for everything to be compared with the source in
// the same transaction, and to say so; and so does a new cursor on an old log.
// Whoever is half-way through the log while it is pruned must not read a step
// with holes.
func TestR93PrunedPast(t *testing.T) {
	t.Parallel()
	t.Run("twin/goes on from the oldest tick that is left", func(t *testing.T) {
		t.Parallel()
		r := newR93(t)
		away, _ := r.away(t)
		r.prune(t)
		got := resourcesOf(t, r.primary, `SELECT resource_id FROM casq.events
			WHERE NOT pg_visible_in_snapshot(xid, (SELECT snapshot FROM casq.ticks WHERE id >= $1 ORDER BY id LIMIT 1)) ORDER BY id`, away)
		wantResources(t, got) // and never that a was deleted and e is there
	})
	t.Run("twin/events are deleted before ticks", func(t *testing.T) {
		t.Parallel()
		r := newR93(t)
		_, position := r.away(t)
		execute(t, r.primary, `DELETE FROM casq.events WHERE pg_visible_in_snapshot(xid,
			(SELECT snapshot FROM casq.ticks ORDER BY id DESC LIMIT 1))`)
		// A reader comes by, and finds its tick.
		got, _ := readOn(t, r.primary, position, 2)
		wantResources(t, got)
	})
	t.Run("ours/comes back", func(t *testing.T) {
		t.Parallel()
		r := newR93(t)
		home, stop := r.followUntilStopped(t)
		r.until(t, "the log is read", func() bool { return lines(t, home, r94Rows) == "a\nb\nc\nd" })
		stop()
		r.change(t)
		r.prune(t)
		log := r.followAgain(t, home)
		r.until(t, "it starts over", func() bool { return log.Count("log does not continue, went back") > 0 })
		r.wantStartedOver(t, home)
	})
	t.Run("ours/comes for the first time", func(t *testing.T) {
		t.Parallel()
		r := newR93(t)
		r.change(t)
		r.prune(t)
		home, log := r.follow(t)
		r.until(t, "it begins", func() bool {
			return log.Count("log was pruned before the first start, beginning at its newest tick, everything is compared with the source") > 0
		})
		r.wantStartedOver(t, home)
	})
	t.Run("ours/has reported in time", func(t *testing.T) {
		t.Parallel()
		r := newR93(t)
		home, stop := r.followUntilStopped(t)
		r.until(t, "the log is read", func() bool { return lines(t, home, r94Rows) == "a\nb\nc\nd" })
		stop()
		var p eventlog.Position
		if err := home.QueryRow(t.Context(), "SELECT tick, nonce FROM casq.cursors").Scan(&p.Tick, &p.Nonce); err != nil {
			t.Fatal(err)
		}
		if known, err := eventlog.ReportFollower(t.Context(), r.primary, "second", p, eventlog.Left{}); err != nil || !known {
			t.Fatal(known, err)
		}
		r.change(t)
		r.prune(t)
		log := r.followAgain(t, home)
		r.until(t, "the log goes on", func() bool { return lines(t, home, r94Rows) == "b\nc\nd\ne" })
		if asked := lines(t, home, "SELECT reason FROM casq.reconcile_runs"); asked != "" || log.Count("log does not continue, went back") > 0 {
			t.Errorf("asked for a reconcile (%s) though nothing was pruned", asked)
		}
	})
}

type r93 struct{ *r94 }

func newR93(t *testing.T) *r93 { return &r93{newR94Alone(t)} }

// away reads the log, and returns where it has come to before resources change.
func (r *r93) away(t *testing.T) (tick int64, at eventlog.Position) {
	t.Helper()
	at, err := eventlog.NewReader(r.primary, 0).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, at = readOn(t, r.primary, at, 2)
	r.change(t)
	return at.Tick, at
}

// change is what happens while the cursor is away.
func (r *r93) change(t *testing.T) {
	t.Helper()
	execute(t, r.primary, "DELETE FROM resources WHERE key = 'a'; INSERT INTO resources (key) VALUES ('e')")
	r.tick(t, r.primary)
	r.tick(t, r.primary)
}

// prune prunes as a worker does a month later.
func (r *r93) prune(t *testing.T) {
	t.Helper()
	execute(t, r.primary, "UPDATE casq.ticks SET taken_at = taken_at - interval '30 days'")
	if _, err := eventlog.Prune(t.Context(), r.primary, 7*24*time.Hour, eventlog.Pruning{}); err != nil {
		t.Fatal(err)
	}
}

// wantStartedOver looks at what was asked for, and that the log is followed from
// there.
func (r *r93) wantStartedOver(t *testing.T, home *pgxpool.Pool) {
	t.Helper()
	want := strings.Join(strings.Fields(lines(t, r.primary, "SELECT 'pruned beyond / at 1/' || max(id) FROM casq.ticks")), " ")
	if asked := lines(t, home, "SELECT format('%s beyond %s/%s at %s/%s', reason, beyond_timeline, beyond_tick, at_timeline, at_tick) FROM casq.reconcile_runs"); asked != want {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	execute(t, r.primary, "INSERT INTO resources (key) VALUES ('f')")
	r.tick(t, r.primary)
	r.until(t, "the log goes on", func() bool { return strings.HasSuffix(lines(t, home, r94Rows), "f") })
	r.wantReal(t, home)
}
