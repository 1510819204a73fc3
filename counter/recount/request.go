package recount

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"casq/counter/internal/tally"
	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed request.sql
var requestText string

// requestSQL has the statements of request.sql.
var requestSQL = queries.Parse[struct {
	Countable, ScopesWithoutCounter, ScopesWithoutRow, Waiting, AskScan, AskRefresh, Cancel string
}]("recount/request", requestText)

var (
	// ErrNotCounted is returned for a kind that has no tracked table with a
	// scope column.
	ErrNotCounted = errors.New("kind is not counted")

	// ErrNoScope is returned for a scope that has neither a counter nor a row.
	ErrNoScope = errors.New("no such scope")

	// ErrLocked is returned when the table of a scope that has no counter yet is
	// locked by another session.
	ErrLocked = errors.New("the table is locked by another session")

	// ErrNoRefresh is returned for a recount that does not exist.
	ErrNoRefresh = errors.New("no such recount")

	// ErrOver is returned for a recount that has ended.
	ErrOver = errors.New("recount is over")
)

// Request asks for counters to be recounted.
type Request struct {
	Kind   string
	Scopes []string // some of them
	All    bool     // or all, also those that have no counter yet
	// Compare reports differences and swaps nothing.
	Compare bool
}

// Refresh stores a request and queues its scan. It returns the scan's id and
// those of the recounts in casq.refreshes: one for each scope, in order, or a
// single one for all, which is one with an equal request that has not begun. A scope
// that is named twice has one recount. Nothing happens
// to the counters until the scan's result is swapped in. Errors: [ErrNotCounted],
// [ErrNoScope], [ErrLocked].
func (r *Recounts) Refresh(ctx context.Context, req Request) (scan int64, refreshes []int64, err error) {
	if err := r.prepare(ctx); err != nil {
		return 0, nil, err
	}
	if err := r.check(ctx, req); err != nil {
		return 0, nil, err
	}
	var a asked
	err = pgx.BeginTxFunc(ctx, r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
		if req.All {
			if a, err = waiting(ctx, tx, req); err != nil || a.scan != 0 {
				return err
			}
		}
		a, err = r.ask(ctx, tx, req)
		return err
	})
	return a.scan, a.refreshes, err
}

// prepare makes a request possible before any worker has run. A tick that another
// process is about to take will do as well, when it is there.
func (r *Recounts) prepare(ctx context.Context) error {
	deadline := time.Now().Add(r.patience)
	for {
		err := r.cfg.Counters.Begin(ctx)
		if !errors.Is(err, eventlog.ErrNoTicks) {
			return err
		}
		var taken *int64
		if tickErr := r.cfg.Home.QueryRow(ctx, "SELECT casq.tick(true)").Scan(&taken); tickErr != nil {
			return fmt.Errorf("take the first tick: %w", tickErr)
		}
		if taken == nil {
			if time.Now().After(deadline) || ctx.Err() != nil {
				return err
			}
			_ = pause.For(ctx, r.cfg.Interval)
		}
	}
}

// check refuses what cannot be counted. It is a transaction of its own: it may lock
// the table for a moment.
func (r *Recounts) check(ctx context.Context, req Request) error {
	err := pgx.BeginTxFunc(ctx, r.cfg.Home, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var countable bool
		if err := tx.QueryRow(ctx, requestSQL.Countable, req.Kind).Scan(&countable); err != nil {
			return fmt.Errorf("find kind %q: %w", req.Kind, err)
		}
		if !countable {
			return fmt.Errorf("%w: %q has no tracked table with a scope column; track it with casq.track(..., scope_column => ...)", ErrNotCounted, req.Kind)
		}
		if req.All {
			return nil
		}
		return checkScopes(ctx, tx, req.Kind, req.Scopes)
	})
	if database.Code(err) == lockNotAvailable {
		return fmt.Errorf("%w, and a scope without a counter has to be found in it; try again: %w", ErrLocked, err)
	}
	return err
}

