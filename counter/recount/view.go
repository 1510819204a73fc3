package recount

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"casq/internal/database"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed view.sql
var viewText string

// viewSQL has the statements of view.sql.
var viewSQL = queries.Parse[struct{ Settings, Seen, Table string }]("recount/view", viewText)

var (
	// errLate says that a host does not show the request yet.
	errLate = errors.New("host is behind the request")

	// errMoved says that what was summed up is not the table that the snapshot
	// shows: DDL came between the two.
	errMoved = errors.New("the table was changed meanwhile")

	// errReordered says that the scopes of a table come in another order than they
	// did for the part before: some beyond the last one may be counted, and some
	// before it may not.
	errReordered = errors.New("scopes come in another order")

	// errLocked says that another session has to end first, which may take long.
	errLocked = errors.New("the table is locked")

	// errGone says that the kind has nothing any more that could be counted.
	errGone = errors.New("the table is not tracked any more")
)

func hostName(pool *pgxpool.Pool) string {
	cfg := pool.Config().ConnConfig
	return fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
}

// view sums up on one host, and returns what was seen if all of it was read. The
// snapshot is that of a transaction which reads only, so it may be a standby's:
// ticks are rows, and what the standby's snapshot shows beyond its newest tick is
// recorded by transaction.
func (s *scan) view(ctx context.Context, host *pgxpool.Pool) (v *seen, err error) {
	if err := s.forget(ctx); err != nil {
		return nil, err
	}
	err = pgx.BeginTxFunc(ctx, host, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		read, err := s.viewIn(ctx, tx)
		if err == nil {
			read.host = hostName(host)
			v = &read
		}
		return err
	})
	switch {
	case database.Code(err) == lockNotAvailable:
		return v, fmt.Errorf("%w by another session: %w", errLocked, err)
	case gone(err):
		return v, s.goneOrMoved(ctx, err)
	case altered(err):
		return v, fmt.Errorf("%w: %w", errMoved, err)
	}
	return v, err
}

// altered tells whether casq.check_trusted has said that the snapshot is older than
// the table. A standby that cancels a query gives the same code.
func altered(err error) bool {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	return ok && failure.Code == "40001" && strings.HasPrefix(failure.Message, "casq: ")
}

func (s *scan) viewIn(ctx context.Context, tx pgx.Tx) (v seen, err error) {
	_, err = tx.Exec(ctx, viewSQL.Settings, lockPatience.Milliseconds(), max(s.r.cfg.SnapshotLimit, database.IdleInTransaction).Milliseconds())
	if err != nil {
		return v, fmt.Errorf("set up the session: %w", err)
	}
	err = tx.QueryRow(ctx, viewSQL.Seen, s.id, s.token, s.floorTimeline, s.floorTick).Scan(&v.timeline, &v.tick, &v.nonce, &v.xids)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, errLate
	}
	if err != nil {
		return v, fmt.Errorf("read the log: %w", err)
	}
	s.r.cfg.Hook("scan:snapshot")
	before, err := s.readTable(ctx, tx)
	if err == nil && before.detaching {
		err = fmt.Errorf("%w: a partition is being detached (ALTER TABLE ... DETACH PARTITION ... FINALIZE ends one that was given up)", errLocked)
	}
	if err == nil && s.order != "" && s.order != before.order {
		err = errReordered
	}
	if err != nil {
		return v, err
	}
	v.order = before.order
	if s.part == partOfTable {
		v.rows, v.last, err = s.sumPart(ctx, tx)
	} else {
		v.rows, err = s.sumAll(ctx, tx)
	}
	if err != nil {
		return v, err
	}
	after, err := s.readTable(ctx, tx)
	if err == nil && !after.same {
		err = errMoved
	}
	s.r.cfg.Hook("scan:summed")
	return v, err
}

// tableSeen is what a snapshot shows of the table, and whether it is that still.
type tableSeen struct {
	same, detaching bool
	order           string
}

func (s *scan) readTable(ctx context.Context, tx pgx.Tx) (t tableSeen, err error) {
	if err := tx.QueryRow(ctx, viewSQL.Table, s.kind).Scan(&t.same, &t.detaching, &t.order); err != nil {
		return t, fmt.Errorf("read the table of %s: %w", s.kind, err)
	}
	return t, nil
}

// goneOrMoved tells what it means that the table or a column is not there. The
// snapshot has its old names: one that was given another name is there, for the
// next snapshot.
func (s *scan) goneOrMoved(ctx context.Context, cause error) error {
	var index bool
	err := s.r.cfg.Home.QueryRow(ctx, hasScopeIndexSQL, s.kind).Scan(&index)
	switch {
	case gone(err):
		return fmt.Errorf("%w: %w", errGone, cause)
	case err != nil:
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w: %w", errMoved, cause)
}

// gone tells whether the kind's tracking was removed.
func gone(err error) bool {
	code := database.Code(err)
	return code == "42704" || code == "42P01" || code == "42703" || code == "22023"
}
