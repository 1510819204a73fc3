package recount

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed parts.sql
var partsText string

// partsSQL has the statements of parts.sql.
var partsSQL = queries.Parse[struct{ Begin, Ask, Rest, Done, Divide, Sums string }]("recount/parts", partsText)

// askPart queues a part of a recount.
func (r *Recounts) askPart(ctx context.Context, tx pgx.Tx, recount int64, part string, after, order *string) (id int64, err error) {
	if err := tx.QueryRow(ctx, partsSQL.Ask, recount, part, after, order).Scan(&id); err != nil {
		return 0, fmt.Errorf("ask for a part: %w", err)
	}
	return id, r.queue(ctx, tx, id)
}

// divide gives up a scan that takes too long in one go: one of all scopes goes on
// in parts, and of a list every second scope is left to another scan.
func (s *scan) divide(ctx context.Context) error {
	s.r.cfg.Hook("scan:slow")
	s.r.log.InfoContext(ctx, "counting in parts", "scan", s.id, "limit", s.r.cfg.SnapshotLimit)
	if s.all { // what it has stored belongs to no recount any more
		if err := s.forget(ctx); err != nil {
			return err
		}
	}
	err := pgx.BeginTxFunc(ctx, s.r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if s.all {
			return s.beginParts(ctx, tx)
		}
		return s.halve(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("divide scan %d: %w", s.id, err)
	}
	if s.all {
		return nil
	}
	return ErrBusy // the other half is tried again
}

func (s *scan) beginParts(ctx context.Context, tx pgx.Tx) error {
	tag, err := tx.Exec(ctx, partsSQL.Begin, s.id, s.token, s.generation)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrSuperseded
	}
	_, err = s.r.askPart(ctx, tx, s.id, partOfTable, nil, nil)
	return err
}

func (s *scan) halve(ctx context.Context, tx pgx.Tx) error {
	if err := lock(ctx, tx, s.id); err != nil {
		return err
	}
	// Nor may another run take the scan.
	if _, err := tx.Exec(ctx, "SELECT FROM casq.scans WHERE id = $1 FOR UPDATE", s.id); err != nil {
		return err
	}
	recount := s.id
	if s.partOf != nil {
		recount = *s.partOf
	}
	other, err := s.r.askPart(ctx, tx, recount, partOfList, nil, nil)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, partsSQL.Divide, s.id, s.token, other)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return ErrSuperseded
	}
	_, err = tx.Exec(ctx, "UPDATE casq.scans SET token = NULL, process = NULL, tries = 0 WHERE id = $1", s.id)
	return err
}

// slices of a part of the table are summed up one by one. They get larger as long
// as they take less than an eighth of the time.
const (
	firstSlice = 1
	maxSlice   = scanPage
	sliceShare = 8
)

// sumPart sums up the scopes beyond s.after, in one snapshot, until half of the
// time is over: at most a slice, which is not expected to take a quarter, comes
// after that. last is the last scope; nil: there are no more.
func (s *scan) sumPart(ctx context.Context, tx pgx.Tx) (total int64, last *string, err error) {
	began, after := time.Now(), s.after
	for slice := firstSlice; ; {
		start := time.Now()
		rows, scopes, end, err := s.sum(ctx, tx, partsSQL.Sums, s.kind, after, slice)
		if err != nil {
			return 0, nil, err
		}
		total += rows
		if scopes < slice {
			return total, nil, nil
		}
		after = &end
		if s.r.since(began) > s.r.cfg.SnapshotLimit/2 {
			return total, after, nil
		}
		if s.r.since(start) < s.r.cfg.SnapshotLimit/sliceShare {
			slice = min(2*slice, maxSlice)
		}
	}
}

// over is a scan that has just ended.
type over struct {
	recount *int64 // what it was a part of
	part    *string
	last    *string
	order   *string
}

// goOn asks for what comes after a part: the next one of the table, then the
// counters that the table had no rows for; or it ends the recount. All is in the
// transaction that ends the part, and only one at a time is asked for.
//
// The rest comes when all parts of the table are swapped in. All shards are beyond
// their snapshots then: what has a counter because of events that a snapshot has
// seen has it in Postgres. Each counter of the rest is read once, in their order, so
// that new ones do not keep it going.
func (r *Recounts) goOn(ctx context.Context, tx pgx.Tx, p over, flush int64) error {
	if p.recount == nil {
		return nil
	}
	if *p.part == partOfTable && p.last != nil {
		_, err := r.askPart(ctx, tx, *p.recount, partOfTable, p.last, p.order)
		return err
	}
	if *p.part != partOfList {
		more, err := r.askRest(ctx, tx, p)
		if more || err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, partsSQL.Done, *p.recount, flush); err != nil {
		return fmt.Errorf("end the recount: %w", err)
	}
	return nil
}

// askRest asks for the next counters that the table had no rows for, if there are
// any. It reads a page of counters at a time, for half of the time of a snapshot:
// vacuum waits for this transaction, too. A part that is empty then goes on with
// those beyond it.
func (r *Recounts) askRest(ctx context.Context, tx pgx.Tx, p over) (more bool, err error) {
	var id int64
	if err := tx.QueryRow(ctx, partsSQL.Ask, *p.recount, partOfRest, p.last, nil).Scan(&id); err != nil {
		return false, fmt.Errorf("ask for the rest: %w", err)
	}
	began := time.Now()
	last, read, asked, late := p.last, scanPage, 0, false
	for asked == 0 && read == scanPage && !late {
		if err := tx.QueryRow(ctx, partsSQL.Rest, *p.recount, id, last, scanPage).Scan(&read, &asked, &last); err != nil {
			return false, fmt.Errorf("ask for the rest: %w", err)
		}
		late = r.since(began) > r.cfg.SnapshotLimit/2
	}
	if asked == 0 && read < scanPage {
		_, err := tx.Exec(ctx, "DELETE FROM casq.scans WHERE id = $1", id)
		return false, err
	}
	if _, err := tx.Exec(ctx, "UPDATE casq.scans SET last_scope = $2 WHERE id = $1", id, last); err != nil {
		return false, fmt.Errorf("ask for the rest: %w", err)
	}
	return true, r.queue(ctx, tx, id)
}
