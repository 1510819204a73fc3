// Package sqldb is database/sql on package replica, by which GORM, bun, ent and
// whatever else stands on a *sql.DB read from standbys:
//
//	db := sql.OpenDB(sqldb.Connector(replicas))
//
// Statements go through the doors of [replica.DB]: those with rows through the read
// door, all others, and transactions that are not ReadOnly, through the write door. The
// session is that of the statement's context ([replica.NewContext]); without one,
// everything goes to the primary. A statement with rows that writes, such as
// INSERT ... RETURNING, runs on the primary: see [replica.Reader].
//
// # What a connection is
//
// A connection of the sql.DB stands for no server: each statement, and each
// transaction, takes one of the primary's or a standby's pool, and gives it back. So
// the bounds of those pools hold, and SetMaxOpenConns bounds what runs at once beside
// them. What a server's session keeps (SET, temporary tables, advisory locks) is kept
// within a transaction only, also on an [database/sql.Conn]. BEGIN as a statement
// is of no use: BeginTx is.
//
// Prepare sends nothing. Each server's connections prepare a text when they first meet
// it, and a mistake in it is told then.
//
// # Errors
//
// [database/sql/driver.ErrBadConn], which makes database/sql repeat a statement, is
// only returned for one that was not sent. After the first row, and inside a
// transaction, an error is the caller's. Errors of Postgres are *pgconn.PgError.
package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"

	"casq/replica"
)

// Connector returns a connector for [database/sql.OpenDB]. The sql.DB is closed
// first, db after it.
func Connector(db *replica.DB) driver.Connector { return connector{db} }

type connector struct{ db *replica.DB }

func (c connector) Connect(context.Context) (driver.Conn, error) { return &conn{db: c.db}, nil }

func (c connector) Driver() driver.Driver { return noDriver{} }

// noDriver is for those who ask a sql.DB what it stands on.
type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("sqldb opens no connection string: sql.OpenDB(sqldb.Connector(db))")
}
