// Package migrations brings a database to the schema that this program needs,
// and back: River's tables in the schema river, casq's own in the schema casq.
//
// River's migrations come first, since casq's views read River's jobs, and
// cannot run in one transaction. Its migrator has no lock either (six at once
// on an empty database: five failed), so the whole run is guarded by one
// advisory lock of its own. The lock is polled, never waited for: a statement
// that waits holds a snapshot, and an index that is built concurrently would
// wait for that snapshot for ever.
//
// Each file has the objects of one subject, each object once, with its comment;
// what all of them make together is in schema.sql, which is made
// from a migrated database: go test ./migrations -run TestSchema -update.
package migrations

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"casq/internal/database"
	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/tern/v2/migrate"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed [0-9]*.sql
var files embed.FS

const (
	versionTable = "casq.migration_version"
	// earlierTable is the version table of earlier checkouts, whose migrations
	// were others: their version 3 is not this program's.
	earlierTable = "casq.schema_version"
	riverSchema  = "river"
	lockPoll     = 50 * time.Millisecond

	// Whoever comes after a statement that waits for a table waits with it: a migration
	// gives way after lockWait, and tries again after lockPause.
	lockWait         = 2 * time.Second
	lockPause        = time.Second
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01"
)

var options = database.Options{Application: "casq migrate"}

// ErrNotMigrated is returned by [Check] for a database that lacks migrations.
var ErrNotMigrated = errors.New("database is not migrated")

// ErrNewer is returned when the database is newer than this program.
var ErrNewer = errors.New("database is newer than this program")

// ErrEarlier is returned for a database that an earlier checkout has migrated.
// It is left as it is.
var ErrEarlier = errors.New("database was made by an earlier checkout, whose migrations this program does not continue")

// ErrOwner is returned by [Up] when somebody else than the role that migrates owns
// casq's schema. He would have the last word on what casq's functions call, and they
// would run with the rights of the other.
var ErrOwner = errors.New("the schema casq is another role's")

// Status tells where a database stands. Version 0 is an empty database.
type Status struct {
	Version int32    // the newest migration applied
	Latest  int32    // the newest migration that this program knows
	Names   []string // Names[i] is the name of version i+1
}

// Up applies all migrations that the database lacks, while workers of the version
// before go on ([Check]). Calling it twice, or from many processes at once, is harmless.
func Up(ctx context.Context, databaseURL string, logger *slog.Logger) error {
	return locked(ctx, databaseURL, logger, func(conn *pgx.Conn) error {
		status, err := Read(ctx, conn)
		if err != nil {
			return err
		}
		if status.Version > status.Latest {
			return Check(ctx, conn) // what is newer may do
		}
		if err := createSchemas(ctx, conn); err != nil {
			return err
		}
		if err := leaveNobodyBehind(ctx, conn, status.Version); err != nil {
			return err
		}
		migrator, err := open(ctx, conn)
		if err != nil {
			return err
		}
		if status.Version > 0 { // before anything changes, River's tables, too
			if err := raiseOldest(ctx, conn); err != nil {
				return err
			}
		}
		if err := river(ctx, databaseURL, rivermigrate.DirectionUp, logger); err != nil {
			return err
		}
		if err := advance(ctx, conn, migrator, status, logger); err != nil {
			return err
		}
		// What this version has more to grant, or to keep from everybody.
		if _, err := conn.Exec(ctx, "SELECT casq.grant_again()"); err != nil {
			return fmt.Errorf("grant what roles were granted: %w", err)
		}
		return nil
	})
}

// advance applies what is lacking. Before that what a program has to know is raised: if it
// is killed in between, programs that may not work on what there is are refused already.
func advance(ctx context.Context, conn *pgx.Conn, migrator *migrate.Migrator, status Status, logger *slog.Logger) error {
	if status.Version == 0 { // nowhere to say it yet: the first migration makes the place
		if err := apply(ctx, migrator, 1, logger); err != nil {
			return err
		}
		if err := raiseOldest(ctx, conn); err != nil {
			return err
		}
	}
	return apply(ctx, migrator, status.Latest, logger)
}

