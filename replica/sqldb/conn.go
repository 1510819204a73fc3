package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"casq/replica"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The interfaces of database/sql that a connection has.
var (
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
)

// conn is a connection as database/sql knows it. It is used by one goroutine at
// a time.
type conn struct {
	db *replica.DB
	tx *tx // nil outside of a transaction
}

// door is what a [replica.DB] and a transaction of it have in common.
type door interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (c *conn) door() door {
	if c.tx != nil {
		return c.tx.inner
	}
	return c.db
}

func (c *conn) ExecContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Result, error) {
	args, err := arguments(nil, named)
	if err != nil {
		return nil, err
	}
	tag, err := c.door().Exec(ctx, query, args...)
	if err != nil {
		return nil, c.failed(err)
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

func (c *conn) QueryContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Rows, error) {
	args, err := arguments([]any{formats}, named)
	if err != nil {
		return nil, err
	}
	inner, err := c.door().Query(ctx, query, args...)
	if err != nil {
		return nil, c.failed(err)
	}
	r, err := firstRow(inner)
	if err != nil {
		return nil, c.failed(err)
	}
	return r, nil
}

// failed turns an error into what makes database/sql repeat the statement with
// another connection, if it was not sent. Inside a transaction nothing is repeated.
func (c *conn) failed(err error) error {
	if c.tx == nil && pgconn.SafeToRetry(err) {
		return fmt.Errorf("%w: %w", driver.ErrBadConn, err)
	}
	return err
}

// arguments appends the values to args. Names mean nothing to Postgres.
func arguments(args []any, named []driver.NamedValue) ([]any, error) {
	for _, value := range named {
		if value.Name != "" {
			return nil, fmt.Errorf("argument %q has a name: Postgres' have numbers, $1 and so on", value.Name)
		}
		args = append(args, value.Value)
	}
	return args, nil
}

// CheckNamedValue lets every value through: pgx knows what Postgres can take, and
// knows [driver.Valuer].
func (c *conn) CheckNamedValue(*driver.NamedValue) error { return nil }

func (c *conn) Ping(ctx context.Context) error { return c.db.Ping(ctx) }

// IsValid keeps a connection out of the pool of database/sql while its transaction
// is open.
func (c *conn) IsValid() bool { return c.tx == nil }

func (c *conn) Close() error {
	if c.tx == nil {
		return nil
	}
	return c.tx.Rollback()
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return &stmt{c, query}, nil
}

func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

func (c *conn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	level, known := levels[sql.IsolationLevel(options.Isolation)]
	if !known {
		return nil, fmt.Errorf("begin a transaction: Postgres has no isolation level %s", sql.IsolationLevel(options.Isolation))
	}
	own := pgx.TxOptions{IsoLevel: level}
	if options.ReadOnly {
		own.AccessMode = pgx.ReadOnly
	}
	inner, err := c.db.BeginTx(ctx, own)
	if err != nil {
		return nil, c.failed(err)
	}
	c.tx = &tx{conn: c, inner: inner, ctx: ctx}
	return c.tx, nil
}

var levels = map[sql.IsolationLevel]pgx.TxIsoLevel{
	sql.LevelDefault:         "",
	sql.LevelReadUncommitted: pgx.ReadUncommitted,
	sql.LevelReadCommitted:   pgx.ReadCommitted,
	sql.LevelRepeatableRead:  pgx.RepeatableRead,
	sql.LevelSnapshot:        pgx.RepeatableRead,
	sql.LevelSerializable:    pgx.Serializable,
}

// tx is the transaction of a connection.
type tx struct {
	conn  *conn
	inner pgx.Tx
	ctx   context.Context //nolint:containedctx // driver.Tx is given none: that of BeginTx is meant.
}

func (t *tx) Commit() error {
	t.conn.tx = nil
	return t.inner.Commit(t.ctx)
}

// rollbackPatience is for the server's answer: database/sql rolls back when the
// context has ended, and the connection is of use to others.
const rollbackPatience = 5 * time.Second

func (t *tx) Rollback() error {
	t.conn.tx = nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), rollbackPatience)
	defer cancel()
	return t.inner.Rollback(ctx)
}

// stmt is a statement's text: the servers' connections prepare it themselves.
type stmt struct {
	conn  *conn
	query string
}

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

func (s *stmt) Close() error { return nil }

// NumInput is unknown: the server says so when there are too few or too many.
func (s *stmt) NumInput() int { return -1 }

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}

// Exec is asked for by [driver.Stmt], and not called where there is ExecContext.
func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), numbered(args))
}

// Query is asked for by [driver.Stmt], and not called where there is QueryContext.
func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), numbered(args))
}

func numbered(args []driver.Value) []driver.NamedValue {
	named := make([]driver.NamedValue, len(args))
	for i, value := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: value}
	}
	return named
}
