package reads

import (
	"context"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/replica"

	"github.com/jackc/pgx/v5"
)

// TestR120PageBoundary: the last record fills its page, so that the insert position
// stands behind the next page's header, and then nothing more is written. A standby that
// has replayed everything stands at the page's start, and is used at once.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR120PageBoundary(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	r.naiveWrite(t, "a", "new")
	db := r.open(t, replica.Options{Wait: time.Minute})
	// Others write too: a snapshot of what is running, now and then.
	for attempt := range 20 {
		at := r.fillPage(t)
		s := db.Session()
		must(t, s.Wrote(t.Context()))
		need, err := replica.ParseToken(s.Token(t.Context()))
		must(t, err)
		if at%page != shortHeader || need.LSN%page != 0 {
			continue // Something was written in between.
		}
		replicatest.Until(t, "the standbys have everything", func() error {
			for i := range r.standby {
				if err := before(r.replayed(t, i), at-shortHeader); err != nil {
					return err
				}
			}
			return nil
		})
		t.Run("twin/the position as it is", func(t *testing.T) {
			if replayed := r.replayed(t, 0); replayed >= at {
				t.Errorf("the standby, at %d, has reached %d", replayed, at)
			}
		})
		t.Run("ours", func(t *testing.T) {
			if choice := wantBody(t, s, "a", "new"); !choice.Reason.Standby() {
				t.Errorf("chose %s", choice)
			}
		})
		if t.Failed() {
			t.Logf("attempt %d", attempt)
		}
		return
	}
	t.Fatal("no record filled its page in 20 attempts")
}

const page, shortHeader = 8192, 24

// fillPage writes records until one ends where its page does.
func (r *replicaSite) fillPage(t *testing.T) (at lsn) {
	t.Helper()
	// The transaction has no id, and writes nothing when it ends.
	must(t, pgx.BeginFunc(t.Context(), r.Primary, func(tx pgx.Tx) error {
		emit := func(bytes lsn) error {
			var ended lsn
			err := tx.QueryRow(t.Context(), "SELECT pg_wal_lsn_diff(pg_logical_emit_message(false, '', repeat('x', $1::int)), '0/0')::bigint", int64(bytes)).Scan(&ended)
			at = ended
			return err
		}
		if err := emit(1000); err != nil {
			return err
		}
		for range 3 {
			before, err := insertPosition(t.Context(), tx)
			if err != nil {
				return err
			}
			if err := emit(1000); err != nil {
				return err
			}
			after, err := insertPosition(t.Context(), tx)
			if err != nil {
				return err
			}
			if before/page != after/page {
				continue // A header lies between.
			}
			overhead := after - before - 1000
			left := page - after%page
			if left <= overhead+256 {
				continue
			}
			if err := emit(left - overhead); err != nil {
				return err
			}
			break
		}
		var err error
		at, err = insertPosition(t.Context(), tx)
		return err
	}))
	return at
}

func insertPosition(ctx context.Context, tx pgx.Tx) (at lsn, err error) {
	err = tx.QueryRow(ctx, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").Scan(&at)
	return at, err
}
