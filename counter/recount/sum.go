package recount

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"casq/counter/internal/tally"
	"casq/internal/database"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed sum.sql
var sumText string

// sumSQL has the statements of sum.sql.
var sumSQL = queries.Parse[struct{ ScanForget, ScanForgetList, ScanSums, ScanFound string }]("recount/sum", sumText)

// scanPage is how many scopes are stored in one transaction.
const scanPage = 5000

// errSlow says that one snapshot would be open for too long.
var errSlow = errors.New("the snapshot would be open for too long")

// hasScopeIndexSQL fails for a kind that is not tracked, or whose scope column is
// not there.
const hasScopeIndexSQL = "SELECT casq.has_scope_index($1)"

// sumAll sums up all scopes, or those of a list. What can be divided has limited
// time: while a snapshot is open, vacuum removes nothing that it may need, and a
// standby does not replay that.
func (s *scan) sumAll(ctx context.Context, tx pgx.Tx) (total int64, err error) {
	var scopes []string
	divisible := len(s.scopes) > 1
	if s.all {
		if err := tx.QueryRow(ctx, hasScopeIndexSQL, s.kind).Scan(&divisible); err != nil {
			return 0, fmt.Errorf("find an index: %w", err)
		}
	} else {
		scopes = append([]string{}, s.scopes...) // nil is all
	}
	if divisible {
		limit := max(s.r.cfg.SnapshotLimit.Milliseconds(), 1)
		if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', $1, true)", strconv.FormatInt(limit, 10)); err != nil {
			return 0, err
		}
		// The server may be too late to say so: its disk hangs, and only that.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.r.cfg.SnapshotLimit+s.r.hostPatience)
		defer cancel()
	}
	began := time.Now()
	total, _, _, err = s.sum(ctx, tx, sumSQL.ScanSums, s.kind, scopes)
	if divisible && database.Code(err) == queryCanceled && time.Since(began) >= s.r.cfg.SnapshotLimit {
		return 0, errSlow
	}
	if divisible && err == nil {
		_, err = tx.Exec(ctx, "SELECT set_config('statement_timeout', '0', true)")
	}
	return total, err
}

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
		if len(last) <= tally.MaxScope {
			page.add(last, size, items)
		}
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
	n, err := s.r.cfg.Counters.Shards(ctx)
	if err != nil {
		return err
	}
	shards := make([]int, len(page.scopes))
	for i, scope := range page.scopes {
		shards[i] = tally.ShardOf(tally.Key{Kind: s.kind, ScopeID: scope}, n)
	}
	tag, err := s.r.cfg.Home.Exec(ctx, sumSQL.ScanFound, s.id, s.token, s.kind, s.finds(), page.scopes, shards, page.sizes, page.items)
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
	sql := sumSQL.ScanForget
	if !s.finds() {
		sql = sumSQL.ScanForgetList
	}
	for {
		var mine bool
		var forgotten int
		if err := s.r.cfg.Home.QueryRow(ctx, sql, s.id, s.token, scanPage).Scan(&mine, &forgotten); err != nil {
			return fmt.Errorf("forget an earlier run: %w", err)
		}
		if !mine {
			return ErrSuperseded
		}
		if forgotten < scanPage {
			return nil
		}
	}
}
