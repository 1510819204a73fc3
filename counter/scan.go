package counter

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"casq/internal/database"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	//go:embed scan_busy.sql
	scanBusySQL string
	//go:embed scan_start.sql
	scanStartSQL string
	//go:embed scan_running.sql
	scanRunningSQL string
	//go:embed scan_forget.sql
	scanForgetSQL string
	//go:embed scan_forget_list.sql
	scanForgetListSQL string
	//go:embed scan_seen.sql
	scanSeenSQL string
	//go:embed scan_sums.sql
	scanSumsSQL string
	//go:embed scan_found.sql
	scanFoundSQL string
	//go:embed scan_end.sql
	scanEndSQL string
	//go:embed scan_end_refreshes.sql
	scanEndRefreshesSQL string
	//go:embed fail.sql
	failSQL string
)

var (
	// ErrBusy says that a scan has to wait: enough others run, or an earlier
	// recount of the same scope is not over. Try again soon.
	ErrBusy = errors.New("other recounts come first")

	// ErrSuperseded says that there is nothing to do: the recount is over, or
	// another run has it.
	ErrSuperseded = errors.New("superseded")

	// errLate says that a host does not show the request yet.
	errLate = errors.New("host is behind the request")
)

// scanPage is how many scopes are stored in one transaction.
const scanPage = 5000

// standbyTries is how often a scan may be cut off on standbys (a standby cancels
// what holds up its replay for too long) before the primary does it.
const standbyTries = 3

// scan is one run of a scan.
type scan struct {
	*Counters
	id         int64
	token      uuid.UUID
	kind       string
	whole      bool
	part       string // what it is a part of: partOfTable, partOfRest, partOfList
	partOf     *int64 // which recount it is a part of
	after      *string
	scopes     []string // unless it finds them itself
	floorLife  int32
	floorTick  int64
	tries      int
	generation int32
}

// finds tells whether the scopes are what the table has, and not a list.
func (s *scan) finds() bool { return s.whole || s.part == partOfTable }

// seen is what a snapshot showed of the log: its newest tick, and the
// transactions with events beyond that tick.
type seen struct {
	host string
	life int32
	tick int64
	mark uuid.UUID
	xids []string
	rows int64
	last *string // of a part of the table: the last scope, unless it was the last part
}

// Scan sums up what the scan's recounts ask for, in one snapshot of one host, and
// queues the swap. process is this process's row in casq.processes: while it is
// there, nobody else takes the scan over. Errors: [ErrBusy], [ErrSuperseded].
func (c *Counters) Scan(ctx context.Context, id, job int64, process uuid.UUID) error {
	s, err := c.startScan(ctx, id, job, process)
	if err != nil {
		return err
	}
	err = s.anywhere(ctx)
	if err == nil || errors.Is(err, ErrSuperseded) {
		return err
	}
	return errors.Join(err, s.giveUpToken(ctx))
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
		if err == nil || errors.Is(err, ErrSuperseded) || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, errSlow) {
			return s.divide(ctx)
		}
		if gone(err) {
			return errors.Join(ErrSuperseded, s.Fail(ctx, s.id, fmt.Errorf("the table is not tracked any more: %w", err)))
		}
		s.log.WarnContext(ctx, "cannot count on this host", "scan", s.id, "host", hostName(host), "err", err)
	}
	return fmt.Errorf("scan %d: %w", s.id, err)
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

// startScan takes the scan for this run: what an earlier one still brings has
// the wrong token.
func (c *Counters) startScan(ctx context.Context, id, job int64, process uuid.UUID) (*scan, error) {
	s := &scan{Counters: c, id: id, token: uuid.New()}
	var anew bool
	err := pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('casq.scans', 0))"); err != nil {
			return err
		}
		var over, busy bool
		err := tx.QueryRow(ctx, scanBusySQL, id, process, c.cfg.Concurrency).Scan(&over, &busy)
		switch {
		case errors.Is(err, pgx.ErrNoRows), err == nil && over:
			return ErrSuperseded
		case err != nil:
			return err
		case busy:
			return ErrBusy
		}
		err = tx.QueryRow(ctx, scanStartSQL, id, s.token, process, job).
			Scan(&s.kind, &s.whole, &s.part, &s.partOf, &s.after, &s.floorLife, &s.floorTick, &s.tries, &s.generation, &anew)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, scanRunningSQL, id)
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

// run scans on one host. The snapshot is that of a transaction which reads only,
// so it may be a standby's: ticks are rows, and what the standby's snapshot shows
// beyond its newest tick is recorded by transaction.
func (s *scan) run(ctx context.Context, host *pgxpool.Pool) error {
	if err := s.forget(ctx); err != nil {
		return err
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := pgx.BeginTxFunc(ctx, host, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			return s.runIn(ctx, tx, hostName(host))
		})
		if !errors.Is(err, errLate) || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		pause(ctx, s.cfg.Interval)
	}
}

func (s *scan) runIn(ctx context.Context, tx pgx.Tx, host string) error {
	v := seen{host: host}
	err := tx.QueryRow(ctx, scanSeenSQL, s.id, s.token, s.floorLife, s.floorTick).Scan(&v.life, &v.tick, &v.mark, &v.xids)
	if errors.Is(err, pgx.ErrNoRows) {
		return errLate
	}
	if err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	s.cfg.Hook("scan:snapshot")
	if s.part == partOfTable {
		v.rows, v.last, err = s.sumPart(ctx, tx)
	} else {
		v.rows, err = s.sumAll(ctx, tx)
	}
	if err != nil {
		return err
	}
	s.cfg.Hook("scan:summed")
	return s.end(ctx, v)
}

