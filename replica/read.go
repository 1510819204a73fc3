package replica

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Reader is the read door: statements go to a standby that has what the session
// may expect, else to the primary.
//
// A write, or a lock, that comes through it is refused by the server, runs once on
// the primary through the write door, and its text is remembered. What begins with
// INSERT, UPDATE, DELETE or MERGE goes there at once. SET and advisory
// locks need the write door: a standby does not refuse them.
type Reader struct{ session *Session }

// Read returns the read door of the session.
func (s *Session) Read() Reader { return Reader{s} }

// Query sends a query, as [pgxpool.Pool.Query] does. Its first row has been read when
// it returns: until then another host takes over from one that fails.
func (r Reader) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return r.session.db.query(ctx, r.session, sql, args)
}

// QueryRow sends a query for one row.
func (r Reader) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return rowOf(r.Query(ctx, sql, args...))
}

// query is the read door.
func (db *DB) query(ctx context.Context, s *Session, sql string, args []any) (pgx.Rows, error) {
	if writes(sql) || db.refused.has(sql) {
		return db.queryRefused(ctx, s, sql, args)
	}
	var tried []*host
	for {
		taken, choice, err := db.seat(ctx, s, &tried)
		if err != nil {
			return failedRows(err)
		}
		db.chose(ctx, s, choice)
		var rows pgx.Rows
		if taken == nil {
			rows, err = db.queryPrimary(ctx, sql, args)
		} else {
			taken.audit = db.auditor.sample(s, choice, sql, args)
			rows, err = taken.query(ctx, s, sql, args)
		}
		if err == nil {
			s.read(taken)
			return rows, nil
		}
		if sqlState(err) == readOnlyTransaction {
			db.refused.add(sql)
			return db.queryRefused(ctx, s, sql, args)
		}
		if taken == nil {
			return failedRows(err)
		}
		move, lost := taken.movable(ctx, err)
		if lost {
			taken.host.failed(err)
		}
		if !move {
			return failedRows(err)
		}
		db.counters.retried.Add(1)
		tried = append(tried, taken.host)
	}
}

// readOnlyTransaction is what a server answers to a write, or to a lock of rows, on
// a standby or in a READ ONLY transaction.
const readOnlyTransaction = "25006"

func (db *DB) queryRefused(ctx context.Context, s *Session, sql string, args []any) (pgx.Rows, error) {
	db.chose(ctx, s, Choice{Host: primaryName, Reason: Refused})
	return db.queryWrite(ctx, s, sql, args)
}

// query runs a query on the standby. On an error the connection is given back.
func (t *seat) query(ctx context.Context, s *Session, sql string, args []any) (pgx.Rows, error) {
	if s.db.options.InBand {
		return t.queryInBand(ctx, s, sql, args)
	}
	inner, err := t.conn.Query(ctx, sql, args...)
	if err != nil {
		t.conn.Release()
		return nil, err
	}
	return first(t.tap(inner), func(error) error { t.conn.Release(); return nil })
}

// queryInBand has the proof and the query in one transaction, sent at once: whatever
// server a pooler has put at the other end, it is the same for both.
func (t *seat) queryInBand(ctx context.Context, s *Session, sql string, args []any) (pgx.Rows, error) {
	var batch pgx.Batch
	batch.Queue("BEGIN READ ONLY")
	batch.Queue(s.db.statements.sample)
	batch.Queue(sql, args...)
	batch.Queue("COMMIT")
	results := t.conn.SendBatch(ctx, &batch)
	done := func(err error) error { return closeBatch(ctx, results, t.conn, err) }
	if _, err := results.Exec(); err != nil {
		return nil, done(err)
	}
	var own sample
	var lsn int64
	if err := results.QueryRow().Scan(&own.standby, &lsn, &own.at.Timeline); err != nil {
		return nil, done(missing(err, s.db.options.Schema))
	}
	own.at.LSN = uint64(lsn)
	if !own.standby || !own.at.covers(t.need) {
		_ = done(nil)
		return nil, errBehind
	}
	return queryBatch(results, t.tap, done)
}

// queryPrimary runs a query of the read door on the primary, in a READ ONLY
// transaction that is sent at once: what a standby would refuse is refused here too.
func (db *DB) queryPrimary(ctx context.Context, sql string, args []any) (pgx.Rows, error) {
	conn, err := db.primary.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if optioned(args) {
		return db.queryInTx(ctx, conn, sql, args)
	}
	var batch pgx.Batch
	batch.Queue("BEGIN READ ONLY")
	batch.Queue(sql, args...)
	batch.Queue("COMMIT")
	results := conn.SendBatch(ctx, &batch)
	done := func(err error) error { return closeBatch(ctx, results, conn, err) }
	if _, err := results.Exec(); err != nil {
		return nil, done(err)
	}
	return queryBatch(results, nil, done)
}

// optioned says whether the arguments begin with one of pgx's options, which a
// batch does not take.
func optioned(args []any) bool {
	if len(args) == 0 {
		return false
	}
	switch args[0].(type) {
	case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		return true
	}
	return false
}

func (db *DB) queryInTx(ctx context.Context, conn *pgxpool.Conn, sql string, args []any) (pgx.Rows, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		conn.Release()
		return nil, err
	}
	done := func(err error) error {
		defer conn.Release()
		if err != nil {
			_ = tx.Rollback(ctx) // Else the connection is closed.
			return err
		}
		return tx.Commit(ctx)
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, done(err)
	}
	return first(rows, done)
}

func queryBatch(results pgx.BatchResults, tap func(pgx.Rows) pgx.Rows, done func(error) error) (pgx.Rows, error) {
	inner, err := results.Query()
	if err != nil {
		return nil, done(err)
	}
	if tap != nil {
		inner = tap(inner)
	}
	return first(inner, done)
}

// closeBatch ends a transaction that was sent as a batch, and gives the connection
// back. After an error the COMMIT was skipped.
func closeBatch(ctx context.Context, results pgx.BatchResults, conn *pgxpool.Conn, err error) error {
	defer conn.Release()
	if closing := results.Close(); err == nil {
		err = closing
	}
	if raw := conn.Conn().PgConn(); !raw.IsClosed() && raw.TxStatus() != 'I' {
		if _, rolling := conn.Exec(ctx, "ROLLBACK"); rolling != nil && err == nil {
			err = fmt.Errorf("end a read: %w", rolling)
		}
	}
	return err
}