// createSchemas leaves both schemas there, and casq's as the own one. It asks before,
// as a role that may not create any is told whose it is, and after, as somebody else
// may have been first.
func createSchemas(ctx context.Context, conn *pgx.Conn) error {
	if err := owned(ctx, conn); err != nil {
		return err
	}
	for _, schema := range []string{riverSchema, "casq"} {
		if _, err := conn.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
			return fmt.Errorf("create schema %s: %w", schema, err)
		}
	}
	return owned(ctx, conn)
}

// owned returns [ErrOwner] when the schema is there, and is another role's.
func owned(ctx context.Context, conn *pgx.Conn) error {
	var owner, me string
	err := conn.QueryRow(ctx, `SELECT nspowner::regrole::text, current_user::regrole::text
		FROM pg_namespace WHERE nspname = 'casq'`).Scan(&owner, &me)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("find the schema's owner: %w", err)
	case owner != me:
		return fmt.Errorf("%w: it belongs to %s, and this is %s; migrate as %[2]s,"+
			" or, if it is empty, ALTER SCHEMA casq OWNER TO %[3]s", ErrOwner, owner, me)
	}
	return nil
}

// Down takes casq's migrations above version back. Version 0 removes
// everything, River's tables and both schemas included. What is lost is for the
// caller to ask about: see [Lost].
func Down(ctx context.Context, databaseURL string, version int32, logger *slog.Logger) error {
	return locked(ctx, databaseURL, logger, func(conn *pgx.Conn) error {
		status, err := Read(ctx, conn)
		if err != nil {
			return err
		}
		switch {
		case version < 0 || version > status.Latest:
			return fmt.Errorf("migrate down to %d: versions are 0 to %d", version, status.Latest)
		case status.Version > status.Latest:
			return newer(status, 0)
		case version > status.Version:
			return fmt.Errorf("migrate down to %d: the database is at version %d", version, status.Version)
		}
		if status.Version > version {
			if err := inUse(ctx, conn); err != nil {
				return err
			}
		}
		if status.Version > 0 {
			migrator, err := open(ctx, conn)
			if err != nil {
				return err
			}
			if err := apply(ctx, migrator, version, logger); err != nil {
				return err
			}
		}
		if version > 0 {
			return lowerOldest(ctx, conn, version)
		}
		return remove(ctx, conn, databaseURL, logger)
	})
}

// remove drops what Up made before casq's first migration.
func remove(ctx context.Context, conn *pgx.Conn, databaseURL string, logger *slog.Logger) error {
	var present bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('river.river_migration') IS NOT NULL").Scan(&present); err != nil {
		return fmt.Errorf("find river's migrations: %w", err)
	}
	if present {
		if err := river(ctx, databaseURL, rivermigrate.DirectionDown, logger); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "DROP TABLE IF EXISTS "+versionTable+", "+earlierTable+"; DROP SCHEMA IF EXISTS casq; DROP SCHEMA IF EXISTS "+riverSchema)
	if err != nil {
		return fmt.Errorf("drop the schemas casq and river: %w", err)
	}
	return nil
}

// Queryer is what [Read] and [Check] need of a connection or a pool.
type Queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Latest is the newest migration that this program knows.
func Latest() int32 {
	names, err := migrate.FindMigrations(files)
	if err != nil {
		panic(err) // they are in this program
	}
	return int32(len(names))
}

// Read tells where the database stands, without changing it.
func Read(ctx context.Context, db Queryer) (Status, error) {
	names, err := migrate.FindMigrations(files)
	if err != nil {
		return Status{}, fmt.Errorf("list migrations: %w", err)
	}
	version, err := version(ctx, db)
	return Status{Version: version, Latest: int32(len(names)), Names: names}, err
}

