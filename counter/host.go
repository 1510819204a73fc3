package counter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"casq/internal/database"
	"casq/internal/pause"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

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

	// errHangs says that a host answers no session at all.
	errHangs = errors.New("host does not answer")

	// errGone says that the kind has nothing any more that could be counted.
	errGone = errors.New("the table is not tracked any more")
)

// standbyTries is how often a scan may be cut off on standbys (a standby cancels
// what holds up its replay for too long) before the primary does it.
const standbyTries = 3

const (
	// repeatPatience is how long a host is tried again that will soon do.
	repeatPatience = 5 * time.Second
	// lockPatience is how long a lock on the table is waited for. A snapshot is
	// open meanwhile, and a session that waits for a lock holds up those that come
	// later.
	lockPatience = 2 * time.Second
	// hostPatience is how long a host may take to answer a question that costs it
	// nothing. One that is frozen, or beyond a network that drops everything, ends
	// no connection by itself for minutes, if ever.
	hostPatience = 10 * time.Second
)

// seen is what a snapshot showed of the log: its newest tick, and the
// transactions with events beyond that tick.
type seen struct {
	host     string
	timeline int32
	tick     int64
	nonce    uuid.UUID
	xids     []string
	rows     int64
	// Of a part of the table: the last scope, unless it was the last part, and what
	// the order of the scopes came from.
	last  *string
	order string
}

func hostName(pool *pgxpool.Pool) string {
	cfg := pool.Config().ConnConfig
	return fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
}

// hosts are where to try, in order.
func (s *scan) hosts() []*pgxpool.Pool {
	if s.tries > standbyTries {
		return []*pgxpool.Pool{s.cfg.Home}
	}
	return append(append([]*pgxpool.Pool{}, s.cfg.Standbys...), s.cfg.Home)
}

// anywhere scans on the first host that can.
func (s *scan) anywhere(ctx context.Context) (err error) {
	// A tick close to the snapshot keeps the list of transactions beyond it short.
	if _, err := s.cfg.Home.Exec(ctx, "SELECT casq.tick(true)"); err != nil {
		return fmt.Errorf("take a tick: %w", err)
	}
	s.cfg.Hook("scan:started")
	for _, host := range s.hosts() {
		err = s.run(ctx, host)
		switch {
		case err == nil, errors.Is(err, ErrSuperseded), ctx.Err() != nil:
			return err
		case errors.Is(err, errSlow):
			return s.divide(ctx)
		case errors.Is(err, errReordered):
			return s.restart(ctx)
		case errors.Is(err, errGone):
			return errors.Join(ErrSuperseded, s.Fail(ctx, s.id, err))
		case errors.Is(err, errLocked): // may take hours, and the row says it
			s.log.DebugContext(ctx, "cannot count on this host yet", "scan", s.id, "host", hostName(host), "err", err)
		default:
			s.log.WarnContext(ctx, "cannot count on this host", "scan", s.id, "host", hostName(host), "err", err)
		}
	}
	if errors.Is(err, errLocked) {
		return fmt.Errorf("scan %d: %w: %w", s.id, ErrBusy, err)
	}
	return fmt.Errorf("scan %d: %w", s.id, err)
}

// run scans on one host, and ends the scan. It ends it when the snapshot is closed:
// what was read is right whatever becomes of the transaction that has read it,
// while one that waits for home is ended by its own host.
func (s *scan) run(ctx context.Context, host *pgxpool.Pool) error {
	var v *seen
	err := s.whileItAnswers(ctx, host, func(ctx context.Context) (err error) {
		for deadline := time.Now().Add(repeatPatience); ; _ = pause.For(ctx, s.cfg.Interval) {
			v, err = s.view(ctx, host)
			soon := errors.Is(err, errLate) || errors.Is(err, errMoved)
			if !soon || time.Now().After(deadline) || ctx.Err() != nil {
				return err
			}
		}
	})
	if v == nil {
		return err
	}
	return s.end(ctx, *v)
}

// whileItAnswers calls f with a context that is done when the host hangs. The host is
// asked over a connection of its own. Any answer will do, also that it refuses
// more connections: a query that runs may take its time.
func (s *scan) whileItAnswers(ctx context.Context, host *pgxpool.Pool, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		for _ = pause.For(ctx, s.hostPatience/2); ctx.Err() == nil; _ = pause.For(ctx, s.hostPatience/2) {
			if !s.answers(ctx, host) {
				cancel(errHangs)
			}
		}
	})
	defer group.Wait()
	defer cancel(nil)
	err := f(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errHangs) {
		return fmt.Errorf("%w for %s: %w", errHangs, s.hostPatience, err)
	}
	return err
}

func (s *scan) answers(ctx context.Context, host *pgxpool.Pool) bool {
	ctx, cancel := context.WithTimeout(ctx, s.hostPatience)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, host.Config().ConnConfig)
	if err != nil {
		return !errors.Is(ctx.Err(), context.DeadlineExceeded)
	}
	_, err = conn.Exec(ctx, "SELECT")
	_ = conn.Close(ctx)
	return err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded)
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
	_, err = tx.Exec(ctx, scanSQL.Settings, lockPatience.Milliseconds(), max(s.cfg.SnapshotLimit, database.IdleInTransaction).Milliseconds())
	if err != nil {
		return v, fmt.Errorf("set up the session: %w", err)
	}
	err = tx.QueryRow(ctx, scanSQL.Seen, s.id, s.token, s.floorTimeline, s.floorTick).Scan(&v.timeline, &v.tick, &v.nonce, &v.xids)
	if errors.Is(err, pgx.ErrNoRows) {
		return v, errLate
	}
	if err != nil {
		return v, fmt.Errorf("read the log: %w", err)
	}
	s.cfg.Hook("scan:snapshot")
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
	s.cfg.Hook("scan:summed")
	return v, err
}

// tableSeen is what a snapshot shows of the table, and whether it is that still.
type tableSeen struct {
	same, detaching bool
	order           string
}

func (s *scan) readTable(ctx context.Context, tx pgx.Tx) (t tableSeen, err error) {
	if err := tx.QueryRow(ctx, scanSQL.Table, s.kind).Scan(&t.same, &t.detaching, &t.order); err != nil {
		return t, fmt.Errorf("read the table of %s: %w", s.kind, err)
	}
	return t, nil
}

// goneOrMoved tells what it means that the table or a column is not there. The
// snapshot has its old names: one that was given another name is there, for the
// next snapshot.
func (s *scan) goneOrMoved(ctx context.Context, cause error) error {
	var index bool
	err := s.cfg.Home.QueryRow(ctx, hasScopeIndexSQL, s.kind).Scan(&index)
	switch {
	case gone(err):
		return fmt.Errorf("%w: %w", errGone, cause)
	case err != nil:
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w: %w", errMoved, cause)
}
