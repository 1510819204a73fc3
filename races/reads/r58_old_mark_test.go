package reads

import (
	"cmp"
	"errors"
	"fmt"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// undecided returns an error while an object has a mark.
func undecided(t *testing.T, store replica.Store, id string) error {
	t.Helper()
	known, err := store.Read(t.Context(), []replica.Object{document(id)})
	must(t, err)
	if n := len(known.Writing); n > 0 {
		return fmt.Errorf("%s has %d marks", id, n)
	}
	return nil
}

// TestR58OldMark: processes are killed between commit and merge, and the primary fails
// over. The transaction id of a mark of before it lies there in the future, or is that of
// a stranger who committed. Of a mark of after it, the id is on the old primary that of a
// stranger who rolled back, and a process that has not heard of the failover asks there.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR58OldMark(t *testing.T) {
	t.Parallel()
	p := newPositionsSite(t)
	p.naiveWrite(t, "b", "old")
	p.CatchUp(t)
	for _, i := range []int{1, 0} { // The one that is to follow has no more than the other.
		must(t, p.Cluster.Standbys[i].CutOff(t.Context()))
	}
	killWriter(t, p.dyingWriter(afterCommit, "lost"))
	strangers(t, p.Primary)
	other := p.dyingWriter(afterCommit, "lost")
	other.ID = "b"
	killWriter(t, other)
	stranger, future := p.marked(t, "a").XID, p.marked(t, "b").XID
	must(t, p.Cluster.Standbys[0].Promote(t.Context()))
	must(t, p.Cluster.Standbys[1].Follow(t.Context(), p.Cluster.Standbys[0]))
	promoted := testdb.Pool(t, p.Cluster.StandbyURL(0))
	db, err := replica.New(t.Context(), promoted, replica.Options{Standbys: replica.URLs(p.URLs(1)...), Store: p.store, Wait: -1})
	must(t, err)
	t.Cleanup(db.Close)
	open := func(id string) func() *replica.Session {
		return func() *replica.Session { return db.Session(document(id)) }
	}
	must(t, p.Cluster.Standbys[1].WaitReplayed(t.Context(), p.Cluster.Standbys[0]))
	p.Pause(t, 1)
	// Past the store, so that nothing but the decision keeps the readers from the late one.
	for _, id := range []string{"a", "b"} {
		_, err := promoted.Exec(t.Context(), upsert, id, "new")
		must(t, err)
	}

	t.Run("twin/the id alone is asked about", func(t *testing.T) {
		if got, err := status(t, promoted, stranger); err != nil || got != "committed" {
			t.Errorf("the stranger's transaction is %q: %v", got, err)
		}
		if got := body(t, promoted, "a"); got == "lost" {
			t.Error("what the status tells of is there")
		}
		if got, err := status(t, promoted, future); err == nil {
			t.Errorf("a transaction of the future is %q: the mark can be decided", got)
		}
	})
	t.Run("ours/the new primary is asked", func(t *testing.T) {
		for _, id := range []string{"a", "b"} {
			decided(t, open(id), p.store, id, "new")
		}
		p.Resume(t, 1)
		for _, id := range []string{"a", "b"} {
			standbyAgain(t, open(id), id, "new")
		}
	})

	p.Pause(t, 1)
	after := p.dyingWriter(afterCommit, "newest")
	after.URL = p.Cluster.StandbyURL(0)
	killWriter(t, after)
	mark := p.marked(t, "a")

	t.Run("twin/the id alone is asked about, on the old primary", func(t *testing.T) {
		if got, err := status(t, p.Primary, mark.XID); err != nil || got != "aborted" {
			t.Errorf("the stranger's transaction is %q: %v", got, err)
		}
		// So the mark is removed without a position.
		p.wantStaleTwin(t, 1, "newest")
	})
	t.Run("ours/the old primary is asked", func(t *testing.T) {
		replicatest.Until(t, "the mark is old enough to be decided", func() error {
			if age := p.marked(t, "a").Age; age < oldMark {
				return fmt.Errorf("it is %s old", age)
			}
			return nil
		})
		for range 3 {
			wantPrimary(t, wantBody(t, p.session(), "a", "lost")) // Its primary's truth.
		}
		p.marked(t, "a")
		decided(t, open("a"), p.store, "a", "newest")
		p.Resume(t, 1)
		standbyAgain(t, open("a"), "a", "newest")
	})
}

// marked returns the one mark of an object.
func (p *positionsSite) marked(t *testing.T, id string) replica.Mark {
	t.Helper()
	known, err := p.store.Read(t.Context(), []replica.Object{document(id)})
	must(t, err)
	if len(known.Writing) != 1 {
		t.Fatalf("%s has %d marks, want one", id, len(known.Writing))
	}
	return known.Writing[0]
}

// oldMark is the age from which readers decide a mark.
const oldMark = time.Second

func status(t *testing.T, db *pgxpool.Pool, xid uint64) (status string, err error) {
	t.Helper()
	err = db.QueryRow(t.Context(), "SELECT pg_xact_status($1::text::xid8)", fmt.Sprint(xid)).Scan(&status)
	return status, err
}

// strangers have a server give out transaction ids to transactions that are rolled back.
func strangers(t *testing.T, db *pgxpool.Pool) {
	t.Helper()
	rollback := errors.New("roll back")
	for range 30 {
		err := pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SELECT pg_current_xact_id()")
			return cmp.Or(err, rollback)
		})
		if !errors.Is(err, rollback) {
			t.Fatal(err)
		}
	}
}
