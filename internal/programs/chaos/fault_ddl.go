package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"casq/internal/database"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ddl changes a tracked table and changes it back. Each is one statement that may
// be said twice: a fail-over may have lost the one before.
type ddl struct{ what, do, undo string }

var ddls = []ddl{
	{"add a column to artifacts", "ALTER TABLE artifacts ADD COLUMN IF NOT EXISTS note text DEFAULT 'none'", "ALTER TABLE artifacts DROP COLUMN IF EXISTS note"},
	{"add a column to repositories", "ALTER TABLE repositories ADD COLUMN IF NOT EXISTS note text DEFAULT 'none'", "ALTER TABLE repositories DROP COLUMN IF EXISTS note"},
	{"rewrite artifacts", "ALTER TABLE artifacts ALTER COLUMN rank TYPE bigint", "ALTER TABLE artifacts ALTER COLUMN rank TYPE integer"},
	{"rewrite repositories", "ALTER TABLE repositories ALTER COLUMN rank TYPE bigint", "ALTER TABLE repositories ALTER COLUMN rank TYPE integer"},
	// Recounts go on in parts by it.
	{"drop the index of artifacts by project", "DROP INDEX IF EXISTS artifacts_scope", "CREATE INDEX IF NOT EXISTS artifacts_scope ON artifacts (project_id)"},
	{"add a unique index to repositories", "CREATE UNIQUE INDEX IF NOT EXISTS repositories_again ON repositories (path)", "DROP INDEX IF EXISTS repositories_again"},
}

// alterTable changes a tracked table, in a transaction that stays open for a while,
// and changes it back. No value that casq tells of becomes another.
func alterTable(r *rand.Rand, _ config) injection {
	change, open, kept := ddls[r.IntN(len(ddls))], between(r, 0, time.Second), between(r, 0, 2*time.Second)
	return injection{
		what:  fmt.Sprintf("%s, commit after %s, undo it after %s", change.what, open, kept),
		needs: []string{resourceTables},
		run: func(ctx context.Context, c *chaos) error {
			err := pgx.BeginFunc(ctx, c.site.source.DB, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, change.do); err != nil {
					return err
				}
				return pause.For(ctx, open)
			})
			if err != nil && !mayRepeat(err) {
				return err
			}
			if err != nil {
				c.journal.say("       it did not come about: %v", err)
				return nil
			}
			if err := pause.For(ctx, kept); err != nil {
				return err
			}
			return c.insist(ctx, change.undo)
		},
	}
}

// insist repeats a statement until it has succeeded.
func (c *chaos) insist(ctx context.Context, sql string) error {
	for {
		_, err := c.site.source.DB.Exec(ctx, sql)
		if err == nil || !mayRepeat(err) {
			return err
		}
		if err := pause.For(ctx, retryPause); err != nil {
			return err
		}
	}
}

const deadlockDetected = "40P01"

// mayRepeat is true for what is no fault of the statement's.
func mayRepeat(err error) bool {
	return lostConnection(err) || database.Code(err) == deadlockDetected
}

// vacuumFull rewrites a tracked table without changing it.
func vacuumFull(r *rand.Rand, _ config) injection {
	table := []string{"artifacts", "repositories"}[r.IntN(2)]
	return injection{
		what:  "VACUUM FULL " + table,
		needs: []string{resourceTables},
		run: func(ctx context.Context, c *chaos) error {
			_, err := c.site.source.DB.Exec(ctx, "VACUUM FULL "+table)
			if err != nil && mayRepeat(err) {
				c.journal.say("       it did not come about: %v", err)
				return nil
			}
			return err
		},
	}
}

// refusals are what would have the log miss something, and what is refused where
// the event triggers are.
var refusals = []string{
	"DROP TABLE artifacts",
	"DROP TABLE artifacts_projects",
	"DROP TABLE repositories",
	"ALTER TABLE artifacts DROP COLUMN size",
	"ALTER TABLE repositories DROP COLUMN refs",
	"ALTER TABLE artifacts RENAME COLUMN sha256 TO sum",
	"ALTER TABLE artifacts ALTER COLUMN size TYPE bigint USING size * 1024",
	"ALTER TABLE repositories ALTER COLUMN refs TYPE jsonb USING '{}'",
	"ALTER TABLE repositories DROP CONSTRAINT repositories_path_key",
}

// refuse tries what must be refused. A table without rows may be rewritten.
func refuse(r *rand.Rand, _ config) injection {
	sql := refusals[r.IntN(len(refusals))]
	return injection{
		what:  sql + ", which is refused",
		needs: []string{resourceTables},
		run: func(ctx context.Context, c *chaos) error {
			var rows int
			err := pgx.BeginFunc(ctx, c.site.source.DB, func(tx pgx.Tx) error {
				table := strings.Fields(sql)[2]
				if _, err := tx.Exec(ctx, "LOCK TABLE "+table); err != nil {
					return err
				}
				if err := tx.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, sql); err != nil {
					return err
				}
				return errRollback
			})
			switch done := errors.Is(err, errRollback); {
			case refusal(err):
			case done && rows > 0:
				c.complain("not refused: %s", sql)
			case done || mayRepeat(err):
				c.journal.say("       it was not tried: %d rows, %v", rows, err)
			default:
				return err
			}
			return nil
		},
	}
}

// refusal tells whether an error is casq's.
func refusal(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pgErr.Message, "casq: ")
}
