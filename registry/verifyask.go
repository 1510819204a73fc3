package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Checks queues verifications in a transaction that is under way.
type Checks interface {
	InsertChecks(ctx context.Context, tx pgx.Tx, tokens []Token) error
}

// VerifyQueue is the queue of verifications of a transfer. It is not the kinds'
// own: reading for hours must not take the places of copies.
func VerifyQueue(transfer string) string { return "casq_verify_" + transfer }

// VerifyOptions narrow and watch a [VerifyKind].
type VerifyOptions struct {
	// OlderThan leaves out what was copied or verified within this time. 0: all.
	OlderThan time.Duration
	PageSize  int             // rows per transaction; defaults to 1000
	Progress  func(asked int) // called after each page; may be nil
	DryRun    bool            // count, and ask for nothing
}

// VerifyOne asks for one resource to be compared with what it should be, and
// returns the version that will be. [ErrNoRow] or [ErrNotInPlace] say why not.
func VerifyOne(ctx context.Context, pool *pgxpool.Pool, checks Checks, kind, resourceID string) (version int64, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var inPlace bool
		err := tx.QueryRow(ctx, verifySQL.One, kind, resourceID).Scan(&version, &inPlace)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("%w: %s %q", ErrNoRow, kind, resourceID)
		case err != nil:
			return err
		case !inPlace:
			return fmt.Errorf("%w: %s %q", ErrNotInPlace, kind, resourceID)
		}
		return checks.InsertChecks(ctx, tx, []Token{{kind, resourceID, version}})
	})
	if err != nil {
		return 0, fmt.Errorf("verify: %w", err)
	}
	return version, nil
}

// VerifyKind asks for all resources of a kind that are in place, page by page in
// key order, and returns how many. Asked twice they are read twice, which is
// harmless.
func VerifyKind(ctx context.Context, pool *pgxpool.Pool, checks Checks, kind string, opts VerifyOptions) (asked int, err error) {
	pageSize := cmp.Or(opts.PageSize, 1000)
	last := ""
	for {
		var tokens []Token
		var rows int
		next := last
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) (err error) {
			tokens, rows, next, err = verifyPage(ctx, tx, kind, last, pageSize, opts.OlderThan)
			if err != nil || len(tokens) == 0 || opts.DryRun {
				return err
			}
			return checks.InsertChecks(ctx, tx, tokens)
		})
		if err != nil {
			return asked, fmt.Errorf("verify %s beyond %q: %w", kind, last, err)
		}
		asked, last = asked+len(tokens), next
		if opts.Progress != nil {
			opts.Progress(asked)
		}
		if rows < pageSize {
			return asked, nil
		}
	}
}

// verifyPage returns the tokens of one page that are wanted, how many rows it
// had, and its last key; after itself when it was empty.
func verifyPage(ctx context.Context, tx pgx.Tx, kind, after string, size int, olderThan time.Duration) (tokens []Token, rows int, last string, err error) {
	last = after
	result, err := tx.Query(ctx, verifySQL.Page, kind, after, size, olderThan)
	if err != nil {
		return nil, 0, last, err
	}
	t := Token{Kind: kind}
	_, err = pgx.ForEachRow(result, []any{&t.ResourceID, &t.Version}, func() error {
		rows, last = rows+1, t.ResourceID
		if t.Version > 0 {
			tokens = append(tokens, t)
		}
		return nil
	})
	return tokens, rows, last, err
}