// sumAll sums up all scopes, or those of a list. What can be divided has limited
// time: while a snapshot is open, vacuum removes nothing that it may need, and a
// standby does not replay that.
func (s *scan) sumAll(ctx context.Context, tx pgx.Tx) (total int64, err error) {
	var scopes []string
	divisible := len(s.scopes) > 1
	if s.whole {
		if err := tx.QueryRow(ctx, "SELECT casq.has_scope_index($1)", s.kind).Scan(&divisible); err != nil {
			return 0, fmt.Errorf("look for an index: %w", err)
		}
	} else {
		scopes = append([]string{}, s.scopes...) // nil is all
	}
	if divisible {
		limit := max(s.cfg.SnapshotLimit.Milliseconds(), 1)
		if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', $1, true)", strconv.FormatInt(limit, 10)); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	total, _, _, err = s.sum(ctx, tx, scanSumsSQL, s.kind, scopes)
	if divisible && database.Code(err) == queryCanceled && time.Since(began) >= s.cfg.SnapshotLimit {
		return 0, errSlow
	}
	return total, err
}

// queryCanceled is the SQLSTATE of a statement that took too long, or that
// somebody cancelled.
const queryCanceled = "57014"

// sum reads sums by scope and stores them, page by page, while the snapshot is
// open: memory does not grow with the number of scopes. It returns how many rows
// and scopes they were, and the last scope.
func (s *scan) sum(ctx context.Context, tx pgx.Tx, sql string, args ...any) (total int64, scopes int, last string, err error) {
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return 0, 0, "", fmt.Errorf("sum up %s: %w", s.kind, err)
	}
	defer rows.Close()
	var page found
	for rows.Next() {
		var size string
		var items int64
		if err := rows.Scan(&last, &size, &items); err != nil {
			return 0, 0, "", fmt.Errorf("sum up %s: %w", s.kind, err)
		}
		total, scopes = total+items, scopes+1
		page.add(last, size, items)
		if len(page.scopes) == scanPage {
			if err := s.store(ctx, &page); err != nil {
				return 0, 0, "", err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return 0, 0, "", fmt.Errorf("sum up %s: %w", s.kind, err)
	}
	return total, scopes, last, s.store(ctx, &page)
}

// found is a page of sums.
type found struct {
	scopes, sizes []string
	items         []int64
}

func (f *found) add(scope, size string, items int64) {
	f.scopes, f.sizes, f.items = append(f.scopes, scope), append(f.sizes, size), append(f.items, items)
}

func (f *found) append(g found) {
	f.scopes, f.sizes, f.items = append(f.scopes, g.scopes...), append(f.sizes, g.sizes...), append(f.items, g.items...)
}

func (s *scan) store(ctx context.Context, page *found) error {
	if len(page.scopes) == 0 {
		return nil
	}
	_, n, err := s.open(ctx)
	if err != nil {
		return err
	}
	shards := make([]int, len(page.scopes))
	for i, scope := range page.scopes {
		shards[i] = shardOf(Key{s.kind, scope}, n)
	}
	tag, err := s.cfg.Home.Exec(ctx, scanFoundSQL, s.id, s.token, s.kind, s.finds(), page.scopes, shards, page.sizes, page.items)
	if err != nil {
		return fmt.Errorf("store %d sums: %w", len(page.scopes), err)
	}
	if tag.RowsAffected() == 0 {
		return ErrSuperseded
	}
	*page = found{}
	return nil
}

// forget removes what an earlier run has stored, on whatever host: what this one does
// not find is not stored again.
func (s *scan) forget(ctx context.Context) error {
	if !s.finds() {
		if _, err := s.cfg.Home.Exec(ctx, scanForgetListSQL, s.id, s.token); err != nil {
			return fmt.Errorf("forget an earlier run: %w", err)
		}
		return nil
	}
	for {
		tag, err := s.cfg.Home.Exec(ctx, scanForgetSQL, s.id, s.token, scanPage)
		if err != nil {
			return fmt.Errorf("forget an earlier run: %w", err)
		}
		if tag.RowsAffected() < scanPage {
			return nil
		}
	}
}

// end says what was seen, and queues the swap.
func (s *scan) end(ctx context.Context, v seen) error {
	_, n, err := s.open(ctx)
	if err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, s.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, scanEndSQL, s.id, s.token, v.host, v.life, v.tick, v.mark, v.xids, v.rows, s.generation, n, v.last)
		if err != nil {
			return fmt.Errorf("end scan: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return ErrSuperseded
		}
		job, err := s.cfg.Jobs.Finalize(ctx, tx, Finalize{Scan: s.id, Token: s.token})
		if err != nil {
			return fmt.Errorf("queue the swap: %w", err)
		}
		if _, err := tx.Exec(ctx, scanEndRefreshesSQL, s.id, job); err != nil {
			return fmt.Errorf("end scan: %w", err)
		}
		return nil
	})
}

// giveUpToken lets the next run begin at once, in whatever process; unless the scan has
// ended and only the answer was lost: then the swap needs the token. A process that
// is told to stop does so, too.
func (s *scan) giveUpToken(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := s.cfg.Home.Exec(ctx, "UPDATE casq.scans SET token = NULL, process = NULL WHERE id = $1 AND token = $2 AND scanned_at IS NULL", s.id, s.token)
	return err
}

// Fail ends the recounts of a scan that will not be tried again. Their counters
// keep their values, which stay right.
func (c *Counters) Fail(ctx context.Context, scan int64, cause error) error {
	err := pgx.BeginTxFunc(ctx, c.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := lockRecount(ctx, tx, scan); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, failSQL, scan, storable(cause.Error()))
		return err
	})
	if err != nil {
		return fmt.Errorf("fail scan %d: %w", scan, err)
	}
	return nil
}

// storable makes a message fit for Postgres, whose texts are UTF-8 without NUL.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}
