package replica

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Writer is the write door: statements go to the primary, and the session, and
// its objects, then need the position behind them.
type Writer struct{ session *Session }

// Write returns the write door of the session. What is written through it counts as
// a write of each object of the session.
func (s *Session) Write() Writer { return Writer{s} }

// Exec runs a statement on the primary.
func (w Writer) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return w.session.db.exec(ctx, w.session, sql, args)
}

// Query runs a statement on the primary. Its position is known once the rows are
// closed.
func (w Writer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	w.session.db.chose(ctx, w.session, Choice{Host: primaryName, Reason: Write})
	return w.session.db.queryWrite(ctx, w.session, sql, args)
}

// QueryRow runs a statement for one row on the primary. Its position is known once
// the row is scanned.
func (w Writer) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return rowOf(w.Query(ctx, sql, args...))
}

// CopyFrom copies rows to the primary, as [pgxpool.Pool.CopyFrom] does.
func (w Writer) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (int64, error) {
	w.session.db.chose(ctx, w.session, Choice{Host: primaryName, Reason: Write})
	var n int64
	err := w.session.db.alone(ctx, w.session, func(tx pgx.Tx) (err error) {
		n, err = tx.CopyFrom(ctx, table, columns, source)
		return err
	})
	return n, err
}

// Wrote is for what was written past the session, with a pool of one's own: after
// that commit, the session and its objects need the primary's present position.
func (s *Session) Wrote(ctx context.Context) error {
	at, err := s.db.primary.present(ctx)
	if err != nil {
		s.lost()
		return err
	}
	s.metOwn(at)
	if objects := s.Watched(); s.db.store != nil && len(objects) > 0 {
		s.db.store.finish(ctx, objects, "", at)
	}
	return nil
}

func (db *DB) exec(ctx context.Context, s *Session, sql string, args []any) (pgconn.CommandTag, error) {
	db.chose(ctx, s, Choice{Host: primaryName, Reason: Write})
	if !s.noted() {
		conn, err := db.primary.pool.Acquire(ctx)
		if err != nil {
			return pgconn.CommandTag{}, err
		}
		defer conn.Release()
		tag, err := conn.Exec(ctx, sql, args...)
		db.positionAfter(ctx, s, conn, err)
		return tag, err
	}
	var tag pgconn.CommandTag
	err := db.alone(ctx, s, func(tx pgx.Tx) (err error) {
		tag, err = tx.Exec(ctx, sql, args...)
		return err
	})
	if sqlState(err) == activeTransaction {
		if tag, err = db.primary.pool.Exec(ctx, sql, args...); err == nil {
			if wrote := s.Wrote(ctx); wrote != nil {
				db.unresolved(ctx, s, wrote) // It has run: an error would have it run again.
			}
		}
	}
	return tag, err
}

// activeTransaction is the answer to what cannot run inside a transaction: VACUUM,
// CREATE INDEX CONCURRENTLY.
const activeTransaction = "25001"

// noted says whether writes of this session are noted in the store before their
// commit.
func (s *Session) noted() bool {
	if s.db.store == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watched.list) > 0
}

// queryWrite is the write door for statements with rows.
func (db *DB) queryWrite(ctx context.Context, s *Session, sql string, args []any) (pgx.Rows, error) {
	if s.noted() {
		tx, err := db.begin(ctx, s, pgx.TxOptions{})
		if err != nil {
			return failedRows(err)
		}
		inner, err := tx.Query(ctx, sql, args...)
		if err == nil {
			inner, err = first(inner, func(err error) error { return tx.end(ctx, err) })
		} else {
			err = tx.end(ctx, err)
		}
		if err != nil {
			return failedRows(err)
		}
		return inner, nil
	}
	conn, err := db.primary.pool.Acquire(ctx)
	if err != nil {
		return failedRows(err)
	}
	done := func(err error) error {
		defer conn.Release()
		db.positionAfter(ctx, s, conn, err)
		return nil // The rows have it.
	}
	inner, err := conn.Query(ctx, sql, args...)
	if err != nil {
		_ = done(err)
		return failedRows(err)
	}
	if inner, err = first(inner, done); err != nil {
		return failedRows(err)
	}
	return inner, nil
}

