package replica

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// writeTx is a transaction on the primary.
type writeTx struct {
	pgx.Tx
	db      *DB
	session *Session
	conn    *pgxpool.Conn
	options pgx.TxOptions

	mu     sync.Mutex
	closed bool
}

// Commit commits, and tells the session and the store where that is.
//
// If the process dies before the commit, the marks stay until whoever meets them
// learns from the primary that it was rolled back. If it dies after it, they learn
// that it was committed, and take the primary's position of then.
func (t *writeTx) Commit(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return pgx.ErrTxClosed
	}
	objects, id, err := t.note(ctx)
	if err != nil {
		t.closed = true
		defer t.conn.Release()
		_ = t.Tx.Rollback(ctx)
		return err
	}
	t.closed = true
	at, known, err := t.commit(ctx)
	lost := err != nil && !isAnswer(err)
	t.conn.Release()
	switch {
	case lost:
		t.db.unresolved(ctx, t.session, err) // The marks stay.
		return err
	case err != nil:
		t.merge(ctx, objects, id, Position{})
		return err
	case !known:
		if at, err = t.db.primary.present(context.WithoutCancel(ctx)); err != nil {
			t.db.unresolved(ctx, t.session, err)
			return nil // It is committed, and the marks stay.
		}
	}
	t.db.primary.note(at)
	t.session.metOwn(at)
	t.merge(ctx, objects, id, at)
	return nil
}

// isAnswer says whether err tells that the transaction was rolled back.
func isAnswer(err error) bool {
	e, answered := asPgError(err)
	if !answered {
		return errors.Is(err, pgx.ErrTxCommitRollback)
	}
	// A server that goes down, or a connection that is ended, may have committed.
	return e.Code[:2] != "57" && e.Code[:2] != "08"
}

// note marks the session's objects in the store as being written.
func (t *writeTx) note(ctx context.Context) (objects []Object, id string, err error) {
	if !t.session.noted() {
		return nil, "", nil
	}
	objects = t.session.Watched()
	id, err = t.db.store.begin(ctx, t.conn.Conn(), objects)
	if errors.Is(err, ErrStoreAway) {
		t.db.counters.unmarked.Add(1)
		if t.db.options.Strict {
			t.merge(ctx, objects, id, Position{})
			return nil, "", err
		}
	}
	if id == "" {
		return nil, "", nil // Nothing was written, or the transaction has failed.
	}
	return objects, id, nil
}

// merge stores what became of the transaction, also when the caller's context has
// ended.
func (t *writeTx) merge(ctx context.Context, objects []Object, id string, at Position) {
	if id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), primaryPatience)
	defer cancel()
	t.db.store.finish(ctx, objects, id, at)
}

// Rollback rolls back.
func (t *writeTx) Rollback(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return pgx.ErrTxClosed
	}
	t.closed = true
	defer t.conn.Release()
	return t.Tx.Rollback(ctx)
}

// The methods below refuse what comes after the end: the connection is somebody
// else's by then.

func (t *writeTx) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

func (t *writeTx) Begin(ctx context.Context) (pgx.Tx, error) {
	if t.ended() {
		return nil, pgx.ErrTxClosed
	}
	return t.Tx.Begin(ctx)
}

func (t *writeTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if t.ended() {
		return pgconn.CommandTag{}, pgx.ErrTxClosed
	}
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *writeTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if t.ended() {
		return failedRows(pgx.ErrTxClosed)
	}
	return t.Tx.Query(ctx, sql, args...)
}

func (t *writeTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if t.ended() {
		return row{err: pgx.ErrTxClosed}
	}
	return t.Tx.QueryRow(ctx, sql, args...)
}

func (t *writeTx) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if t.ended() {
		return pgx.FailedBatchResults(batch, pgx.ErrTxClosed)
	}
	return t.Tx.SendBatch(ctx, batch)
}

func (t *writeTx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (int64, error) {
	if t.ended() {
		return 0, pgx.ErrTxClosed
	}
	return t.Tx.CopyFrom(ctx, table, columns, source)
}

func (t *writeTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if t.ended() {
		return nil, pgx.ErrTxClosed
	}
	return t.Tx.Prepare(ctx, name, sql)
}
