package counter

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed refresh.sql
var refreshText string

// refreshSQL has the statements of refresh.sql.
var refreshSQL = queries.Parse[struct {
	Countable, ScopesWithoutCounter, ScopesWithoutRow, Waiting, AskScan, AskRefresh, Cancel string
}]("counter/refresh", refreshText)

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
func (c *Counters) Refresh(ctx context.Context, r Request) (scan int64, refreshes []int64, err error) {
	if err := c.prepare(ctx); err != nil {
		return 0, nil, err
	}
	if err := c.check(ctx, r); err != nil {
		return 0, nil, err
	}
	var a asked
	err = pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) (err error) {
		if r.All {
			if a, err = waiting(ctx, tx, r); err != nil || a.scan != 0 {
				return err
			}
		}
		a, err = c.ask(ctx, tx, r)
		return err
	})
	return a.scan, a.refreshes, err
}

// prepare makes a request possible before any worker has run. A tick that another
// process is about to take will do as well, when it is there.
func (c *Counters) prepare(ctx context.Context) error {
	deadline := time.Now().Add(c.patience)
	for {
		err := c.begin(ctx)
		if !errors.Is(err, eventlog.ErrNoTicks) {
			return err
		}
		var taken *int64
		if tickErr := c.cfg.Home.QueryRow(ctx, "SELECT casq.tick(true)").Scan(&taken); tickErr != nil {
			return fmt.Errorf("take the first tick: %w", tickErr)
		}
		if taken == nil {
			if time.Now().After(deadline) || ctx.Err() != nil {
				return err
			}
			_ = pause.For(ctx, c.cfg.Interval)
		}
	}
}

// check refuses what cannot be counted. It is a transaction of its own: it may lock
// the table for a moment.
func (c *Counters) check(ctx context.Context, r Request) error {
	err := pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var countable bool
		if err := tx.QueryRow(ctx, refreshSQL.Countable, r.Kind).Scan(&countable); err != nil {
			return fmt.Errorf("find kind %q: %w", r.Kind, err)
		}
		if !countable {
			return fmt.Errorf("%w: %q has no tracked table with a scope column; track it with casq.track(..., scope_column => ...)", ErrNotCounted, r.Kind)
		}
		if r.All {
			return nil
		}
		return checkScopes(ctx, tx, r.Kind, r.Scopes)
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
		if len(scope) > maxScope {
			return fmt.Errorf("%w: a scope of %s has at most %d bytes, this one has %d", ErrNoScope, kind, maxScope, len(scope))
		}
	}
	unknown := scopes
	for _, sql := range []string{refreshSQL.ScopesWithoutCounter, refreshSQL.ScopesWithoutRow} {
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
func waiting(ctx context.Context, tx pgx.Tx, r Request) (asked, error) {
	var scan, refresh int64
	err := tx.QueryRow(ctx, refreshSQL.Waiting, r.Kind, r.Compare).Scan(&scan, &refresh)
	if errors.Is(err, pgx.ErrNoRows) {
		return asked{}, nil
	}
	if err != nil {
		return asked{}, fmt.Errorf("find a recount that waits: %w", err)
	}
	return asked{scan, []int64{refresh}}, nil
}

// ask stores a request in tx.
func (c *Counters) ask(ctx context.Context, tx pgx.Tx, r Request) (a asked, err error) {
	if err := tx.QueryRow(ctx, refreshSQL.AskScan, r.Kind, r.All, r.Compare).Scan(&a.scan); err != nil {
		return a, fmt.Errorf("ask for a recount: %w", err)
	}
	scopes, shards := []*string{nil}, []*int{nil}
	place := make(map[string]int, len(r.Scopes)) // of a scope in scopes
	if !r.All {
		scopes, shards = nil, nil
		_, n, err := c.open(ctx)
		if err != nil {
			return a, err
		}
		for _, scope := range r.Scopes {
			if _, twice := place[scope]; twice {
				continue
			}
			place[scope] = len(scopes)
			shard := shardOf(Key{r.Kind, scope}, n)
			scopes, shards = append(scopes, &scope), append(shards, &shard)
		}
	}
	rows, err := tx.Query(ctx, refreshSQL.AskRefresh, a.scan, r.Kind, scopes, shards)
	if err != nil {
		return a, fmt.Errorf("ask for a recount: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return a, fmt.Errorf("ask for a recount: %w", err)
	}
	a.refreshes = ids
	if !r.All {
		a.refreshes = make([]int64, len(r.Scopes))
		for i, scope := range r.Scopes {
			a.refreshes[i] = ids[place[scope]]
		}
	}
	return a, c.queueScan(ctx, tx, a.scan)
}

func (c *Counters) queueScan(ctx context.Context, tx pgx.Tx, scan int64) error {
	job, err := c.cfg.Jobs.Scan(ctx, tx, scan)
	if err != nil {
		return fmt.Errorf("queue scan %d: %w", scan, err)
	}
	if _, err := tx.Exec(ctx, "UPDATE casq.scans SET job = $2 WHERE id = $1", scan, job); err != nil {
		return fmt.Errorf("queue scan %d: %w", scan, err)
	}
	return nil
}

// Cancel ends a recount that is under way, in whatever state; the counter keeps
// its value, which stays right. Cancelling the one for all scopes ends all.
func (c *Counters) Cancel(ctx context.Context, refresh int64) error {
	var found, open bool
	err := pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		var scan *int64
		if err := tx.QueryRow(ctx, "SELECT (SELECT scan FROM casq.refreshes WHERE id = $1)", refresh).Scan(&scan); err != nil || scan == nil {
			return err
		}
		if err := lockRecount(ctx, tx, *scan); err != nil {
			return err
		}
		return tx.QueryRow(ctx, refreshSQL.Cancel, refresh).Scan(&found, &open)
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

// gone tells whether the kind's tracking was removed.
func gone(err error) bool {
	code := database.Code(err)
	return code == "42704" || code == "42P01" || code == "42703" || code == "22023"
}
