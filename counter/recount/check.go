package recount

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"time"

	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed check.sql
var checkText string

// checkSQL has the statements of check.sql.
var checkSQL = queries.Parse[struct{ Sample string }]("recount/check", checkText)

// sampleSize is how many counters of a kind are compared at a time.
const sampleSize = 10

// Run asks for some counters to be compared with their table, now and then, until ctx
// is done. When that was last is in casq.scans, so that any number of processes may
// do so.
func (r *Recounts) Run(ctx context.Context) {
	for r.cfg.CheckEvery > 0 && ctx.Err() == nil {
		if err := r.checkSome(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "cannot compare counters with their tables", "err", err)
		}
		wait := min(r.cfg.CheckEvery, time.Minute)
		_ = pause.For(ctx, wait/2+rand.N(wait/2+1))
	}
}

func (r *Recounts) checkSome(ctx context.Context) error {
	rows, err := r.cfg.Home.Query(ctx, checkSQL.Sample, r.cfg.CheckEvery, sampleSize)
	if err != nil {
		return fmt.Errorf("choose counters to compare: %w", err)
	}
	chosen := make(map[string][]string)
	var kind, scope string
	_, err = pgx.ForEachRow(rows, []any{&kind, &scope}, func() error {
		chosen[kind] = append(chosen[kind], scope)
		return nil
	})
	if err != nil {
		return fmt.Errorf("choose counters to compare: %w", err)
	}
	for kind, scopes := range chosen {
		if _, _, err := r.Refresh(ctx, Request{Kind: kind, Scopes: scopes, Compare: true}); err != nil {
			return fmt.Errorf("compare counters of %s: %w", kind, err)
		}
	}
	return nil
}
