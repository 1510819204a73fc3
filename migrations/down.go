package migrations

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/tern/v2/migrate"
)

// ErrInUse is returned by [Down] while workers are connected to the database, or
// have been a moment ago.
var ErrInUse = errors.New("workers use the database")

// MostCounted is how far the rows of a table are counted that a way down destroys.
const MostCounted = 1_000_000

// Loss is what a way down destroys.
type Loss struct {
	Tables []LostTable `json:"tables"` // that have rows
	// Tracked are the user's tables whose changes are not logged any more.
	Tracked []string `json:"tracked"`
}

// LostTable is a table of casq's or River's that goes, or loses columns.
type LostTable struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns,omitempty"` // only these; none: all of it
	Rows    int64    `json:"rows"`              // at most MostCounted
}

// Nothing tells whether the way destroys nothing that somebody has written.
func (l Loss) Nothing() bool { return len(l.Tables) == 0 && len(l.Tracked) == 0 }

// Lost says what [Down] to a version would destroy, without changing anything.
func Lost(ctx context.Context, conn *pgx.Conn, version int32) (Loss, error) {
	loss := Loss{Tables: []LostTable{}, Tracked: []string{}}
	status, err := Read(ctx, conn)
	if err != nil || status.Version == 0 {
		return loss, err
	}
	tables, err := droppedAbove(version)
	if err != nil {
		return loss, err
	}
	if version <= 0 {
		river, err := riverTables(ctx, conn)
		if err != nil {
			return loss, err
		}
		tables = append(tables, river...)
	}
	for _, t := range tables {
		var there bool // else it is a migration's that is not applied
		if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", t.Name).Scan(&there); err != nil {
			return loss, fmt.Errorf("find %s: %w", t.Name, err)
		}
		if !there || t.Name == "casq.installation" { // whose row the migration has written
			continue
		}
		if t.Name == "casq.tracked" {
			if loss.Tracked, err = tracked(ctx, conn); err != nil {
				return loss, err
			}
			continue
		}
		// The name is one of ours.
		err := conn.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT FROM %s LIMIT %d) AS t", t.Name, MostCounted)).Scan(&t.Rows)
		if err != nil {
			return loss, fmt.Errorf("count the rows of %s: %w", t.Name, err)
		}
		if t.Rows > 0 {
			loss.Tables = append(loss.Tables, t)
		}
	}
	return loss, nil
}

var (
	dropTable  = regexp.MustCompile(`(?m)^DROP TABLE (casq\.\w+);|^ALTER TABLE (casq\.\w+)([^;]*);`)
	dropColumn = regexp.MustCompile(`DROP COLUMN (\w+)`)
)

// droppedAbove is what all migrations above a version drop on their way down.
func droppedAbove(version int32) (tables []LostTable, err error) {
	migrator := &migrate.Migrator{Data: map[string]any{}}
	if err := migrator.LoadMigrations(files); err != nil {
		return nil, fmt.Errorf("load migrations: %w", err)
	}
	for _, m := range slices.Backward(migrator.Migrations) {
		if m.Sequence > version {
			tables = append(tables, dropped(m.DownSQL)...)
		}
	}
	return tables, nil
}

// dropped is what the way down of a migration drops, by its text.
func dropped(sql string) (tables []LostTable) {
	for _, found := range dropTable.FindAllStringSubmatch(sql, -1) {
		if found[1] != "" {
			tables = append(tables, LostTable{Name: found[1]})
			continue
		}
		table := LostTable{Name: found[2]}
		for _, column := range dropColumn.FindAllStringSubmatch(found[3], -1) {
			table.Columns = append(table.Columns, column[1])
		}
		if table.Columns != nil {
			tables = append(tables, table)
		}
	}
	return tables
}

func riverTables(ctx context.Context, conn *pgx.Conn) ([]LostTable, error) {
	rows, err := conn.Query(ctx, `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
		WHERE schemaname = $1 AND tablename <> 'river_migration' ORDER BY 1`, riverSchema)
	if err != nil {
		return nil, fmt.Errorf("list river's tables: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list river's tables: %w", err)
	}
	tables := make([]LostTable, len(names))
	for i, name := range names {
		tables[i].Name = name
	}
	return tables, nil
}

func tracked(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, "SELECT relation::text FROM casq.tracked ORDER BY 1")
	if err != nil {
		return nil, fmt.Errorf("list tracked tables: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list tracked tables: %w", err)
	}
	return names, nil
}

// inUse returns [ErrInUse] while a worker of this site, or one that follows its
// log, has a session here. Where a pool stands between, so that sessions have no
// names, a process counts for a minute after its last sign of life.
func inUse(ctx context.Context, conn *pgx.Conn) error {
	var connected, known bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND application_name IN ('casq worker', 'casq follower')),
		to_regclass('casq.processes') IS NOT NULL`).Scan(&connected, &known)
	if err != nil {
		return fmt.Errorf("find workers: %w", err)
	}
	processes := 0
	if known {
		err := conn.QueryRow(ctx, `SELECT count(*) FROM casq.processes
			WHERE dead_at IS NULL AND beat_at > clock_timestamp() - interval '1 minute'`).Scan(&processes)
		if err != nil {
			return fmt.Errorf("find workers: %w", err)
		}
	}
	switch {
	case connected:
		return fmt.Errorf("%w: they are connected; stop them first, also those of other sites that follow its log", ErrInUse)
	case processes > 0:
		return fmt.Errorf("%w: %d showed a sign of life within a minute; stop them first, or wait", ErrInUse, processes)
	}
	return nil
}
