package testdb

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// ownName matches databases and roles of all runs.
var ownName = regexp.MustCompile(`^casq_test_([0-9a-f]{8})_`)

// sweep drops what runs that were killed left on a server that lives on.
func (s *sharedServer) sweep(ctx context.Context) error {
	rows, err := s.control.Query(ctx, `SELECT datname, true FROM pg_database
		UNION ALL SELECT rolname, false FROM pg_roles ORDER BY 2 DESC, 1`)
	if err != nil {
		return fmt.Errorf("list what other runs left: %w", err)
	}
	type resource struct {
		Name     string
		Database bool
	}
	resources, err := pgx.CollectRows(rows, pgx.RowToStructByPos[resource])
	if err != nil {
		return fmt.Errorf("list what other runs left: %w", err)
	}
	for _, t := range resources {
		match := ownName.FindStringSubmatch(t.Name)
		if match == nil {
			continue
		}
		if err := s.dropDead(ctx, match[1], t.Name, t.Database); err != nil {
			return fmt.Errorf("drop %s of a run that was killed: %w", t.Name, err)
		}
	}
	return nil
}

// dropDead drops what was made when the run that made it is over. The lock is of
// the transaction's connection, so it ends with it.
func (s *sharedServer) dropDead(ctx context.Context, id, name string, database bool) error {
	number, err := strconv.ParseUint(id, 16, 32)
	if err != nil {
		return err
	}
	conn, err := s.control.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var dead bool
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", lockClass, int32(uint32(number))).Scan(&dead)
	if err != nil || !dead {
		return err
	}
	statement := "DROP ROLE IF EXISTS " + quote(name)
	if database {
		statement = "DROP DATABASE IF EXISTS " + quote(name) + " WITH (FORCE)"
	}
	_, err = conn.Exec(ctx, statement)
	_, unlockErr := conn.Exec(ctx, "SELECT pg_advisory_unlock($1, $2)", lockClass, int32(uint32(number)))
	return errors.Join(err, unlockErr)
}
