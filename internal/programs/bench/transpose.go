package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

const (
	transposeCount = 50_000
	batch          = 5_000
)

// transpose: events a second, from committed events to registry rows and jobs,
// against the insertion of as many bare jobs in the same batches.
func transpose(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	client, err := river.NewClient(riverpgxv5.New(s.DB), &river.Config{Schema: jobs.Schema, FetchCooldown: jobs.FetchCooldown})
	if err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		if err := s.empty(ctx); err != nil {
			return err
		}
		took, err := insertBare(ctx, client, transposeCount)
		if err != nil {
			return err
		}
		f.Add("reference", transposeCount/took.Seconds())
		if err := s.empty(ctx); err != nil {
			return err
		}
		if err := s.append(ctx, transposeCount); err != nil {
			return err
		}
		took, err = s.follow(ctx, transposeCount)
		f.Add("ours", transposeCount/took.Seconds())
		return err
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("transpose", "ours", "reference", "events/s",
		fmt.Sprintf("%d events of as many resources, batches of %d; reference: InsertManyFast of as many jobs", transposeCount, batch))}, nil
}

func insertBare(ctx context.Context, client *river.Client[pgx.Tx], n int) (time.Duration, error) {
	start := time.Now()
	for done := 0; done < n; done += batch {
		params := make([]river.InsertManyParams, 0, batch)
		for i := done; i < done+batch; i++ {
			params = append(params, river.InsertManyParams{
				Args:       jobs.SyncArgs{ResourceKind: "resource", ResourceID: fmt.Sprintf("resources/%d", i), Version: int64(i + 1)},
				InsertOpts: &river.InsertOpts{Queue: "resource"},
			})
		}
		if _, err := client.InsertManyFast(ctx, params); err != nil {
			return 0, fmt.Errorf("insert bare jobs: %w", err)
		}
	}
	return time.Since(start), nil
}