func version(ctx context.Context, db Queryer) (int32, error) {
	var present, earlier bool
	// An earlier program that was run by mistake may have left its table here.
	err := db.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL", versionTable, earlierTable).
		Scan(&present, &earlier)
	switch {
	case err != nil:
		return 0, fmt.Errorf("find the schema version: %w", err)
	case earlier && !present:
		return 0, fmt.Errorf("%w: run that checkout's `worker migrate down --to 0`,"+
			" or in SQL DROP SCHEMA casq, river CASCADE; then run `worker migrate up`", ErrEarlier)
	case !present:
		return 0, nil
	}
	var version int32
	err = db.QueryRow(ctx, "SELECT version FROM "+versionTable).Scan(&version)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, fmt.Errorf("read the schema version: %w", err)
	}
	return version, nil
}

func open(ctx context.Context, conn *pgx.Conn) (*migrate.Migrator, error) {
	migrator, err := migrate.NewMigrator(ctx, conn, versionTable)
	if err != nil {
		return nil, fmt.Errorf("prepare migrations: %w", err)
	}
	if err := migrator.LoadMigrations(files); err != nil {
		return nil, fmt.Errorf("load migrations: %w", err)
	}
	return migrator, nil
}

func apply(ctx context.Context, migrator *migrate.Migrator, version int32, logger *slog.Logger) error {
	migrator.OnStart = func(_ int32, name, direction, _ string) {
		logger.InfoContext(ctx, "migrating", "name", name, "direction", direction)
	}
	for {
		err := migrator.MigrateTo(ctx, version)
		if err == nil {
			return nil
		}
		if code := database.Code(err); code != lockNotAvailable && code != deadlockDetected || ctx.Err() != nil {
			return fmt.Errorf("migrate to version %d: %w", version, err)
		}
		// The migration was rolled back, and is begun again.
		logger.WarnContext(ctx, "a table is in use, trying again", "err", err)
		if err := pause.For(ctx, lockPause); err != nil {
			return fmt.Errorf("migrate to version %d: %w", version, err)
		}
	}
}

func river(ctx context.Context, databaseURL string, direction rivermigrate.Direction, logger *slog.Logger) error {
	pool, err := database.Open(ctx, databaseURL, options)
	if err != nil {
		return fmt.Errorf("connect for river's migrations: %w", err)
	}
	defer pool.Close()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{
		Schema: riverSchema,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return fmt.Errorf("prepare river's migrations: %w", err)
	}
	opts := &rivermigrate.MigrateOpts{}
	if direction == rivermigrate.DirectionDown {
		opts.TargetVersion = -1
	}
	result, err := migrator.Migrate(ctx, direction, opts)
	if err != nil {
		return fmt.Errorf("apply river's migrations: %w", err)
	}
	for _, v := range result.Versions {
		logger.InfoContext(ctx, "migrating", "name", "river "+v.Name, "direction", string(direction))
	}
	return nil
}

// locked runs f while this process is the only one that migrates. The lock
// belongs to the connection and dies with it.
func locked(ctx context.Context, databaseURL string, logger *slog.Logger, f func(*pgx.Conn) error) error {
	config, err := database.ParseConfig(databaseURL, options)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	// What a migration has to tell an operator; Postgres itself tells of
	// everything that is there already.
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if strings.HasPrefix(n.Message, "casq: ") {
			logger.WarnContext(ctx, "migration says", "notice", n.Message)
		}
	}
	config.RuntimeParams["lock_timeout"] = strconv.FormatInt(lockWait.Milliseconds(), 10)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for {
		var got bool
		err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended('casq.migrate', 0))").Scan(&got)
		if err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if got {
			return f(conn)
		}
		if err := pause.For(ctx, lockPoll); err != nil {
			return fmt.Errorf("wait for the migration lock: %w", err)
		}
	}
}
