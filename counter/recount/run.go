package recount

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

//go:embed scan.sql
var scanText string

// scanSQL has the statements of scan.sql.
var scanSQL = queries.Parse[struct {
	Lock, Busy, Start, Running, End, EndRefreshes, GiveUp, Fail, Restart string
}]("recount/scan", scanText)

// What a scan may be a part of.
const (
	partOfTable = "table" // the scopes of the table, in the order of their column
	partOfRest  = "rest"  // counters that the table had no rows for
	partOfList  = "list"  // of scopes that were asked for
)

// scan is one run of a scan.
type scan struct {
	r             *Recounts
	id            int64
	token         uuid.UUID
	kind          string
	all           bool   // scopes
	part          string // what it is a part of: partOfTable, partOfRest, partOfList
	partOf        *int64 // which recount it is a part of
	after         *string
	order         string   // that the scopes of the part before came in
	scopes        []string // unless it finds them itself
	floorTimeline int32
	floorTick     int64
	tries         int
	generation    int32
}

// finds tells whether the scopes are what the table has, and not a list.
func (s *scan) finds() bool { return s.all || s.part == partOfTable }

// startScan takes the scan for this run: what an earlier one still brings has
// the wrong token.
func (r *Recounts) startScan(ctx context.Context, id, job int64, process uuid.UUID) (*scan, error) {
	s := &scan{r: r, id: id, token: uuid.New()}
	var anew bool
	err := pgx.BeginTxFunc(ctx, r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('casq.scans', 0))"); err != nil {
			return err
		}
		var over, busy, lost bool
		err := tx.QueryRow(ctx, scanSQL.Busy, id, process, r.cfg.Concurrency).Scan(&over, &busy, &lost)
		switch {
		case errors.Is(err, pgx.ErrNoRows), err == nil && over:
			return ErrSuperseded
		case err != nil:
			return err
		case busy:
			return ErrBusy
		}
		if lost {
			r.log.WarnContext(ctx, "a part of a recount was lost, counting from the start", "scan", id)
			if _, err := tx.Exec(ctx, scanSQL.Restart, id); err != nil {
				return err
			}
		}
		err = tx.QueryRow(ctx, scanSQL.Start, id, s.token, process, job).
			Scan(&s.kind, &s.all, &s.part, &s.partOf, &s.after, &s.order, &s.floorTimeline, &s.floorTick, &s.tries, &s.generation, &anew)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, scanSQL.Running, id)
		if err != nil {
			return err
		}
		s.scopes, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start scan %d: %w", id, err)
	}
	if anew {
		return nil, s.restart(ctx)
	}
	return s, nil
}

// restart begins a recount in parts anew whose table is another one by now, or has
// its scopes in another order.
func (s *scan) restart(ctx context.Context) error {
	err := pgx.BeginTxFunc(ctx, s.r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, *s.partOf); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, scanSQL.Restart, *s.partOf)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return s.r.queue(ctx, tx, *s.partOf)
	})
	if err != nil {
		return fmt.Errorf("begin recount %d anew: %w", *s.partOf, err)
	}
	return ErrSuperseded
}

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

// end says what was seen, and queues the swap. It is tried for a while: all that was
// summed up would be summed up again. One that was done and whose answer was lost
// has ended the scan, and this run with it ([ErrSuperseded]).
func (s *scan) end(ctx context.Context, v seen) error {
	for deadline := time.Now().Add(repeatPatience); ; _ = pause.For(ctx, s.r.cfg.Interval) {
		err := s.endOnce(ctx, v)
		if err == nil || errors.Is(err, ErrSuperseded) || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
	}
}

func (s *scan) endOnce(ctx context.Context, v seen) error {
	n, err := s.r.cfg.Counters.Shards(ctx)
	if err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, s.r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, scanSQL.End, s.id, s.token, v.host, v.timeline, v.tick, v.nonce, v.xids, v.rows, s.generation, n, v.last, v.order)
		if err != nil {
			return fmt.Errorf("end scan: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrSuperseded
		}
		job, err := s.r.cfg.Jobs.Finalize(ctx, tx, Finalize{Scan: s.id, Token: s.token})
		if err != nil {
			return fmt.Errorf("queue the swap: %w", err)
		}
		if _, err := tx.Exec(ctx, scanSQL.EndRefreshes, s.id, job); err != nil {
			return fmt.Errorf("end scan: %w", err)
		}
		return nil
	})
}

// giveUp lets the next run begin at once, in whatever process, and says why this one
// has ended; unless the scan has ended and only the answer was lost: then the swap
// needs the token. A process that is told to stop does so, too.
func (s *scan) giveUp(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// What waits for its turn has not been tried.
	_, err := s.r.cfg.Home.Exec(ctx, scanSQL.GiveUp, s.id, s.token, errors.Is(cause, ErrBusy), database.Text(cause.Error(), 0))
	return err
}

// Fail ends the recounts of a scan that will not be tried again. Their counters
// keep their values, which stay right.
func (r *Recounts) Fail(ctx context.Context, scan int64, cause error) error {
	err := pgx.BeginTxFunc(ctx, r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, scan); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, scanSQL.Fail, scan, database.Text(cause.Error(), 0))
		return err
	})
	if err != nil {
		return fmt.Errorf("fail scan %d: %w", scan, err)
	}
	return nil
}
