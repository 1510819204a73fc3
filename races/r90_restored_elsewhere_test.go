package races

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/testing/logged"
	"casq/internal/testing/servers"
	"casq/internal/testing/testdb"
	"casq/registry"
)

// TestR90RestoredElsewhere: the source is dumped, restored into a new cluster,
// and found under the old address. The dump brings ticks and events with it whose
// transaction ids mean nothing there, and the new cluster begins to count anew:
// ids that were read come again, for other events. The cursor has to refuse, and
// to say what to run; and when that was run, to go on, and to ask for everything
// to be compared.
func TestR90RestoredElsewhere(t *testing.T) {
	t.Parallel()
	t.Run("twin/tick id alone", func(t *testing.T) {
		t.Parallel()
		r := newR90(t)
		at := r.lastTick(t, r.primary)
		r.restore(t)
		r.adopt(t)
		for r.lastTick(t, r.second) <= at {
			r.tick(t, r.second)
		}
		got := resourcesOf(t, r.second, `SELECT resource_id FROM casq.events
			WHERE NOT pg_visible_in_snapshot(xid, (SELECT snapshot FROM casq.ticks WHERE id = $1)) ORDER BY id`, at)
		wantResources(t, got) // and never that a was deleted and e is there
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r := newR90(t)
		home, stop := r.followUntilStopped(t)
		r.until(t, "the log is read", func() bool { return lines(t, home, r94Rows) == "a\nb\nc\nd" })
		stop()
		r.restore(t)
		// refused runs a cursor until it stops by itself.
		refused := func(says ...string) {
			t.Helper()
			err := cursor.New(r.config(t, home, &logged.Messages{})).Run(t.Context())
			if !errors.Is(err, eventlog.ErrForeign) {
				t.Fatalf("follows a restored dump: %v", err)
			}
			for _, command := range says {
				if !strings.Contains(err.Error(), command) {
					t.Errorf("does not say to run %s: %v", command, err)
				}
			}
		}
		refused("casq.adopt_log()", "enqueue cursor reset registry")
		r.adopt(t)
		refused("enqueue cursor reset registry")
		if got := lines(t, home, r94Rows); got != "a\nb\nc\nd" {
			t.Errorf("the registry has changed: %s", got)
		}

		w, err := cursor.StartOver(t.Context(), home, r.address, "registry", &registry.Transposer{})
		if err != nil || w.To.Timeline.Ordinal < 2 {
			t.Fatalf("started over at %v: %v", w.To, err)
		}
		if asked := lines(t, home, "SELECT format('%s beyond %s/%s', reason, beyond_timeline, beyond_tick) FROM casq.reconcile_runs"); asked != "lost beyond /" {
			t.Errorf("asked for %q", asked)
		}
		r.followAgain(t, home)
		execute(t, r.second, "INSERT INTO resources (key) VALUES ('f'); UPDATE resources SET n = 7 WHERE key = 'd'")
		r.tick(t, r.second)
		r.until(t, "the log goes on", func() bool {
			return lines(t, home, "SELECT payload ->> 'n' FROM casq.registry WHERE resource_id IN ('d', 'f') ORDER BY resource_id") == "7\n0"
		})
		r.wantReal(t, home)
	})
}

type r90 struct {
	*r94
	url string
}

func newR90(t *testing.T) *r90 {
	t.Helper()
	r := &r90{&r94{}, testdb.New(t).URL}
	r.prepare(t, testdb.Pool(t, r.url))
	for range 3 {
		r.tick(t, r.primary)
	}
	return r
}

// restore dumps the source, and restores it under its address.
func (r *r90) restore(t *testing.T) {
	t.Helper()
	elsewhere := testdb.NewCluster(t, testdb.OwnIdentity(), testdb.Unmigrated())
	binaries, err := servers.FindPostgres()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dump.sql")
	for _, command := range [][]string{
		{"pg_dump", "--no-owner", "--no-privileges", "--file=" + file, r.url},
		{"psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=" + filepath.Join(t.TempDir(), "out"), "--file=" + file, elsewhere.URL()},
	} {
		out, err := exec.CommandContext(t.Context(), filepath.Join(binaries.Dir, command[0]), command[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command[0], err, out)
		}
	}
	r.second = testdb.Pool(t, elsewhere.URL())
	r.address.Store(r.second)
}

// adopt is what an operator runs there; afterwards the application goes on.
func (r *r90) adopt(t *testing.T) {
	t.Helper()
	execute(t, r.second, "SELECT casq.adopt_log()")
	execute(t, r.second, "DELETE FROM resources WHERE key = 'a'; INSERT INTO resources (key) VALUES ('e')")
	r.tick(t, r.second)
}
