package sqldb_test

import (
	"context"
	"database/sql"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/replica"
)

// body reads document a, and tells the choice of its session.
func (s *site) body(t *testing.T, session *replica.Session) string {
	t.Helper()
	var body string
	must(t, s.db.QueryRowContext(replica.NewContext(t.Context(), session), "SELECT body FROM documents WHERE id = $1", "a").Scan(&body))
	return body
}

func wantReason(t *testing.T, session *replica.Session, want replica.Reason) {
	t.Helper()
	if got := replicatest.Last(t, session); got.Reason != want {
		t.Errorf("chose %s, want: %s", got, want)
	}
}

func TestASessionReadsWhatItWrote(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	s.Pause(t)
	session, other := s.replicas.Session(), s.replicas.Session()
	ctx := replica.NewContext(t.Context(), session)
	result, err := s.db.ExecContext(ctx, "UPDATE documents SET body = $1", "new")
	must(t, err)
	if n, err := result.RowsAffected(); n != 1 || err != nil {
		t.Errorf("%d rows affected (%v), want 1", n, err)
	}
	if got := s.body(t, session); got != "new" {
		t.Errorf("the writer reads %q", got)
	}
	wantReason(t, session, replica.AfterWrite)
	if got := s.body(t, other); got != "old" {
		t.Errorf("another session reads %q from the paused standby, want old", got)
	}
	wantReason(t, other, replica.NothingWatched)
	if got := s.body(t, nil); got != "new" {
		t.Errorf("without a session: %q, want the primary's", got)
	}
	s.Resume(t)
}

// TestWritesWithRowsRunOnce comes through Query, as the ORMs have it.
func TestWritesWithRowsRunOnce(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	session := s.replicas.Session()
	ctx := replica.NewContext(t.Context(), session)
	for _, id := range []string{"b", "c"} {
		var got string
		must(t, s.db.QueryRowContext(ctx, "INSERT INTO documents VALUES ($1, 'x') RETURNING id", id).Scan(&got))
		if got != id {
			t.Errorf("updateed %q, want %q", got, id)
		}
	}
	var n int
	must(t, s.db.QueryRowContext(ctx, "SELECT count(*) FROM documents").Scan(&n))
	if n != 3 {
		t.Errorf("%d documents, want 3\n%s", n, session.Explain())
	}
}

func TestTransactions(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	s.Pause(t)
	session := s.replicas.Session()
	ctx := replica.NewContext(t.Context(), session)
	tx, err := s.db.BeginTx(ctx, nil)
	must(t, err)
	update, err := tx.PrepareContext(ctx, "UPDATE documents SET body = $1 WHERE id = $2")
	must(t, err)
	defer update.Close()
	_, err = update.ExecContext(ctx, "new", "a")
	must(t, err)
	if session.Token(ctx) != "" {
		t.Error("there is a token before the commit")
	}
	must(t, tx.Commit())
	if session.Token(ctx) == "" {
		t.Error("there is no token after the commit")
	}
	if got := s.body(t, session); got != "new" {
		t.Errorf("after the commit: %q", got)
	}
	s.Resume(t)
}

func TestReadOnlyTransactionsReadFromStandbys(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	ctx := replica.NewContext(t.Context(), s.replicas.Session())
	for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: level, ReadOnly: true})
		must(t, err)
		var standby bool
		var got string
		must(t, tx.QueryRowContext(ctx, "SELECT pg_is_in_recovery(), current_setting('transaction_isolation')").Scan(&standby, &got))
		if !standby {
			t.Errorf("%s: read from the primary", level)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM documents"); err == nil {
			t.Errorf("%s: a write went through", level)
		}
		must(t, tx.Rollback())
	}
	for _, level := range []sql.IsolationLevel{sql.LevelWriteCommitted, sql.LevelLinearizable} {
		if _, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: level}); err == nil {
			t.Errorf("%s was accepted", level)
		}
	}
}

// TestACancelledTransactionGivesItsConnectionBack rolls back although its context,
// which database/sql watches, has ended.
func TestACancelledTransactionGivesItsConnectionBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	before := s.Primary.Stat().NewConnsCount()
	for range 5 {
		ctx, cancel := context.WithCancel(replica.NewContext(t.Context(), s.replicas.Session()))
		tx, err := s.db.BeginTx(ctx, nil)
		must(t, err)
		_, err = tx.ExecContext(ctx, "UPDATE documents SET body = 'never'")
		must(t, err)
		cancel()
		if err := tx.Commit(); err == nil {
			t.Error("committed after the context had ended")
		}
		_ = tx.Rollback() // It returns when database/sql's own has ended.
	}
	if got := s.body(t, nil); got != "old" {
		t.Errorf("body %q, want old", got)
	}
	if opened := s.Primary.Stat().NewConnsCount() - before; opened > 2 {
		t.Errorf("%d connections were opened for 5 transactions: they were thrown away", opened)
	}
}

func TestPreparedStatements(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	session := s.replicas.Session()
	ctx := replica.NewContext(t.Context(), session)
	query, err := s.db.PrepareContext(ctx, "SELECT body FROM documents WHERE id = $1")
	must(t, err)
	defer query.Close()
	var got string
	for range 10 {
		must(t, query.QueryRowContext(ctx, "a").Scan(&got))
	}
	wantReason(t, session, replica.NothingWatched)
	if err := query.QueryRowContext(ctx).Scan(&got); err == nil {
		t.Error("a statement without its argument was accepted")
	}
	if err := s.db.QueryRowContext(ctx, "SELECT $1", sql.Named("name", 1)).Scan(&got); err == nil {
		t.Error("a named argument was accepted")
	}
}