// positionAfter takes the position behind a statement that has committed by itself.
// Also after an error: a procedure may have committed before.
func (db *DB) positionAfter(ctx context.Context, s *Session, conn *pgxpool.Conn, statement error) {
	if pgconn.SafeToRetry(statement) {
		return // It was not sent.
	}
	if conn.Conn().IsClosed() {
		db.unresolved(ctx, s, statement)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), primaryPatience)
	defer cancel()
	at, err := db.primary.positionOn(ctx, conn.Conn())
	if err != nil {
		db.unresolved(ctx, s, err)
		return
	}
	s.metOwn(at)
}

// unresolved notes a write of which it is not known whether, or where, it is: the
// session's reads go to the primary, and so do those with its token.
func (db *DB) unresolved(ctx context.Context, s *Session, err error) {
	db.counters.unresolved.Add(1)
	s.lost()
	db.options.Logger.WarnContext(ctx, "position of a write is not known", "err", err)
}

// alone runs f in a transaction of its own.
func (db *DB) alone(ctx context.Context, s *Session, f func(pgx.Tx) error) error {
	tx, err := db.begin(ctx, s, pgx.TxOptions{})
	if err != nil {
		return err
	}
	return tx.end(ctx, f(tx))
}

// end commits, or rolls back after an error, which it returns.
func (t *writeTx) end(ctx context.Context, err error) error {
	if err != nil {
		_ = t.Rollback(ctx)
		return err
	}
	return t.Commit(ctx)
}

// Begin begins a transaction on the primary.
func (w Writer) Begin(ctx context.Context) (pgx.Tx, error) { return w.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx begins a transaction on the primary. Its Commit tells the session, and the
// store, where it is: after the commit, which is the only time at which that is known.
func (w Writer) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	w.session.db.chose(ctx, w.session, Choice{Host: primaryName, Reason: Write})
	tx, err := w.session.db.begin(ctx, w.session, options)
	if err != nil {
		return nil, err
	}
	return tx, nil
}

func (db *DB) begin(ctx context.Context, s *Session, options pgx.TxOptions) (*writeTx, error) {
	conn, err := db.primary.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	// Not inside the transaction: it may have to begin a timeline.
	if err := db.primary.introduce(ctx, conn.Conn()); err != nil {
		conn.Release()
		return nil, err
	}
	inner, err := conn.BeginTx(ctx, options)
	if err != nil {
		conn.Release()
		return nil, err
	}
	return &writeTx{Tx: inner, db: db, session: s, conn: conn, options: options}, nil
}

// commit sends COMMIT and the question for the position at once: the position is
// asked by a statement of its own, after the commit, whatever synchronous_commit is.
func (t *writeTx) commit(ctx context.Context) (at Position, known bool, err error) {
	text := "COMMIT"
	if t.options.CommitQuery != "" {
		text = t.options.CommitQuery
	}
	raw := t.conn.Conn().PgConn()
	results := raw.Exec(ctx, text+"; SELECT pg_catalog.pg_current_wal_insert_lsn()")
	var committed bool
	var insert uint64
	for results.NextResult() {
		answer := results.ResultReader().Read()
		switch {
		case answer.Err != nil && !committed:
			err = answer.Err
		case !committed && answer.CommandTag.String() == "ROLLBACK":
			committed, err = true, pgx.ErrTxCommitRollback
		case !committed:
			committed = true
		case answer.Err == nil && len(answer.Rows) == 1:
			insert, _ = parseLSN(string(answer.Rows[0][0]))
		}
	}
	if closing := results.Close(); err == nil && !committed {
		err = closing
		if err == nil {
			err = fmt.Errorf("commit: no answer to %q", text)
		}
	}
	log := t.db.primary.logOf(t.conn.Conn())
	if err != nil || insert == 0 || log == nil || t.db.options.InBand {
		return Position{}, false, err
	}
	return log.position(insert), true, nil
}