// checkScopes refuses scopes that have neither a counter nor a row. The table is
// read only for what has no counter: 100,000 look-ups in it took 49 s.
func checkScopes(ctx context.Context, tx pgx.Tx, kind string, scopes []string) error {
	for _, scope := range scopes {
		if len(scope) > tally.MaxScope {
			return fmt.Errorf("%w: a scope of %s has at most %d bytes, this one has %d", ErrNoScope, kind, tally.MaxScope, len(scope))
		}
	}
	unknown := scopes
	for _, sql := range []string{requestSQL.ScopesWithoutCounter, requestSQL.ScopesWithoutRow} {
		if _, err := tx.Exec(ctx, "SELECT set_config('lock_timeout', $1, true)", strconv.FormatInt(lockPatience.Milliseconds(), 10)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, sql, kind, unknown)
		if err != nil {
			return fmt.Errorf("find scopes of kind %q: %w", kind, err)
		}
		if unknown, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return fmt.Errorf("find scopes of kind %q: %w", kind, err)
		}
		if len(unknown) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: %s %s has neither a counter nor a row", ErrNoScope, kind, strings.Join(unknown, ", "))
}

// asked is a request that was stored.
type asked struct {
	scan      int64
	refreshes []int64
}

// waiting finds a recount of everything that has not begun: its snapshot is still to
// come, so it sees all that another one that is asked for now would see. Two that are
// asked for in one moment may both be stored, and the later one counts for nothing new.
func waiting(ctx context.Context, tx pgx.Tx, req Request) (asked, error) {
	var scan, refresh int64
	err := tx.QueryRow(ctx, requestSQL.Waiting, req.Kind, req.Compare).Scan(&scan, &refresh)
	if errors.Is(err, pgx.ErrNoRows) {
		return asked{}, nil
	}
	if err != nil {
		return asked{}, fmt.Errorf("find a recount that waits: %w", err)
	}
	return asked{scan, []int64{refresh}}, nil
}

// ask stores a request in tx.
func (r *Recounts) ask(ctx context.Context, tx pgx.Tx, req Request) (a asked, err error) {
	if err := tx.QueryRow(ctx, requestSQL.AskScan, req.Kind, req.All, req.Compare).Scan(&a.scan); err != nil {
		return a, fmt.Errorf("ask for a recount: %w", err)
	}
	scopes, shards := []*string{nil}, []*int{nil}
	place := make(map[string]int, len(req.Scopes)) // of a scope in scopes
	if !req.All {
		scopes, shards = nil, nil
		n, err := r.cfg.Counters.Shards(ctx)
		if err != nil {
			return a, err
		}
		for _, scope := range req.Scopes {
			if _, twice := place[scope]; twice {
				continue
			}
			place[scope] = len(scopes)
			shard := tally.ShardOf(tally.Key{Kind: req.Kind, ScopeID: scope}, n)
			scopes, shards = append(scopes, &scope), append(shards, &shard)
		}
	}
	rows, err := tx.Query(ctx, requestSQL.AskRefresh, a.scan, req.Kind, scopes, shards)
	if err != nil {
		return a, fmt.Errorf("ask for a recount: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return a, fmt.Errorf("ask for a recount: %w", err)
	}
	a.refreshes = ids
	if !req.All {
		a.refreshes = make([]int64, len(req.Scopes))
		for i, scope := range req.Scopes {
			a.refreshes[i] = ids[place[scope]]
		}
	}
	return a, r.queue(ctx, tx, a.scan)
}

// Cancel ends a recount that is under way, in whatever state; the counter keeps
// its value, which stays right. Cancelling the one for all scopes ends all.
func (r *Recounts) Cancel(ctx context.Context, refresh int64) error {
	var found, open bool
	err := pgx.BeginTxFunc(ctx, r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		var scan *int64
		if err := tx.QueryRow(ctx, "SELECT (SELECT scan FROM casq.refreshes WHERE id = $1)", refresh).Scan(&scan); err != nil || scan == nil {
			return err
		}
		if err := lock(ctx, tx, *scan); err != nil {
			return err
		}
		return tx.QueryRow(ctx, requestSQL.Cancel, refresh).Scan(&found, &open)
	})
	switch {
	case err != nil:
		return fmt.Errorf("cancel recount %d: %w", refresh, err)
	case !found:
		return fmt.Errorf("%w: %d", ErrNoRefresh, refresh)
	case !open:
		return fmt.Errorf("%w: %d", ErrOver, refresh)
	}
	return nil
}
