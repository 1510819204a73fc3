package counter

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"casq/internal/database"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed sum.sql
var sumText string

// sumSQL has the statements of sum.sql.
var sumSQL = queries.Parse[struct{ ScanForget, ScanForgetList, ScanSums, ScanFound string }]("counter/sum", sumText)

const (
	// queryCanceled is the SQLSTATE of a statement that took too long, or that
	// somebody cancelled; lockNotAvailable of one that waited too long for a lock.
	queryCanceled    = "57014"
	lockNotAvailable = "55P03"
)

// hasScopeIndexSQL fails for a kind that is not tracked, or whose scope column is
// not there.
const hasScopeIndexSQL = "SELECT casq.has_scope_index($1)"

// sumAll sums up all scopes, or those of a list. What can be divided has limited
// time: while a snapshot is open, vacuum removes nothing that it may need, and a
// standby does not replay that.
func (s *scan) sumAll(ctx context.Context, tx pgx.Tx) (total int64, err error) {
	var scopes []string
	divisible := len(s.scopes) > 1
	if s.whole {
		if err := tx.QueryRow(ctx, hasScopeIndexSQL, s.kind).Scan(&divisible); err != nil {
			return 0, fmt.Errorf("find an index: %w", err)
		}
	} else {
		scopes = append([]string{}, s.scopes...) // nil is all
	}
	if divisible {
		limit := max(s.cfg.SnapshotLimit.Milliseconds(), 1)
		if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', $1, true)", strconv.FormatInt(limit, 10)); err != nil {
			return 0, err
		}
		// The server may be too late to say so: its disk hangs, and only that.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.SnapshotLimit+s.hostPatience)
		defer cancel()
	}
	began := time.Now()
	total, _, _, err = s.sum(ctx, tx, sumSQL.ScanSums, s.kind, scopes)
	if divisible && database.Code(err) == queryCanceled && time.Since(began) >= s.cfg.SnapshotLimit {
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
		if len(last) <= maxScope {
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
	_, n, err := s.open(ctx)
	if err != nil {
		return err
	}
	shards := make([]int, len(page.scopes))
	for i, scope := range page.scopes {
		shards[i] = shardOf(Key{s.kind, scope}, n)
	}
	tag, err := s.cfg.Home.Exec(ctx, sumSQL.ScanFound, s.id, s.token, s.kind, s.finds(), page.scopes, shards, page.sizes, page.items)
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
		if err := s.cfg.Home.QueryRow(ctx, sql, s.id, s.token, scanPage).Scan(&mine, &forgotten); err != nil {
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
