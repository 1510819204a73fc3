package replica

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The methods below are pgxpool's, for code that knows nothing of sessions, as
// sqlc's: the session is that of the context ([NewContext]). Query and QueryRow are the
// read door, Begin too when it is READ ONLY; the others are the write door. Without a
// session everything goes to the primary.

// Query is the read door.
func (db *DB) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if s := db.sessionOf(ctx); s != nil {
		return db.query(ctx, s, sql, args)
	}
	return db.queryUnwatched(ctx, sql, args)
}

// queryUnwatched is Query without a session.
func (db *DB) queryUnwatched(ctx context.Context, sql string, args []any) (pgx.Rows, error) {
	conn, err := db.primary.pool.Acquire(ctx)
	if err != nil {
		return failedRows(err)
	}
	inner, err := conn.Query(ctx, sql, args...)
	if err != nil {
		conn.Release()
		return failedRows(err)
	}
	inner, err = first(inner, func(error) error { conn.Release(); return nil })
	if err != nil {
		return failedRows(err)
	}
	return inner, nil
}

// QueryRow is the read door.
func (db *DB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if s := db.sessionOf(ctx); s != nil {
		return rowOf(db.query(ctx, s, sql, args))
	}
	return db.primary.pool.QueryRow(ctx, sql, args...)
}

// Exec is the write door.
func (db *DB) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if s := db.sessionOf(ctx); s != nil {
		return db.exec(ctx, s, sql, args)
	}
	return db.primary.pool.Exec(ctx, sql, args...)
}

// SendBatch is the write door.
func (db *DB) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if s := db.sessionOf(ctx); s != nil {
		return s.Write().SendBatch(ctx, batch)
	}
	return db.primary.pool.SendBatch(ctx, batch)
}

// CopyFrom is the write door.
func (db *DB) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (int64, error) {
	if s := db.sessionOf(ctx); s != nil {
		return s.Write().CopyFrom(ctx, table, columns, source)
	}
	return db.primary.pool.CopyFrom(ctx, table, columns, source)
}

// Begin is the write door.
func (db *DB) Begin(ctx context.Context) (pgx.Tx, error) { return db.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx is the write door, or the read door when the access mode is READ ONLY.
func (db *DB) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	s := db.sessionOf(ctx)
	switch {
	case s == nil:
		return db.primary.pool.BeginTx(ctx, options)
	case options.AccessMode == pgx.ReadOnly:
		return s.Read().BeginTx(ctx, options)
	default:
		return s.Write().BeginTx(ctx, options)
	}
}

// Ping asks the primary.
func (db *DB) Ping(ctx context.Context) error { return db.primary.pool.Ping(ctx) }

// sessionOf returns the session of ctx, and counts that there is none.
func (db *DB) sessionOf(ctx context.Context) *Session {
	s := FromContext(ctx)
	if s == nil || s.db != db {
		db.chose(ctx, nil, Choice{Host: primaryName, Reason: NoSession})
		return nil
	}
	return s
}
