package races

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"casq/internal/testing/replicatest"
	"casq/replica"

	"github.com/jackc/pgx/v5"
)

// undecided returns an error while "a" has a mark.
func undecided(t *testing.T, store replica.Store) error {
	t.Helper()
	known, err := store.Read(t.Context(), []replica.Object{document("a")})
	must(t, err)
	if n := len(known.Writing); n > 0 {
		return fmt.Errorf("it has %d marks", n)
	}
	return nil
}

// TestR58OldMark: a process dies between commit and merge; then the primary fails
// over. There the transaction id of its mark is a stranger's, who rolled back, or
// lies in the future.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR58OldMark(t *testing.T) {
	t.Parallel()
	p := newPositionsSite(t)
	p.Pause(t)
	present := p.write(t, "new").Timeline
	stranger, future := p.abortedID(t), uint64(1)<<40
	status := func(id uint64) (status string, err error) {
		err = p.Primary.QueryRow(t.Context(), "SELECT pg_xact_status($1::text::xid8)", fmt.Sprint(id)).Scan(&status)
		return status, err
	}

	t.Run("twin/the id alone is asked about", func(t *testing.T) {
		if got, err := status(stranger); err != nil || got != "aborted" {
			t.Errorf("the stranger's transaction is %q: %v", got, err)
		}
		// So the mark is removed without a position.
		p.wantStaleTwin(t, 0, "new")
		if _, err := status(future); err == nil {
			t.Error("there is an answer for a transaction of the future")
		}
	})
	t.Run("ours", func(t *testing.T) {
		objects := []replica.Object{document("a")}
		must(t, p.store.Begin(t.Context(), objects, "stranger", present-1, stranger))
		must(t, p.store.Begin(t.Context(), objects, "future", present, future))
		replicatest.Until(t, "the marks are decided", func() error {
			wantPrimary(t, wantBody(t, p.session(), "a", "new"))
			return undecided(t, p.store)
		})
		wantPrimary(t, wantBody(t, p.session(), "a", "new"))
		p.Resume(t)
		standbyAgain(t, p.session, "a", "new")
	})
}

// abortedID returns the id of a transaction that was rolled back.
func (p *positionsSite) abortedID(t *testing.T) (id uint64) {
	t.Helper()
	rollback := errors.New("roll back")
	err := pgx.BeginFunc(t.Context(), p.Primary, func(tx pgx.Tx) error {
		must(t, tx.QueryRow(context.WithoutCancel(t.Context()), "SELECT pg_current_xact_id()::text::bigint").Scan(&id))
		return rollback
	})
	if !errors.Is(err, rollback) {
		t.Fatal(err)
	}
	return id
}
