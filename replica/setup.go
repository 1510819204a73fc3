package replica

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed setup.sql
var setupSQL string

// DefaultSchema is where [Setup] puts what the package needs.
const DefaultSchema = "replica"

// SetupSQL returns the statements of [Setup], for people who run migrations of
// their own. They can be run again. "" is [DefaultSchema].
func SetupSQL(schema string) string {
	return strings.ReplaceAll(setupSQL, "{{schema}}", quoted(schema))
}

// Setup makes what the package needs on a primary: a schema, a table with one row
// for each promotion, and a function. It can be run again, also by several at once.
// The role needs CREATE on the database; whoever reads later needs nothing.
func Setup(ctx context.Context, primary interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}, schema string,
) error {
	err := pgx.BeginFunc(ctx, primary, func(tx pgx.Tx) error {
		// CREATE ... IF NOT EXISTS of two at once fails for one of them.
		if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))", "replica.Setup "+quoted(schema)); err != nil {
			return err
		}
		results := tx.Conn().PgConn().Exec(ctx, SetupSQL(schema)+"SELECT "+quoted(schema)+".begin_server_timeline();")
		_, err := results.ReadAll()
		return err
	})
	if err != nil {
		return fmt.Errorf("set up schema %s for replica: %w", quoted(schema), err)
	}
	return nil
}

func quoted(schema string) string {
	if schema == "" {
		schema = DefaultSchema
	}
	return pgx.Identifier{schema}.Sanitize()
}

// missing explains the errors of a database without what Setup makes.
func missing(err error, schema string) error {
	if code := sqlState(err); code == "42P01" || code == "3F000" || code == "42883" {
		return fmt.Errorf("%w (run replica.Setup on the primary, or SetupSQL(%q) in a migration)", err, schema)
	}
	return err
}

func sqlState(err error) string {
	if e, ok := asPgError(err); ok {
		return e.Code
	}
	return ""
}

func asPgError(err error) (*pgconn.PgError, bool) {
	var e *pgconn.PgError
	ok := errors.As(err, &e)
	return e, ok
}
