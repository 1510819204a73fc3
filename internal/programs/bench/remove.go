package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// removeFiles: seconds from the start of a worker with 10,000 committed deletes to as
// many files that are gone, against those of their copy. Where the temporary folder is
// on ext4 without a journal it measures that, see the trade-offs in
// transfer/DESIGN.md.
func removeFiles(ctx context.Context) (_ []result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	folder, err := os.MkdirTemp("", "casq-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	source := filepath.Join(folder, "source")
	if err := s.makeFiles(ctx, source); err != nil {
		return nil, err
	}
	const rounds = 3
	var ours, reference []float64
	for i := range rounds {
		copied, removed, err := s.removeRound(ctx, source, filepath.Join(folder, fmt.Sprintf("target%d", i)))
		if err != nil {
			return nil, err
		}
		ours, reference = append(ours, removed.Seconds()), append(reference, copied.Seconds())
	}
	return []result{{
		Bench: "remove", Ours: median(ours), Reference: median(reference), Unit: "s",
		Note: fmt.Sprintf("%d files of %d bytes in 100 folders; reference: their copy by the same worker; medians of %d", copyCount, copySize, rounds),
	}}, nil
}

func (s *site) removeRound(ctx context.Context, source, target string) (copied, removed time.Duration, err error) {
	if copied, err = s.copyRound(ctx, source, target); err != nil {
		return 0, 0, err
	}
	removed, err = s.workOff(ctx, source, target, "deleted")
	return copied, removed, err
}
