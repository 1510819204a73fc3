package migrations

import (
	"context"
	"errors"
	"fmt"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

// oldest is the newest migration of the oldest program that works on the schema that
// this program makes. A migration that takes away, or changes, what the release before
// uses raises it to its own number; one that only adds does not.
const oldest = 16

// undefinedTable is what an older schema answers.
const undefinedTable = "42P01"

// Check returns [ErrNotMigrated] or [ErrNewer], with what to do about it, unless this
// program works on the schema: it does on its own, and on a newer one that says so.
func Check(ctx context.Context, db Queryer) error {
	status, err := Read(ctx, db)
	if err != nil {
		return err
	}
	if status.Version < status.Latest {
		return fmt.Errorf("%w: it is at version %d of %d; run `worker migrate up`", ErrNotMigrated, status.Version, status.Latest)
	}
	needed, err := oldestProgram(ctx, db)
	if err != nil {
		return err
	}
	if needed > status.Latest {
		return newer(status, needed)
	}
	return nil
}

// oldestProgram is what the schema says of itself.
func oldestProgram(ctx context.Context, db Queryer) (needed int32, err error) {
	err = db.QueryRow(ctx, "SELECT oldest_program FROM casq.installation").Scan(&needed)
	if err != nil {
		return 0, fmt.Errorf("read which programs work on the schema: %w", err)
	}
	return needed, nil
}

// newer says what the schema needs, where that is known.
func newer(s Status, needed int32) error {
	say := ""
	if needed > 0 {
		say = fmt.Sprintf(", and needs one that knows %d", needed)
	}
	return fmt.Errorf("%w: it is at version %d%s, the program knows %d; run a newer program", ErrNewer, s.Version, say, s.Latest)
}

// Unfit tells whether an error is that a program and a schema do not fit. It will not
// pass by waiting.
func Unfit(err error) bool {
	return errors.Is(err, ErrNotMigrated) || errors.Is(err, ErrNewer) || errors.Is(err, ErrEarlier)
}

// leaveNobodyBehind returns [ErrInUse] while workers are alive that would not work on
// the schema that is about to be made: they are replaced first, by the release between.
func leaveNobodyBehind(ctx context.Context, conn *pgx.Conn, version int32) error {
	if version == 0 {
		return nil
	}
	var hosts string
	err := conn.QueryRow(ctx, `SELECT coalesce(string_agg(format('%s (pid %s, version %s)', host, pid, version), ', '), '')
		FROM casq.live_workers WHERE schema_version < $1`, oldest).Scan(&hosts)
	switch code := database.Code(err); {
	case code == undefinedTable:
		return nil // it is older than that table
	case err != nil:
		return fmt.Errorf("find older workers: %w", err)
	case hosts != "":
		return fmt.Errorf("%w that would not work on the new schema, which needs programs that know migration %d: %s; stop them, or run the release before first",
			ErrInUse, oldest, hosts)
	}
	return nil
}

// raiseOldest says which programs work on the schema that this one is about to make.
func raiseOldest(ctx context.Context, conn *pgx.Conn) error {
	return setOldest(ctx, conn, "UPDATE casq.installation SET oldest_program = $1 WHERE oldest_program < $1", oldest)
}

// lowerOldest says that the program whose own schema this is again works on it. It comes
// after the way down: one that is killed in between is told so when it is run again.
func lowerOldest(ctx context.Context, conn *pgx.Conn, version int32) error {
	return setOldest(ctx, conn, "UPDATE casq.installation SET oldest_program = $1 WHERE oldest_program > $1", version)
}

func setOldest(ctx context.Context, conn *pgx.Conn, sql string, program int32) error {
	if _, err := conn.Exec(ctx, sql, program); err != nil {
		return fmt.Errorf("say which programs work on the schema: %w", err)
	}
	return nil
}
